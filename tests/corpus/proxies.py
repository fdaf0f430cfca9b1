"""What proxies send, as data: header fields (`forwarded`) and PROXY headers (`proxy_protocol`).

A case of `forwarded`:

    name, why                  as in the other folders
    trust = ["127.0.0.1"]      networks that are trusted (default: that one)
    headers = [["x-forwarded-for", "…"], …]     of a request from a trusted peer
    client = ["203.0.113.9", "0"], scheme, host, port      what they tell (default: nothing)
    told = true                a client is spoken of, though it may be hidden
    status = 400               the refusal (default: none)

A case of `proxy_protocol`:

    send = ["PROXY …\\r\\n", …]    the beginning of a connection, each character one byte
    optional = true            a header need not be there (default: it must)
    client, server, tls        what the header says; `unix = true`: a client without an address
    rest = "GET /"             what is left for HTTP
    status = 400               the refusal (default: none)

A piece of `send` may be `{ text, times }`, or a header of version 2: `{ v2 = COMMAND, family = N,
block = "HEX", times = N, tlv = [[TYPE, "HEX"], …], length = OVERRIDE, crc = true }`.
"""

import struct
import tomllib
from pathlib import Path
from typing import Any

__all__ = ["SIGNATURE", "load", "sent"]

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_HERE = Path(__file__).parent


def load(folder: str) -> list[dict[str, Any]]:
    """All cases of a folder, in the order of their files' names."""
    cases = [
        case
        for path in sorted((_HERE / folder).glob("*.toml"))
        for case in tomllib.loads(path.read_text(encoding="utf-8"))["case"]
    ]
    names = [case["name"] for case in cases]
    assert len(names) == len(set(names)), f"a name stands twice in {folder}"
    return cases


def sent(case: dict[str, Any]) -> bytes:
    """The bytes of a case of `proxy_protocol`."""
    pieces = []
    for piece in case["send"]:
        if isinstance(piece, str):
            pieces.append(piece.encode("latin-1"))
        elif "v2" in piece:
            pieces.append(_version_2(piece))
        else:
            pieces.append(piece["text"].encode("latin-1") * piece["times"])
    return b"".join(pieces)


def _version_2(table: dict[str, Any]) -> bytes:
    content: bytes = bytes.fromhex(table["block"]) * table.get("times", 1)
    for kind, value in table.get("tlv", []):
        raw = bytes.fromhex(value)
        content += struct.pack("!BH", kind, len(raw)) + raw
    if table.get("crc"):
        content += struct.pack("!BHI", 3, 4, 0)
    length = table.get("length", len(content))
    header = SIGNATURE + struct.pack("!BBH", table["v2"], table["family"], length) + content
    if table.get("crc"):
        header = header[:-4] + struct.pack("!I", _crc32c(header))
    return header


def _crc32c(data: bytes) -> int:
    """The checksum bit by bit, as RFC 3720 §B.4 defines it."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 * (value & 1))
    return value ^ 0xFFFFFFFF
