"""What is known of a running server, as Prometheus or OpenMetrics text.

Only the exposition is prometheus_client's: counting is the engine's, per core. The package is
imported when metrics are asked for; without it `render` raises ImportError.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["render"]

_REASONS: Final = 100
"""Reasons for refusing that get a series of their own; further ones are "other"."""

_COUNTERS: Final = {
    "accepted": ("connections_accepted", "Connections accepted."),
    "closed": ("connections_closed", "Connections ended."),
    "received": ("received_bytes", "Bytes read from clients."),
    "sent": ("sent_bytes", "Bytes handed to the system for clients."),
    "hand_offs": (
        "hand_offs",
        "Times another thread took a core over while its driver was inside the application.",
    ),
    "steals": ("steals", "Turns of a core driven by the thread of an idle one."),
    "turns_waited": (
        "batch_wait_seconds",
        "Seconds from taking a batch of events to looking at its last one, over all batches.",
    ),
    "websockets": ("websockets_opened", "WebSocket connections opened."),
    "tls_handshakes": ("tls_handshakes", "TLS handshakes completed."),
    "tls_resumed": ("tls_resumed", "TLS handshakes that resumed a session."),
}
_HANDLED: Final = frozenset({"requests", "longest_wait", "refused"})


def render(seen: Mapping[str, Any], accept: str) -> tuple[bytes, str]:
    """The text, and its media type, by the Accept field of who asks.

    `seen`: {"totals", "now", "bounds", "status", "processes"}, see `supervise.admin.scrape`. Raises
    ImportError.
    """
    from prometheus_client import exposition

    encode, media = exposition.choose_encoder(accept)
    text: bytes = encode(_Collected(seen))
    return text, media


class _Collected:
    """What prometheus_client takes for a registry."""

    def __init__(self, seen: Mapping[str, Any]) -> None:
        self._seen = seen

    def collect(self) -> "Iterator[Metric]":
        """All families."""
        totals, now = self._seen["totals"], self._seen["now"]
        counters = totals.get("counters", {})
        yield from _requests(totals, self._seen["bounds"], counters)
        yield from _counted(counters)
        yield from _collections(totals.get("collections", {}))
        yield from _present(now)
        yield from _generations(self._seen["status"])
        yield from _tenants(self._seen["status"].get("tenants", []))
        yield from _processes(self._seen["processes"])
        yield from _certificates(self._seen.get("certificates", []))


def _histogram(row: Mapping[str, float], bounds: tuple[float, ...]) -> tuple[list[Any], float]:
    buckets = []
    count = 0.0
    for index, bound in enumerate((*map(_bound, bounds), "+Inf")):
        count += row.get(str(index), 0)
        buckets.append((bound, count))
    return buckets, row.get("sum", 0.0)


def _bound(seconds: float) -> str:
    return repr(float(seconds))


def _requests(
    totals: Mapping[str, Any], bounds: tuple[float, ...], counters: Mapping[str, Any]
) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

    number = CounterMetricFamily(
        "nogilserve_requests",
        "Requests finished, refused ones included. Status 0: the client left first.",
        labels=["method", "status", "route"],
    )
    duration = HistogramMetricFamily(
        "nogilserve_request_duration_seconds",
        "From the end of a request's head to the end of its response.",
        labels=["method", "status", "route"],
    )
    classes: dict[tuple[str, str, str], dict[str, float]] = {}
    for key, row in sorted(totals.get("requests", {}).items()):
        method, status, route = key.split(" ", 2)
        number.add_metric(
            [method, status, route], sum(n for index, n in row.items() if index != "sum")
        )
        group = classes.setdefault((method, f"{status[0]}xx" if status != "0" else "0", route), {})
        for index, value in row.items():
            group[index] = group.get(index, 0) + value
    for labels, row in sorted(classes.items()):
        buckets, seconds = _histogram(row, bounds)
        duration.add_metric(list(labels), buckets, seconds)
    wait = HistogramMetricFamily(
        "nogilserve_request_wait_seconds",
        "From the arrival of a whole request to the call of the application.",
    )
    buckets, seconds = _histogram(totals.get("waits", {}), bounds)
    wait.add_metric([], buckets, seconds)
    handled = CounterMetricFamily(
        "nogilserve_application_requests",
        "Requests given to the application and finished.",
        value=counters.get("requests", 0),
    )
    yield from (number, duration, wait, handled)


def _counted(counters: Mapping[str, Any]) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for name, value in counters.items():
        if name not in _HANDLED and isinstance(value, int | float):
            metric, text = _COUNTERS.get(name, (name, f"{name.replace('_', ' ').capitalize()}."))
            yield CounterMetricFamily(f"nogilserve_{metric}", text, value=value)
    yield GaugeMetricFamily(
        "nogilserve_batch_wait_longest_seconds",
        "The longest time from taking a batch of events to looking at its last one.",
        value=counters.get("longest_wait", 0.0),
    )
    refused = CounterMetricFamily(
        "nogilserve_refused", "Requests and connections refused or given up.", labels=["reason"]
    )
    rest = 0.0
    for place, (reason, count) in enumerate(sorted(counters.get("refused", {}).items())):
        if place < _REASONS:
            refused.add_metric([reason], count)
        else:
            rest += count
    if rest:
        refused.add_metric(["other"], rest)
    yield refused


def _collections(collections: Mapping[str, Mapping[str, float]]) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily

    # "generation" is the server's own word for something else.
    labels = ["gc_generation"]
    number = CounterMetricFamily(
        "nogilserve_gc_collections", "Collections of garbage.", labels=labels
    )
    seconds = CounterMetricFamily(
        "nogilserve_gc_seconds", "Seconds that collections of garbage took.", labels=labels
    )
    for generation, row in sorted(collections.items()):
        number.add_metric([generation], row.get("number", 0))
        seconds.add_metric([generation], row.get("seconds", 0.0))
    yield from (number, seconds)


def _present(now: Mapping[str, Any]) -> "Iterator[Metric]":
    from prometheus_client.core import GaugeMetricFamily

    threads, busy = now.get("threads", 0), now.get("busy", 0)
    for name, text, value in (
        ("requests_in_flight", "Requests inside the application.", now.get("in_flight", 0)),
        ("threads", "Threads that run requests, or event loops.", threads),
        ("threads_busy", "Of these, those inside the application.", busy),
        ("saturation_ratio", "Busy threads over threads.", busy / threads if threads else 0.0),
    ):
        yield GaugeMetricFamily(f"nogilserve_{name}", text, value=value)
    connections = GaugeMetricFamily(
        "nogilserve_connections", "Open connections by what they do.", labels=["state"]
    )
    for state, count in sorted(now.get("connections", {}).items()):
        connections.add_metric([state], count)
    yield connections
    loops = now.get("loops", ())
    if loops:
        yield GaugeMetricFamily(
            "nogilserve_event_loop_lag_seconds",
            "Seconds until an event loop takes up what it is given; the worst loop.",
            value=max(loop["lag"] for loop in loops),
        )
        yield GaugeMetricFamily(
            "nogilserve_event_loop_blocked",
            "Times event loops of the present generations were found blocked.",
            value=sum(loop["blocked"] for loop in loops),
        )
    interpreters = now.get("interpreters", ())
    if interpreters:
        yield GaugeMetricFamily(
            "nogilserve_gil_enabled",
            "Interpreters that run with the GIL.",
            value=sum(bool(item["gil"]) for item in interpreters),
        )


def _generations(status: Mapping[str, Any]) -> "Iterator[Metric]":
    from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

    yield InfoMetricFamily(
        "nogilserve",
        "What runs.",
        value={"version": str(status.get("version", "")), "app": str(status.get("app", ""))},
    )
    yield GaugeMetricFamily(
        "nogilserve_ready",
        "Whether new clients are welcome.",
        value=int(bool(status.get("ready"))),
    )
    generations = status.get("generations", ())
    states = GaugeMetricFamily(
        "nogilserve_generations", "Processes of the application by state.", labels=["state"]
    )
    for state in ("starting", "opening", "serving", "draining"):
        states.add_metric([state], sum(item["state"] == state for item in generations))
    yield states
    yield GaugeMetricFamily(
        "nogilserve_generation",
        "The number of the newest generation: one more than there were reloads and restarts.",
        value=max((item["number"] for item in generations), default=0),
    )


def _tenants(tenants: list[Mapping[str, Any]]) -> "Iterator[Metric]":
    """Those that are loaded."""
    if not tenants:
        return
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    states = GaugeMetricFamily("nogilserve_tenants", "Tenants by state.", labels=["state"])
    for state in ("queued", "starting", "serving", "closing"):
        states.add_metric([state], sum(item["state"] == state for item in tenants))
    requests = CounterMetricFamily(
        "nogilserve_tenant_requests",
        "Requests that the present processes of a tenant have finished.",
        labels=["tenant"],
    )
    active = GaugeMetricFamily(
        "nogilserve_tenant_active", "Requests inside a tenant.", labels=["tenant"]
    )
    connections = GaugeMetricFamily(
        "nogilserve_tenant_connections", "Open connections of a tenant.", labels=["tenant"]
    )
    for item in tenants:
        counters = [line.get("counters", {}) for line in item["generations"]]
        requests.add_metric([item["name"]], sum(one.get("requests", 0) for one in counters))
        active.add_metric([item["name"]], sum(one.get("active", 0) for one in counters))
        connections.add_metric([item["name"]], sum(one.get("connections", 0) for one in counters))
    yield from (states, requests, active, connections)


def _certificates(certificates: list[Mapping[str, Any]]) -> "Iterator[Metric]":
    """Those of automatic HTTPS."""
    if not certificates:
        return
    from prometheus_client.core import GaugeMetricFamily

    end = GaugeMetricFamily(
        "nogilserve_certificate_expiry_timestamp_seconds",
        "When the certificate of a name ends, seconds since the epoch; 0: there is none.",
        labels=["name"],
    )
    failing = GaugeMetricFamily(
        "nogilserve_certificate_failing",
        "Whether the last attempt to obtain a certificate failed.",
        labels=["name"],
    )
    for item in certificates:
        end.add_metric([item["name"]], item["not_after"])
        failing.add_metric([item["name"]], int(item["failing"]))
    yield from (end, failing)


def _processes(processes: list[Mapping[str, Any]]) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    labels = ["role", "generation"]
    memory = GaugeMetricFamily(
        "nogilserve_process_resident_memory_bytes", "Resident memory.", labels=labels
    )
    cpu = CounterMetricFamily(
        "nogilserve_process_cpu_seconds", "Processor time, user and system.", labels=labels
    )
    threads = GaugeMetricFamily("nogilserve_process_threads", "Threads.", labels=labels)
    files = GaugeMetricFamily("nogilserve_process_open_fds", "Open descriptors.", labels=labels)
    for process in processes:
        values = [process["role"], str(process["generation"] or "")]
        for family, name in (
            (memory, "rss"),
            (cpu, "cpu_seconds"),
            (threads, "threads"),
            (files, "fds"),
        ):
            if process.get(name) is not None:
                family.add_metric(values, process[name])
    yield from (memory, cpu, threads, files)
