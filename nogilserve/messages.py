"""The vocabulary between protocols, gateways and the engine.

Text is `str` holding latin-1 (one character per byte), as PEP 3333 has it: the bytes of the
wire are decoded once. Nothing here knows sockets, threads or applications.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Protocol

__all__ = [
    "CHUNKED",
    "VERSIONS",
    "AsyncExchange",
    "Exchange",
    "HeaderSection",
    "Headers",
    "Limits",
    "Request",
    "RequestRecord",
    "TimeLimits",
    "TlsFacts",
    "WebSocketExchange",
]

Headers = list[tuple[str, str]]
"""Field lines in order. Of a request the names are lower case, repeated fields are kept apart."""

VERSIONS: Final = ("HTTP/1.0", "HTTP/1.1", "HTTP/2")
"""Names of the versions by `Request.minor`."""

CHUNKED: Final = -1
"""`Request.body` of a request whose length is not known beforehand (RFC 9112 §7.1)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a peer may send. Immutable; each connection reads it, nobody writes it."""

    request_line: int = 8190
    """Bytes of the request line without its CRLF; more is 414."""
    fields: int = 100
    """Number of field lines in a head (more is 431) or in trailers (more is 400)."""
    field_size: int = 8190
    """Bytes of one field line; more is 431, in trailers 400."""
    head: int = 65536
    """Bytes of a whole head (more is 431), trailer section or all chunk extensions (400)."""
    body: int = 0
    """Bytes of a request body after decoding; more is 413. 0: no limit."""
    h2c: bool = False
    """Whether HTTP/1 may be left by an Upgrade to HTTP/2 (RFC 7540 §3.2)."""
    body_of: "Callable[[str, str], int] | None" = None
    """Where several sites are served: `body` for an authority and a path."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long an application may take to begin its response. Immutable."""

    default: float = 0.0
    """Seconds; 0: no limit."""
    routes: tuple[tuple[str, float], ...] = ()
    """Path prefixes with limits of their own, which end at a "/" of the path or at its end."""
    choose: "Callable[[str, str], TimeLimits] | None" = None
    """Where several sites are served: the limits for an authority and a path, in place of these."""
    sites: "tuple[TimeLimits, ...]" = ()
    """All that `choose` may give."""

    def __bool__(self) -> bool:
        return self.shortest > 0

    @property
    def shortest(self) -> float:
        """The shortest limit there is; 0: there is none."""
        own = [self.default, *(seconds for _, seconds in self.routes)]
        every = [*own, *(limits.shortest for limits in self.sites)]
        return min((seconds for seconds in every if seconds), default=0.0)

    def of_request(self, request: "Request") -> float:
        """The limit for a request."""
        if self.choose is None:
            return self.of(request.path)
        return self.choose(request.authority, request.path).of(request.path)

    def of(self, path: str) -> float:
        """The limit for a path, still percent-encoded: that of the longest route it is below."""
        found, longest = self.default, -1
        for route, seconds in self.routes:
            if len(route) > longest and (
                path == route or path.startswith(route if route == "/" else f"{route}/")
            ):
                found, longest = seconds, len(route)
        return found


class HeaderSection:
    """What stands behind the request lines of requests that are alike in it, byte for byte (RFC
    9110 §6.3). Not changed after it was built, but for the note at the end. Owner: the tables of
    the protocol; while a request runs, the thread that runs it.
    """

    __slots__ = ("authority", "body", "headers", "keep_alive", "made_of_it")

    def __init__(self, request: "Request") -> None:
        """That of a request in which nothing of it depends on the request line."""
        self.headers = request.headers
        self.authority = request.authority
        self.body = request.body
        self.keep_alive = request.keep_alive
        self.made_of_it: tuple[object, dict[str, Any]] | None = None
        """A gateway, and what it has made of this, for the next request. Any thread that runs one
        may set it, to an equal dictionary, and nobody changes that. Gateways of several
        applications may meet here, since the path is not part of it."""


