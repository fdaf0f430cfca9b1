"""Frames as the server sends them, unmasking, and the content of Close frames (RFC 6455 §5, §7)."""

import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from wsproto.frame_protocol import XorMaskerSimple

__all__ = [
    "ABNORMAL",
    "BINARY",
    "CLOSE",
    "INVALID_DATA",
    "LEGAL_CODES",
    "LONGEST_CONTROL",
    "NO_CODE",
    "PING",
    "PONG",
    "PROTOCOL_ERROR",
    "TEXT",
    "TOO_BIG",
    "Closed",
    "Violation",
    "close_frame",
    "frame",
    "frame_head",
    "parse_close",
    "unmask",
]

# First bytes: the FIN bit and the opcode (RFC 6455 §5.2).
TEXT: Final = 0x81
BINARY: Final = 0x82
CLOSE: Final = 0x88
PING: Final = 0x89
PONG: Final = 0x8A

LONGEST_CONTROL: Final = 125
"""Bytes of a control frame's payload (RFC 6455 §5.5)."""
_LONGEST_REASON: Final = LONGEST_CONTROL - 2

# Close codes (RFC 6455 §7.4.1).
PROTOCOL_ERROR: Final = 1002
NO_CODE: Final = 1005
"""Never sent: the peer's Close frame had no code."""
ABNORMAL: Final = 1006
"""Never sent: the connection ended without a Close frame."""
INVALID_DATA: Final = 1007
TOO_BIG: Final = 1009

LEGAL_CODES: Final = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))
"""What a Close frame may carry: RFC 6455 §7.4, and 1012 to 1014 of IANA's registry."""

_FEW: Final = 2048
"""Bytes up to which unmasking with one big integer is the quicker way."""

_COPIED: Final = 4096
"""Bytes up to which a copy is cheaper than a view."""

_FIRST_FREE_THREADED: Final = 16
"""The first version of websockets whose extension module leaves the GIL off."""


class Closed(NamedTuple):
    """How a connection ended."""

    code: int
    """The peer's close code; 1005 when it gave none, 1006 when it went away without a Close
    frame; for a violation of the protocol by the peer, the code it was told."""
    reason: str


class Violation(Exception):
    """The peer broke the protocol; never leaves this room."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def frame(first: int, payload: bytes) -> bytes:
    """A whole frame of the server, which does not mask (RFC 6455 §5.1)."""
    return frame_head(first, len(payload)) + payload


def frame_head(first: int, size: int) -> bytes:
    """What stands before a payload of `size` bytes."""
    if size < 126:
        return bytes((first, size))
    if size < 65536:
        return b"%c\x7e%b" % (first, size.to_bytes(2))
    return b"%c\x7f%b" % (first, size.to_bytes(8))


def close_frame(code: int, reason: str) -> bytes:
    """A Close frame. What does not fit of the reason is cut off, between two characters.

    Raises UnicodeEncodeError for lone surrogates.
    """
    text = reason.encode("utf-8")
    if len(text) > _LONGEST_REASON:
        text = text[:_LONGEST_REASON].decode("utf-8", "ignore").encode("utf-8")
    return frame(CLOSE, code.to_bytes(2) + text)


def parse_close(payload: bytes) -> Closed:
    """The content of the peer's Close frame (RFC 6455 §5.5.1). Raises Violation."""
    if not payload:
        return Closed(NO_CODE, "")
    if len(payload) == 1:
        raise Violation(PROTOCOL_ERROR, "half a close code")
    code = int.from_bytes(payload[:2])
    if code not in LEGAL_CODES:
        raise Violation(PROTOCOL_ERROR, f"illegal close code {code}")
    try:
        return Closed(code, payload[2:].decode("utf-8"))
    except UnicodeDecodeError:
        raise Violation(INVALID_DATA, "close reason is not UTF-8") from None


def _unmask_plain(payload: bytes | bytearray, key: bytes | bytearray) -> bytes | bytearray:
    size = len(payload)
    if size > _FEW:
        return XorMaskerSimple(key).process(bytearray(payload))
    mask = (key * (size // 4 + 1))[:size]
    number = int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little")
    return number.to_bytes(size, "little")


def _unmask_by_websockets() -> Callable[..., bytes] | None:
    """The unmasking of the package websockets, in C, where it is installed and fit for this
    build: for 64 KiB it takes a microsecond, ours 80."""
    try:
        version = int(importlib.metadata.version("websockets").partition(".")[0])
        if version < _FIRST_FREE_THREADED and not getattr(sys, "_is_gil_enabled", bool)():
            return None
        module: Any = importlib.import_module("websockets.speedups")
        unmask: Callable[..., bytes] = module.apply_mask
    except (ImportError, ValueError, AttributeError):
        return None
    return unmask


_unmask: Final = _unmask_by_websockets()


def unmask(buffer: bytes | bytearray, start: int, end: int) -> bytes | bytearray:
    """The payload in the buffer from `start` to `end`, without the mask, whose key stands in the
    four bytes before it (RFC 6455 §5.3)."""
    if _unmask is None:
        return _unmask_plain(buffer[start:end], buffer[start - 4 : start])
    if end - start < _COPIED:
        return _unmask(buffer[start:end], buffer[start - 4 : start])
    # Released before the buffer is changed again.
    with memoryview(buffer) as whole, whole[start:end] as payload:
        return _unmask(payload, buffer[start - 4 : start])
