"""OpenTelemetry spans round calls of the application, below the span that the request names
(W3C Trace Context, `traceparent`).

Only opentelemetry-api is needed: where spans go is up to the SDK that the application, or
opentelemetry-instrument, sets up; without one they go nowhere. Names and attributes are those of
the semantic conventions for HTTP servers.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from opentelemetry import context, propagate, trace
from opentelemetry.propagators.textmap import Getter

from nogilserve.gateways.wrapped import AsyncWrapped, Wrapped
from nogilserve.messages import AsyncExchange, Exchange, Headers, WebSocketExchange

__all__ = ["AsyncTracingGateway", "TracingGateway"]

_METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE")
)
_VERSIONS: Final = ("1.0", "1.1", "2")
"""By `Request.minor`."""
_ERROR: Final = 500


class _Fields(Getter[Headers]):
    """Reads the fields of a request."""

    def get(self, carrier: Headers, key: str) -> list[str] | None:
        """All values of a field."""
        found = [value for name, value in carrier if name == key.lower()]
        return found or None

    def keys(self, carrier: Headers) -> list[str]:
        """Names of all fields."""
        return [name for name, _ in carrier]


_FIELDS: Final = _Fields()


def _begin(tracer: trace.Tracer, exchange: Exchange | AsyncExchange) -> trace.Span:
    request = exchange.request
    method = request.method if request.method in _METHODS else "_OTHER"
    attributes: dict[str, Any] = {
        "http.request.method": method,
        "url.scheme": exchange.scheme,
        "url.path": request.path,
        "network.protocol.version": _VERSIONS[request.minor],
    }
    if method == "_OTHER":
        attributes["http.request.method_original"] = request.method
    if request.query:
        attributes["url.query"] = request.query
    host, _, port = request.authority.rpartition(":")
    if port.isdecimal() and host:
        attributes |= {"server.address": host, "server.port": int(port)}
    elif request.authority:
        attributes["server.address"] = request.authority
    attributes.update(
        ("user_agent.original", value) for name, value in request.headers if name == "user-agent"
    )
    return tracer.start_span(
        "HTTP" if method == "_OTHER" else method,
        propagate.extract(request.headers, getter=_FIELDS),
        trace.SpanKind.SERVER,
        attributes,
    )


def _note(span: trace.Span, status: str) -> None:
    """The status of the response, of which the last one counts."""
    try:
        code = int(status[:3])
    except ValueError:
        return
    span.set_attribute("http.response.status_code", code)
    if code >= _ERROR:
        span.set_attribute("error.type", str(code))
        span.set_status(trace.StatusCode.ERROR)


class _Traced(Wrapped):
    """Owner: the thread that runs the request."""

    __slots__ = ("_span",)

    def __init__(self, exchange: Exchange, span: trace.Span) -> None:
        super().__init__(exchange)
        self._span = span

    def prepare(self, status: str, headers: Headers) -> None:
        self._inner.prepare(status, headers)
        _note(self._span, status)


class _AsyncTraced(AsyncWrapped):
    """Owner: the event loop of the connection."""

    __slots__ = ("_span",)

    def __init__(self, exchange: AsyncExchange, span: trace.Span) -> None:
        super().__init__(exchange)
        self._span = span

    def prepare(self, status: str, headers: Headers) -> None:
        self._inner.prepare(status, headers)
        _note(self._span, status)


class TracingGateway:
    """For the thread engine. Owner: its core; calls may overlap, nothing in it changes."""

    def __init__(self, inner: Callable[[Exchange], None]) -> None:
        self._inner = inner
        self._tracer = trace.get_tracer("nogilserve")

    def run(self, exchange: Exchange) -> None:
        """Run what is inside. Never raises."""
        span = _begin(self._tracer, exchange)
        token = context.attach(trace.set_span_in_context(span))
        try:
            self._inner(_Traced(exchange, span))
        finally:
            context.detach(token)
            span.end()


class _Application(Protocol):
    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """One request."""

    def websocket(self, exchange: WebSocketExchange) -> Coroutine[Any, Any, None]:
        """One WebSocket connection."""


class AsyncTracingGateway:
    """For event loops. Owner: one loop. WebSockets have no spans."""

    def __init__(self, inner: _Application) -> None:
        self._inner = inner
        self._tracer = trace.get_tracer("nogilserve")
        self.websocket = inner.websocket

    async def http(self, exchange: AsyncExchange) -> None:
        """Run what is inside. Never raises, but for a cancellation."""
        span = _begin(self._tracer, exchange)
        token = context.attach(trace.set_span_in_context(span))
        try:
            await self._inner.http(_AsyncTraced(exchange, span))
        finally:
            context.detach(token)
            span.end()
