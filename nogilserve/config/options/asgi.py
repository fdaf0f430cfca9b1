"""ASGI applications and WebSocket."""

from typing import Final

from nogilserve.config.declare import group, option
from nogilserve.config.kinds import FLAG, TYPE, choice, integer, seconds, size

__all__ = ["ASGI", "Asgi"]

ASGI: Final = "ASGI and WebSocket"

_DAY: Final = 86400


@group
class Asgi:
    """The part of Config about event loops, lifespan and WebSocket."""

    loop: str = option(
        "auto",
        "--loop --asgi-loop",
        choice("auto", "asyncio", "uvloop"),
        "The event loop; auto takes uvloop where it is installed and keeps the GIL off.",
        section=ASGI,
        metavar="NAME",
    )
    loops: int = option(
        0,
        "--loops",
        integer(1, 1024, zero="auto"),
        """Event loops, each in a thread of its own. auto: one for each core, or a single one where
        the application holds objects that belong to one loop. Processes and subinterpreters
        share them, at least one each.""",
        section=ASGI,
        metavar="N",
    )
    lifespan: str = option(
        "auto",
        "--lifespan --asgi-lifespan",
        choice("auto", "on", "off"),
        """Run the application's start-up and shutdown events. auto: where it has any; on: a failure
        to handle them ends the server.""",
        section=ASGI,
        metavar="MODE",
    )
    lifespan_scope: str = option(
        "auto",
        "--lifespan-scope",
        choice("auto", "loop", "generation"),
        """Run start-up and shutdown on every event loop, or once for all. auto: on every loop where
        start-up puts something into its state.""",
        section=ASGI,
        metavar="SCOPE",
    )
    loop_bound: tuple[str, ...] = option(
        (),
        "--loop-bound",
        TYPE,
        """A further type whose objects belong to the event loop they were made on, such as
        mypackage.pool:Pool: where one is found, auto takes a single loop. Repeatable.""",
        section=ASGI,
        metavar="TYPE",
        many=True,
    )
    blocked_loop_timeout: float = option(
        0.25,
        "--blocked-loop-timeout --slow-callback-duration",
        seconds(0, _DAY),
        """Report an event loop that has not turned for this long, with the stack of what blocks it;
        0 turns that off.""",
        section=ASGI,
        metavar="SECONDS",
    )
    ws_ping_interval: float = option(
        20.0,
        "--ws-ping-interval --websocket-ping-interval",
        seconds(0, _DAY),
        "Ping WebSocket clients this often; 0 turns pings off.",
        section=ASGI,
        metavar="SECONDS",
    )
    ws_ping_timeout: float = option(
        20.0,
        "--ws-ping-timeout",
        seconds(0, _DAY),
        "Close a WebSocket whose ping is not answered within this time; 0 waits for ever.",
        section=ASGI,
        metavar="SECONDS",
    )
    ws_max_size: int = option(
        16 * 1024**2,
        "--ws-max-size --websocket-max-message-size",
        size(1, 1024**4),
        "Largest WebSocket message from a client, after decompression, else close code 1009.",
        section=ASGI,
        metavar="BYTES",
    )
    ws_per_message_deflate: bool = option(
        True,
        "--ws-per-message-deflate",
        FLAG,
        "Compress WebSocket messages where the client offers it.",
        section=ASGI,
    )
