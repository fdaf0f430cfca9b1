"""What the engine is told: plain values, made from the configuration by the runtime."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nogilserve.engine.admission import Admission
from nogilserve.engine.meter import Observe
from nogilserve.messages import Exchange, Limits, RequestRecord, TimeLimits
from nogilserve.protocols.proxy import ProxyRules

if TYPE_CHECKING:
    from nogilserve.engine.elsewhere import Elsewhere
    from nogilserve.engine.encryption import Encryption

__all__ = ["Gateway", "ProxyRules", "Settings"]

Gateway = Callable[[Exchange], None]
"""Runs the application for one exchange. Never raises; blocks as long as the application does."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Immutable. Times are in seconds, sizes in bytes."""

    threads: int
    """Threads that may be inside the application at once; at least 1."""
    cores: int
    """Pollers, each with its own connections; at most `threads`."""
    gateway: Callable[[], Gateway]
    """Makes the gateway of one core; called once per core, in the thread it belongs to."""
    limits: Limits = field(default_factory=Limits)
    poller: str = "auto"
    keep_alive: float = 5.0
    """Between two requests of a connection."""
    head_timeout: float = 10.0
    """From accepting, or from the first byte of a head, to the end of that head."""
    body_timeout: float = 30.0
    """Between two pieces of a request body."""
    write_timeout: float = 60.0
    """Without the client taking a byte of the response."""
    timeout: TimeLimits = field(default_factory=TimeLimits)
    """Until the application begins its response; 0: for ever."""
    server_header: bool = True
    """Whether responses say `Server: nogilserve`."""
    proxies: ProxyRules = field(default_factory=ProxyRules)
    """Whom to believe whom requests come from."""
    limit_concurrency: int = 0
    """Requests inside the application and waiting for it, of all cores together; 0: no limit."""
    admission: Admission | None = None
    """Counts connections where their number is limited."""
    http2: Callable[[Any, Any, bytes], bool] | None = None
    """Takes over a connection (core, connection, bytes read so far) whose client speaks HTTP/2;
    None where it is not spoken."""
    http1: bool = True
    """Whether HTTP/1 is spoken."""
    record: Callable[[RequestRecord], None] | None = None
    """Takes finished requests for the access log; any thread, must not block."""
    encryption: "Encryption | None" = None
    """Where TLS is spoken."""
    elsewhere: "Callable[[], Elsewhere] | None" = None
    """Makes what tells a core which requests are for other processes; None: none are."""
    observe: Observe | None = None
    """What is counted of requests, where somebody looks."""
