"""What a core counts where somebody looks: rows, buckets, routes, and what is inside."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from nogilserve.engine.meter import BOUNDS, Meter, Observe, sums
from nogilserve.messages import Request

THREADS = 4
TURNS = 3000


def request(method: str = "GET", path: str = "/") -> Request:
    """A request for that."""
    return Request(method, path, path, "", 1, [], "x", 0, True, False, "")


def test_durations_fall_into_buckets() -> None:
    """A bound belongs to its bucket, what exceeds the last one is counted too."""
    meter = Meter(Observe())
    for seconds in (0.0, BOUNDS[0], BOUNDS[0] * 1.01, BOUNDS[-1], BOUNDS[-1] * 2):
        meter.count(request(), 200, seconds, 0.0)
    row = sums([meter])["requests"]["GET 200 "]
    last = len(BOUNDS)
    assert {place: row[place] for place in row if place != "sum"} == {
        "0": 2,
        "1": 1,
        str(last - 1): 1,
        str(last): 1,
    }
    assert row["sum"] == pytest.approx(BOUNDS[0] * 2.01 + BOUNDS[-1] * 3)


@pytest.mark.parametrize(
    ("path", "route"),
    [("/api", "/api"), ("/api/x", "/api"), ("/api/v2/x", "/api/v2"), ("/apiary", ""), ("/", "")],
)
def test_the_longest_route_counts(path: str, route: str) -> None:
    """Routes end at a slash or the end of the path."""
    meter = Meter(Observe(("/api", "/api/v2")))
    meter.count(request(path=path), 200, 0.1, 0.0)
    assert list(sums([meter])["requests"]) == [f"GET 200 {route}"]


def test_sites_have_names_where_no_route_fits() -> None:
    """A route that was asked for wins; each core has what names sites made for itself."""
    made = []

    def sites() -> Callable[[str, str], str]:
        made.append(1)
        return lambda authority, path: f"{authority} shop"

    meters = [Meter(Observe(("/api",), sites)) for _ in range(2)]
    for path in ("/", "/api"):
        meters[0].count(request(path=path), 200, 0.1, 0.0)
    assert set(sums(meters)["requests"]) == {"GET 200 x shop", "GET 200 /api"}
    assert len(made) == 2


def test_clients_cannot_make_up_rows() -> None:
    """Unknown methods share a row; a WebSocket is no request that takes hours."""
    meter = Meter(Observe())
    for number in range(50):
        meter.count(request(f"M{number}"), 200, 0.1, 0.0)
    meter.count(request(), 101, 3600.0, 0.0)
    over_http2 = Request("CONNECT", "/", "/", "", 2, [], "x", 0, True, False, "websocket")
    meter.count(over_http2, 200, 3600.0, 0.0)
    assert list(sums([meter])["requests"]) == ["OTHER 200 "]


def test_several_cores_are_one_sum() -> None:
    """Rows of the same name are added up."""
    meters = [Meter(Observe()) for _ in range(3)]
    for meter in meters:
        meter.count(request(), 200, 0.001, 0.002)
    found = sums(meters)
    assert sum(n for place, n in found["requests"]["GET 200 "].items() if place != "sum") == 3
    assert found["waits"]["sum"] == pytest.approx(0.006)


def test_what_is_inside_is_seen_while_threads_come_and_go() -> None:
    """Several threads enter and leave one core's gateway while another one looks: every look gets
    whole entries, and nothing stays behind, not even after an exception."""
    meter = Meter(Observe())
    began = threading.Barrier(THREADS + 1)

    def gateway(exchange: Any) -> None:
        assert threading.get_ident() in meter.inside
        if exchange.request.path == "/raise":
            raise RuntimeError

    observed = meter.around(gateway)

    def work(path: str) -> None:
        began.wait()
        for _ in range(TURNS):
            exchange: Any = SimpleNamespace(request=request(path=path), client=None, known_id="x")
            try:
                observed(exchange)
            except RuntimeError:
                pass

    paths = ("/a", "/b", "/c", "/raise")
    threads = [threading.Thread(target=work, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    began.wait()
    while any(thread.is_alive() for thread in threads):
        for entry in meter.inside.copy().values():
            assert entry[0].path in paths
            assert entry[3] == "x"
    for thread in threads:
        thread.join()
    assert meter.inside == {}
