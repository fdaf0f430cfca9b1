"""Counters for a statsd server: UDP datagrams, every some seconds."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

__all__ = ["Statsd", "lines"]

_log = logging.getLogger("nogilserve")

_PERIOD: Final = 10.0
_DATAGRAM: Final = 1400
"""Bytes that reach a server in one piece."""
_COUNTERS: Final = (
    *("requests", "accepted", "closed", "received", "sent", "hand_offs", "steals", "websockets"),
    *("tls_handshakes", "tls_failed"),
)


class Statsd:
    """Owner: its own thread runs `run`; `stop` is for any thread."""

    def __init__(
        self,
        address: tuple[str, int],
        prefix: str,
        look: Callable[[], Mapping[str, Any]],
        period: float = _PERIOD,
    ) -> None:
        """`look` gives what `Runtime.look` does."""
        self._address = address
        self._prefix = prefix.rstrip(".")
        self._look = look
        self._period = period
        self._stopping = threading.Event()
        self._before: Mapping[str, Any] = {}

    def stop(self) -> None:
        """Send what was counted since, and end `run`."""
        self._stopping.set()

    def run(self) -> None:
        """Send, until `stop`."""
        complained = False
        while True:
            last = self._stopping.wait(self._period)
            try:
                self._send()
                complained = False
            except OSError as error:
                if not complained:
                    _log.warning("statsd at %s:%d: %s", *self._address, error)
                complained = True
            if last:
                return

    def _send(self) -> None:
        look = self._look()
        found = list(lines(self._prefix, look, self._before))
        self._before = look.get("totals", {})
        host, port = self._address
        family, kind, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as sock:
            packet = ""
            for line in found:
                if packet and len(packet) + len(line) >= _DATAGRAM:
                    sock.sendto(packet.encode(), target)
                    packet = ""
                packet += f"\n{line}" if packet else line
            if packet:
                sock.sendto(packet.encode(), target)


def lines(prefix: str, look: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """What to send: counters since `before` (its "totals"), and gauges of now."""
    totals, now = look.get("totals", {}), look.get("now", {})
    counters, were = totals.get("counters", {}), before.get("counters", {})
    for name in _COUNTERS:
        grown = counters.get(name, 0) - were.get(name, 0)
        if grown > 0:
            yield f"{prefix}.{name}:{grown:g}|c"
    refused = sum(counters.get("refused", {}).values()) - sum(were.get("refused", {}).values())
    if refused > 0:
        yield f"{prefix}.refused:{refused}|c"
    yield from _requests(prefix, totals.get("requests", {}), before.get("requests", {}))
    for name, value in (
        ("threads", now.get("threads", 0)),
        ("threads_busy", now.get("busy", 0)),
        ("requests_in_flight", now.get("in_flight", 0)),
        ("connections", now.get("open", 0)),
    ):
        yield f"{prefix}.{name}:{value}|g"


def _requests(prefix: str, requests: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """Responses by class of status, and the mean of their durations in milliseconds."""
    count, seconds = 0.0, 0.0
    classes: dict[str, float] = {}
    for key, row in requests.items():
        was = before.get(key, {})
        grown = sum(n - was.get(place, 0) for place, n in row.items() if place != "sum")
        status = key.split(" ")[1]
        name = f"{status[0]}xx" if status != "0" else "none"
        classes[name] = classes.get(name, 0) + grown
        count += grown
        seconds += row.get("sum", 0.0) - was.get("sum", 0.0)
    for name, number in sorted(classes.items()):
        if number > 0:
            yield f"{prefix}.responses.{name}:{number:g}|c"
    if count:
        yield f"{prefix}.request_duration:{1000 * seconds / count:.3f}|ms"
