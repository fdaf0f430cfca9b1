"""Compression of messages: permessage-deflate (RFC 7692), with bounded memory both ways."""

import re
import zlib
from typing import Final, NamedTuple

from nogilserve.errors import ProtocolError
from nogilserve.protocols.websocket.frames import INVALID_DATA, TOO_BIG, Violation

__all__ = ["LEAST_COMPRESSED", "Deflate", "Offer", "negotiate", "parse_offers"]

LEAST_COMPRESSED: Final = 64
"""Bytes from which a message is compressed: a smaller one is not worth the time. Each message
says for itself whether it is (RFC 7692 §6)."""

_OUR_BITS: Final = 12
"""Size of the windows that we ask for, as a power of two: with it a connection holds about 32 KiB
for sending and 12 KiB for receiving, with the usual 15 it would be 256 and 44 KiB."""
_MEMORY_LEVEL: Final = 5
_TAIL: Final = b"\x00\x00\xff\xff"
"""End of each compressed message, left out on the wire (RFC 7692 §7.2.1)."""
_MOST_STREAMS: Final = 16
"""Final blocks that one message may have before its end. Each costs a copy of what is behind it."""

_TOKEN: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_BITS: Final = re.compile(r"[89]|1[0-5]")


class Offer(NamedTuple):
    """One element of Sec-WebSocket-Extensions."""

    name: str
    parameters: list[tuple[str, str | None]]


class Deflate:
    """The compression that was agreed on, one for each connection. Owner: as the connection."""

    __slots__ = (
        "_client_bits",
        "_client_keeps",
        "_compressor",
        "_decompressor",
        "_server_bits",
        "_server_keeps",
        "_streams",
    )

    def __init__(
        self, server_bits: int, client_bits: int, server_keeps: bool, client_keeps: bool
    ) -> None:
        """Window sizes as powers of two, 9 to 15 (`client_bits` may be 8), and whether each side
        keeps its window from one message to the next."""
        self._server_bits = server_bits
        self._client_bits = client_bits
        self._server_keeps = server_keeps
        self._client_keeps = client_keeps
        # Made on first use: most connections never compress in both directions.
        self._compressor: zlib._Compress | None = None
        self._decompressor: zlib._Decompress | None = None
        self._streams = 0
        """Final blocks in the current message so far."""

    def compress(self, data: bytes) -> bytes:
        """The payload of a message; `data` is not empty."""
        compressor = self._compressor
        if compressor is None:
            compressor = zlib.compressobj(
                wbits=-self._server_bits, memLevel=_MEMORY_LEVEL, method=zlib.DEFLATED
            )
            if self._server_keeps:
                self._compressor = compressor
        return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def decompress(self, data: bytes | bytearray, room: int) -> bytes:
        """The content of a piece of a message, at most `room` bytes.

        Raises Violation: 1009 when it is more, of which one byte too many is produced and no
        more; 1007 when `data` is not compressed data.
        """
        decompressor = self._decompressor
        if decompressor is None:
            decompressor = self._decompressor = zlib.decompressobj(-self._client_bits)
        whole = b""
        while True:
            try:
                piece = decompressor.decompress(data, room + 1)
            except zlib.error:
                raise Violation(INVALID_DATA, "malformed compressed data") from None
            room -= len(piece)
            if room < 0:
                raise Violation(TOO_BIG, "message too big")
            whole = whole + piece if whole else piece
            if not decompressor.eof:
                return whole
            # A final block, which RFC 7692 §7.2.3.4 allows. Without this, everything behind it
            # would be collected in unused_data, unread.
            self._streams += 1
            if self._streams > _MOST_STREAMS:
                raise Violation(INVALID_DATA, "too many final blocks in compressed data")
            data = decompressor.unused_data
            decompressor = self._decompressor = zlib.decompressobj(-self._client_bits)

    def finish(self, room: int) -> bytes:
        """The rest of a message's content, at its end. Raises as decompress()."""
        rest = self.decompress(_TAIL, room)
        self._streams = 0
        if not self._client_keeps:
            self._decompressor = None
        return rest

    def decompress_whole(self, data: bytes | bytearray, room: int) -> bytes:
        """The content of a message that came in one piece. Raises as decompress()."""
        content = self.decompress(data, room)
        rest = self.finish(room - len(content))
        return content + rest if rest else content


def parse_offers(values: list[str]) -> list[Offer]:
    """Take the lines of Sec-WebSocket-Extensions apart (RFC 6455 §9.1).

    Raises ProtocolError: "a value that does not conform" to the grammar fails the connection.
    """
    offers = []
    # A quoted value must be a token too, so there are no commas and semicolons to be cut at but
    # the separators.
    for item in ",".join(values).split(","):
        name, *parameters = (part.strip(" \t") for part in item.split(";"))
        if not name and not parameters:
            continue  # an empty element (RFC 9110 §5.6.1)
        _check(name)
        offers.append(Offer(name, [_parse_parameter(text) for text in parameters]))
    return offers


def _parse_parameter(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    name = name.rstrip(" \t")
    _check(name)
    if not equals:
        return name, None
    value = value.lstrip(" \t")
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    _check(value)
    return name, value


def _check(text: str) -> None:
    if not _TOKEN.fullmatch(text):
        raise ProtocolError(400, "malformed Sec-WebSocket-Extensions", "RFC 6455 §9.1")


def negotiate(offers: list[Offer]) -> tuple[str, Deflate] | None:
    """The answer to the first offer that can be accepted, and what was agreed on; None without
    one (RFC 7692 §5.1: all others are declined)."""
    for offer in offers:
        if offer.name == "permessage-deflate":
            agreed = _accept(offer)
            if agreed is not None:
                return agreed
    return None


def _accept(offer: Offer) -> tuple[str, Deflate] | None:
    """Accept or decline (None) one offer, by its parameters (RFC 7692 §7.1)."""
    parameters = dict(offer.parameters)
    if len(parameters) != len(offer.parameters):
        return None
    server_bits, client_bits = _OUR_BITS, 15
    answer = ["permessage-deflate"]
    for name, value in parameters.items():
        if name in {"server_no_context_takeover", "client_no_context_takeover"}:
            if value is not None:
                return None
            answer.append(name)
        elif name == "server_max_window_bits":
            # Our zlib cannot compress with a window of 8 bits.
            if value is None or not _BITS.fullmatch(value) or value == "8":
                return None
            server_bits = min(server_bits, int(value))
        elif name == "client_max_window_bits":
            if value is not None and not _BITS.fullmatch(value):
                return None
            client_bits = min(_OUR_BITS, int(value or 15))
            answer.append(f"client_max_window_bits={client_bits}")
        else:
            return None
    # May be said without having been offered (RFC 7692 §7.1.2.1); saves the client memory.
    answer.append(f"server_max_window_bits={server_bits}")
    agreed = Deflate(
        server_bits,
        client_bits,
        "server_no_context_takeover" not in parameters,
        "client_no_context_takeover" not in parameters,
    )
    return "; ".join(answer), agreed