class Request:
    """A request head (RFC 9112 §2-3, RFC 9110 §6). Not changed after it was built, but for the
    notes at the end.

    Owner: the connection that received it; while the request runs, the thread that runs it.
    """

    __slots__ = (
        "authority",
        "body",
        "expect_continue",
        "headers",
        "keep_alive",
        "kept",
        "made_of_it",
        "method",
        "minor",
        "ordinary",
        "path",
        "query",
        "section",
        "target",
        "upgrade",
    )

    def __init__(
        self,
        method: str,
        target: str,
        path: str,
        query: str,
        minor: int,
        headers: Headers,
        authority: str,
        body: int,
        keep_alive: bool,
        expect_continue: bool,
        upgrade: str,
    ) -> None:
        self.method = method
        self.target = target
        """The request-target as it was sent."""
        self.path = path
        """Still percent-encoded, without the query; "*" for OPTIONS *."""
        self.query = query
        """What stood behind the first "?", without it."""
        self.minor = minor
        """0 for HTTP/1.0, 1 for HTTP/1.1, 2 for HTTP/2: an index of VERSIONS."""
        self.headers = headers
        self.authority = authority
        """host[:port] in force: that of an absolute-form target wins over Host (§3.2.2); in
        that case `headers` carries it as "host" too. "" only for HTTP/1.0 without Host."""
        self.body = body
        """Content-Length, 0 for no body, or CHUNKED."""
        self.keep_alive = keep_alive
        """Whether the client lets the connection carry another request (RFC 9112 §9.3)."""
        self.expect_continue = expect_continue
        self.upgrade = upgrade
        """The Upgrade field when Connection names it (RFC 9110 §7.8), else ""."""
        self.ordinary = minor > 0 and keep_alive and not expect_continue and method != "HEAD"
        """The answer may have a body, and need not say anything about the connection."""
        self.section: HeaderSection | None = None
        """What this request has in common with others; None where that is not known."""
        self.kept = False
        """The protocol keeps this object and gives it out again for each head of the same bytes."""
        self.made_of_it: dict[str, Any] | None = None
        """What a gateway has made of the head alone, if it is `kept`: for the next time. Any
        thread that runs the request may set it, to an equal dictionary, and nobody changes it."""


class TlsFacts:
    """What TLS has agreed on for a connection. Not changed after it was built, but for
    `made_of_it`. Owner: the connection; while a request runs, the threads that run its requests.
    """

    __slots__ = ("certificate", "chain", "client", "made_of_it", "number", "suite", "version")

    def __init__(
        self,
        version: str,
        suite: str,
        number: int = 0,
        certificate: str = "",
        client: Mapping[str, Any] | None = None,
        chain: tuple[str, ...] = (),
    ) -> None:
        self.version = version
        """ "TLSv1.2" or "TLSv1.3"."""
        self.suite = suite
        """Name of the cipher suite, as OpenSSL has it."""
        self.number = number
        """Its number (RFC 8446 §B.4), 0 where it is not known."""
        self.certificate = certificate
        """The one that was shown, PEM."""
        self.client = client
        """The client's verified certificate, as `ssl.SSLObject.getpeercert` has it, or None."""
        self.chain = chain
        """The client's certificate and those up to one that is trusted, PEM."""
        self.made_of_it: dict[str, Any] | None = None
        """What a gateway has made of this: for the next request. Any thread that runs one may set
        it, to an equal dictionary, and nobody changes that."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A finished request, for the access log. Immutable."""

    request_id: str
    client: str
    """Address of the peer without the port; "" on a unix socket."""
    method: str
    target: str
    minor: int
    headers: Headers
    status: int
    """0 when the client went away before anything was sent."""
    response_headers: Headers
    sent: int
    """Bytes of the response body that were handed to the system."""
    received: int
    """Bytes of the request body."""
    started: float
    """Seconds since the epoch when the head was complete."""
    seconds: float
    """From then to the last byte of the response handed to the system or its buffer."""
    complete: bool = True
    """Whether the whole response was handed to the system; else the connection was cut off."""
    refusal: str = ""
    """Why the request was not given to the application; "" when it was."""


class Exchange(Protocol):
    """One request and its response, as a gateway sees it: no sockets, no wire syntax.

    Owner: the thread that runs the request. The methods may block the calling thread (bounded
    by the stall and body timeouts), raise ClientDisconnected, and raise ResponseError for an
    application's mistake.
    """

    request: Request
    scheme: str
    """ "http" or "https"."""
    client: tuple[str, str] | None
    """Address, and port as text, of the peer; None on a unix socket."""
    server: tuple[str, str]
    """Name or address, and port as text, of the socket that accepted."""
    received: int
    """Bytes of the request body received so far; all of it, unless the client waits for 100."""

    @property
    def tls(self) -> TlsFacts | None:
        """What TLS has agreed on; None where this server speaks plain HTTP."""

    @property
    def redirects(self) -> bool:
        """Whether the client is only to be told where HTTPS is."""

    def open_body(self) -> BinaryIO:
        """The request body: readable, bounded; raises TruncatedBody. Called once at most."""

    def send_early_hints(self, headers: Headers) -> None:
        """An interim 103 response (RFC 8297); left out for HTTP/1.0 clients."""

    def prepare(self, status: str, headers: Headers) -> None:
        """Check and keep status ("200 OK") and field lines of the response to come.

        Raises ResponseError. May be called again as long as the head is not sent.
        """

    @property
    def declared_length(self) -> int | None:
        """The Content-Length among the prepared field lines, None if there is none."""

    def send_whole(self, body: bytes) -> None:
        """The prepared head with its whole body in one call: the ordinary case."""

    def send_head(self, length: int | None) -> None:
        """Start with the prepared head; `length` is the size of the body where it is known."""

    def send_data(self, data: bytes) -> None:
        """A piece of the body, passed on now."""

    def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """`count` bytes of a real file from `offset`; the file may be closed on return."""

    def send_end(self) -> None:
        """The body is complete."""

    def abort(self) -> None:
        """The response cannot be completed: end the connection, so that the client can tell."""

    @property
    def head_sent(self) -> bool:
        """Whether a final response head was handed over."""

    @property
    def request_id(self) -> str:
        """Made on first use; names the request in the logs."""


