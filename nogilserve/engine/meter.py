"""What a core counts of its requests where somebody looks: how long they took and what they were,
and which of them are inside the application now.

Nothing of this exists unless an option asks for it (`Settings.observe`).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from threading import get_ident
from time import monotonic
from typing import Any, Final

from nogilserve.messages import Exchange, Request

__all__ = ["BOUNDS", "METHODS", "Inside", "Meter", "Observe", "sums"]

BOUNDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Upper bounds of the buckets of durations, in seconds; a last bucket has no bound."""
_SUM: Final = len(BOUNDS) + 1
"""Where a row has the sum, behind its buckets."""
_SWITCHED: Final = 101
_OK: Final = 200
"""What says the same over HTTP/2 (RFC 8441 §5)."""
_HTTP2: Final = 2

METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY")
)
"""Counted by name; others, which any client can make up, are "OTHER"."""

Inside = tuple[Request, float, tuple[str, str] | None, str, Any]
"""A request inside the application, since when (monotonic), of which client, its id if it has one
already, and on event loops the task."""

_Gateway = Callable[[Exchange], None]


@dataclass(frozen=True, slots=True)
class Observe:
    """What is to be counted. Immutable."""

    routes: tuple[str, ...] = field(default=())
    """Path prefixes that are counted apart; the longest that fits names a request's route."""
    sites: Callable[[], Callable[[str, str], str]] | None = None
    """Makes, for each core, what names the site of an authority and a path, where there are
    several; a route in `routes` wins."""
    ids: bool = False
    """Whether every request gets an id before the application is called."""


class Meter:
    """Owner: the thread that holds the core (that runs the loop). `inside` is for any thread: each
    entry belongs to the thread (or the call) whose key it has, and single operations of a
    dictionary are atomic. Any thread may read the rows, and sees slightly old values.
    """

    __slots__ = ("_named", "_routes", "_site", "ids", "inside", "rows", "waits")

    def __init__(self, observe: Observe) -> None:
        self.ids = observe.ids
        """Whether every request gets an id before the application is called."""
        self._site = observe.sites() if observe.sites is not None else None
        self._routes = tuple(sorted(observe.routes, key=len, reverse=True))
        self._named = bool(self._routes) or self._site is not None
        self.rows: dict[tuple[str, int, str], list[float]] = {}
        """By method, status and route: how many in each bucket, and the sum of seconds."""
        self.waits: list[float] = [0] * (_SUM + 1)
        """The same of the time between a request's arrival and the call of the application."""
        self.inside: dict[int, Inside] = {}
        """By identifier of the thread, on event loops of the call."""

    def count(self, request: Request, status: int, seconds: float, waited: float) -> None:
        """A request is finished. `status`: 0 where nothing was sent; `waited`: seconds."""
        if status == _SWITCHED or (status == _OK and request.upgrade and request.minor == _HTTP2):
            return  # it lasted as long as somebody kept the WebSocket open
        method = request.method
        if method not in METHODS:
            method = "OTHER"
        key = (method, status, self._route(request) if self._named else "")
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = [0] * (_SUM + 1)
        row[bisect_left(BOUNDS, seconds)] += 1
        row[_SUM] += seconds
        row = self.waits
        row[bisect_left(BOUNDS, waited)] += 1
        row[_SUM] += waited

    def _route(self, request: Request) -> str:
        path = request.path
        for route in self._routes:
            if path == route or path.startswith(route if route[-1] == "/" else f"{route}/"):
                return route
        return self._site(request.authority, path) if self._site is not None else ""

    def around(self, gateway: _Gateway) -> _Gateway:
        """The gateway of a core whose threads are watched."""
        inside = self.inside
        ids = self.ids

        def observed(exchange: Any) -> None:
            thread = get_ident()
            began = monotonic()
            request_id = exchange.request_id if ids else exchange.known_id
            inside[thread] = (exchange.request, began, exchange.client, request_id, None)
            exchange.called = began
            try:
                gateway(exchange)
            finally:
                del inside[thread]

        return observed


def sums(meters: Sequence[Meter]) -> dict[str, Any]:
    """What several meters have counted, as plain data that can be added up further: "requests" by
    "METHOD status route", and "waits". Any thread."""
    requests: dict[str, dict[str, float]] = {}
    for meter in meters:
        for (method, status, route), row in meter.rows.copy().items():
            _add(requests.setdefault(f"{method} {status} {route}", {}), row)
    waits: dict[str, float] = {}
    _add(waits, [0] * (_SUM + 1))
    for meter in meters:
        _add(waits, meter.waits)
    return {"requests": requests, "waits": waits}


def _add(into: dict[str, float], row: Iterable[float]) -> None:
    """Buckets by number, and "sum"; empty buckets are left out."""
    *buckets, seconds = list(row)
    for index, number in enumerate(buckets):
        if number:
            into[str(index)] = into.get(str(index), 0) + number
    into["sum"] = into.get("sum", 0) + seconds
