"""The numbers of HTTP/2 (RFC 9113 §6, §7, §11; RFC 8441 §3; RFC 9218)."""

from typing import Final

__all__ = ["ERROR_NAMES", "PREFACE", "goaway", "rst_stream", "window_update"]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client begins with (§3.4)."""

# Frame types. Written as numbers where a request passes: a literal is shared without being counted.
DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9
PRIORITY_UPDATE: Final = 0x10

# Flags.
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

# Settings.
HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6
ENABLE_CONNECT_PROTOCOL: Final = 0x8
NO_RFC7540_PRIORITIES: Final = 0x9

# Error codes (§7).
NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
SETTINGS_TIMEOUT: Final = 0x4
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
CONNECT_ERROR: Final = 0xA
ENHANCE_YOUR_CALM: Final = 0xB
INADEQUATE_SECURITY: Final = 0xC
HTTP_1_1_REQUIRED: Final = 0xD

ERROR_NAMES: Final = (
    *("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT"),
    *("STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR"),
    *("CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"),
)

MOST_WINDOW: Final = (1 << 31) - 1
"""Bytes a flow-control window may have (§6.9.1)."""
DEFAULT_WINDOW: Final = 65535
"""Bytes a window has at the beginning (§6.9.2)."""
DEFAULT_FRAME: Final = 16384
"""Bytes a frame's payload may have unless the receiver allows more (§4.2)."""
MOST_FRAME: Final = (1 << 24) - 1


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame (§6.9); stream 0 for the connection."""
    return b"\0\0\x04\x08\0%b%b" % (stream.to_bytes(4), increment.to_bytes(4))


def rst_stream(stream: int, code: int) -> bytes:
    """A RST_STREAM frame (§6.4)."""
    return b"\0\0\x04\x03\0%b%b" % (stream.to_bytes(4), code.to_bytes(4))


def goaway(last: int, code: int, reason: str = "") -> bytes:
    """A GOAWAY frame (§6.8). `reason` is for whoever looks for the cause."""
    text = reason.encode("ascii", "replace")
    return b"%b\x07\0\0\0\0\0%b%b%b" % (
        (8 + len(text)).to_bytes(3),
        last.to_bytes(4),
        code.to_bytes(4),
        text,
    )