class AsyncExchange(Protocol):
    """One request and its response, as an asynchronous gateway sees it.

    Owner: the event loop of the connection. After `send_whole` or `send_end` it may be used for
    the next request: the gateway must not touch it for this one any more. Methods that send raise
    ClientDisconnected when the peer is gone, and ResponseError for an application's mistake.
    """

    request: Request
    scheme: str
    """ "http" or "https"."""
    peer: tuple[str, int] | None
    """Address and port of the client; None on a unix socket."""
    local: tuple[str, int | None]
    """Name or address, and port, of the socket that accepted; the path of a unix socket."""
    gone: bool
    """The peer has closed its sending side, or the connection is lost."""

    @property
    def tls(self) -> TlsFacts | None:
        """As of Exchange."""

    @property
    def redirects(self) -> bool:
        """As of Exchange."""

    def read_body(self) -> bytes | None:
        """What has come of the request body; b"" at its end, None when that has not come yet.
        Raises TruncatedBody when it will not."""

    @property
    def body_complete(self) -> bool:
        """Whether all of the request body was read."""

    def news(self) -> Awaitable[None]:
        """Wait for bytes of the body, the peer's end, or the end of this response."""

    @property
    def crowded(self) -> bool:
        """Whether to `drain` before more is sent."""

    def drain(self) -> Awaitable[None]:
        """Wait until the peer has taken enough of what was sent, and others had their turn. Raises
        ClientDisconnected."""

    def prepare(self, status: str, headers: Headers) -> None:
        """As of Exchange."""

    @property
    def heads(self) -> dict[tuple[object, ...], Any] | None:
        """Response heads that are kept, by status and fields as the application has given them: for
        the gateways of the event loop to look up and to fill. None where none are kept."""

    @property
    def known_head(self) -> object | None:
        """The head that was prepared last, if it is worth a place in `heads`."""

    def prepare_known(self, head: Any) -> None:
        """As `prepare`, for a head out of `heads`."""

    def end_after(self) -> None:
        """Have this response be the last one of the connection."""

    def send_early_hints(self, headers: Headers) -> None:
        """As of Exchange."""

    def send_whole(self, body: bytes) -> None:
        """The prepared head with its whole body in one call: the ordinary case."""

    def send_head(self, length: int | None) -> None:
        """Start with the prepared head; `length` is the size of the body where it is known."""

    def send_data(self, data: bytes) -> None:
        """A piece of the body, passed on now."""

    def send_file(self, file: BinaryIO, offset: int, count: int) -> Awaitable[None]:
        """`count` bytes of a real file from `offset`; the file must stay open until then."""

    def send_end(self, trailers: Headers = ...) -> None:
        """The body is complete. Trailers are sent where the framing has room for them."""

    def abort(self) -> None:
        """The response cannot be completed: end the connection, so that the peer can tell."""

    @property
    def head_sent(self) -> bool:
        """Whether a final response head was handed over."""

    @property
    def request_id(self) -> str:
        """Made on first use; names the request in the logs."""

    @property
    def known_id(self) -> str:
        """The request id if there is one already, else ""."""


class WebSocketExchange(Protocol):
    """A WebSocket handshake and the connection that follows (RFC 6455).

    Owner: the event loop of the connection.
    """

    subprotocols: tuple[str, ...]
    """What the peer offers, in its order of preference."""
    close_code: int
    """How the connection ended: the peer's code, 1005 for none, 1006 without a closing handshake
    (RFC 6455 §7.4); 0 before."""
    close_reason: str

    @property
    def http(self) -> AsyncExchange:
        """The handshake as a request, to be refused with an ordinary response; until `accept`."""

    def accept(self, subprotocol: str | None, headers: Headers) -> None:
        """Answer 101. Raises ResponseError, ClientDisconnected."""

    def next_message(self) -> str | bytes | None:
        """The next message; None when there is none: for now, or (`close_code`) any more."""

    def news(self) -> Awaitable[None]:
        """Wait for a message or the end."""

    @property
    def crowded(self) -> bool:
        """As of AsyncExchange."""

    def drain(self) -> Awaitable[None]:
        """As of AsyncExchange."""

    def send_text(self, data: str) -> None:
        """A text message. Raises ResponseError, ClientDisconnected."""

    def send_bytes(self, data: bytes) -> None:
        """A binary message. Raises ResponseError, ClientDisconnected."""

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; nothing can be sent any more. Raises ResponseError for a
        code that may not be sent."""
