"""The states of an HTTP connection on an event loop.

    HEAD ──complete──▶ RUNNING ──answered──▶ HEAD, or LINGER, or CLOSING ──▶ CLOSED
                          │              └──body not read──▶ DRAINING ──▶ the same
                          └──101──▶ UPGRADED (`websocket` goes on)

Plain integers: enum members are slow to read from several threads.
"""

from typing import Final

__all__ = ["CLOSED", "CLOSING", "DRAINING", "HEAD", "LINGER", "RUNNING", "UPGRADED"]

HEAD: Final = 0
"""Idle, or in the middle of a request head."""
RUNNING: Final = 1
"""A request was given to the application and is not answered yet."""
LINGER: Final = 2
"""The last response is sent; what the client still sends is thrown away (RFC 9112 §9.6)."""
CLOSING: Final = 3
"""Only what was sent already still has to leave."""
CLOSED: Final = 4
UPGRADED: Final = 5
"""Another object owns the transport now."""
DRAINING: Final = 6
"""The response is sent; the rest of a small body that nobody wanted is read and thrown away."""
