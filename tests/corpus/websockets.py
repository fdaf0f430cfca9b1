"""What WebSocket clients send, as data (RFC 6455): frames behind a handshake, and handshakes.

A case of `websocket/frames*.toml`:

    name, why                  as in the other folders
    deflate = true             permessage-deflate was agreed to (default: not)
    send = ["8183 11111111 …", …]      joined; hexadecimal with or without spaces, or
           { frame = OPCODE, text = "…" or hex = "…", times = N, fin = false, rsv = N,
             mask = false, length = "7e0005" }     masked; `length`: instead of the right one
    messages = ["…", { hex = "…", times = N }]      what the application gets, in order
    close = 1002               the code the server closes with (default: it stays open)

The longest message is `MAX_SIZE`. A case of `websocket/handshake*.toml` has `send` as the cases of
`http1` have it, and `status`.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["MAX_SIZE", "FrameCase", "HandshakeCase", "load_frames", "load_handshakes"]

MAX_SIZE: Final = 65536
"""Bytes of the longest message that is taken."""
_HERE = Path(__file__).parent / "websocket"
_MASK: Final = b"\x11\x92\xf3\x54"


@dataclass(frozen=True)
class FrameCase:
    """Bytes on an open connection."""

    name: str
    why: str
    sent: bytes
    messages: list[str | bytes]
    close: int | None
    deflate: bool


@dataclass(frozen=True)
class HandshakeCase:
    """A request that asks for the upgrade."""

    name: str
    why: str
    sent: bytes
    status: int


def _tables(pattern: str) -> list[dict[str, Any]]:
    tables = [
        table
        for path in sorted(_HERE.glob(pattern))
        for table in tomllib.loads(path.read_text("utf-8"))["case"]
    ]
    names = [table["name"] for table in tables]
    assert len(names) == len(set(names)), f"a name stands twice in {pattern}"
    return tables


def load_frames() -> list[FrameCase]:
    """All cases about frames."""
    return [
        FrameCase(
            table.pop("name"),
            table.pop("why"),
            b"".join(map(_piece, table.pop("send"))),
            [_payload(m) if isinstance(m, dict) else m for m in table.pop("messages", [])],
            table.pop("close", None),
            table.pop("deflate", False),
            **table,
        )
        for table in _tables("frames*.toml")
    ]


def load_handshakes() -> list[HandshakeCase]:
    """All cases about handshakes."""
    return [
        HandshakeCase(**table | {"sent": "".join(table.pop("send")).encode("latin-1")})
        for table in _tables("handshake*.toml")
    ]


def _piece(piece: str | dict[str, Any]) -> bytes:
    return bytes.fromhex(piece) if isinstance(piece, str) else _frame(piece)


def _payload(table: dict[str, Any]) -> bytes:
    data: bytes = bytes.fromhex(table["hex"]) if "hex" in table else table.get("text", "").encode()
    return data * int(table.get("times", 1))


def _frame(table: dict[str, Any]) -> bytes:
    payload = _payload(table)
    size = len(payload)
    if "length" in table:
        length = bytes.fromhex(table["length"])
    elif size < 126:
        length = bytes((size,))
    elif size < 65536:
        length = b"\x7e" + size.to_bytes(2)
    else:
        length = b"\x7f" + size.to_bytes(8)
    first = table.get("fin", True) << 7 | table.get("rsv", 0) << 4 | table["frame"]
    if not table.get("mask", True):
        return bytes((first, length[0])) + length[1:] + payload
    masked = bytes(byte ^ _MASK[at % 4] for at, byte in enumerate(payload))
    return bytes((first, length[0] | 0x80)) + length[1:] + _MASK + masked
