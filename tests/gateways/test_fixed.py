"""Redirects, fixed responses and changed header fields, without a server."""

import pytest

from nogilserve.gateways.fields import Edits, FieldsGateway
from nogilserve.gateways.fixed import FixedGateway, fixed, redirect
from nogilserve.gateways.slots import Slots, SlotsGateway
from tests.gateways.recording import Recorder, ask


def place(target: str, path: str, query: str = "", below: str = "/", host: str = "a.test") -> str:
    """The Location of a redirect."""
    request = ask("GET", path, query)
    request.authority = host
    said = redirect(target, 308, below)(request, "https")
    return dict(said.headers)["Location"]


@pytest.mark.parametrize(
    ("target", "path", "query", "location"),
    [
        ("https://{host}{uri}", "/a%20b", "q=1", "https://a.test/a%20b?q=1"),
        ("{scheme}://www.{host}{path}?{query}", "/x", "q=%7B", "https://www.a.test/x?q=%7B"),
        ("/new{rest}", "/old/x", "", "/new/x"),
        ("/new{rest}", "/%6Fld/x%2Fy", "", "/new/x%2Fy"),
        ("/fixed", "/old", "q=1", "/fixed"),
        ("{uri}", "//evil.test/x", "", "/evil.test/x"),
        ("{path}", "/\\evil.test", "", "/evil.test"),
        ("{rest}", "/old//evil.test", "", "/evil.test"),
        ("https://b.test{rest}", "/old", "", "https://b.test"),
        ("/x{path}", "/\xe9", "", "/x/%C3%A9"),
    ],
)
def test_locations(target: str, path: str, query: str, location: str) -> None:
    """Placeholders keep what the client has encoded; no path leads to another host by itself."""
    below = "/old" if "{rest}" in target else "/"
    assert place(target, path, query, below) == location


def test_host_of_a_location_has_no_port() -> None:
    """Another scheme has another port."""
    assert place("https://{host}/", "/", host="a.test:8080") == "https://a.test/"
    assert place("https://{host}/", "/", host="[::1]:8080") == "https://[::1]/"


def test_statuses() -> None:
    """One without a name is sent without a reason; 204 has no body."""
    for status, line, body in (
        (599, "599 ", b"x"),
        (204, "204 No Content", b""),
        (200, "200 OK", b"x"),
    ):
        exchange = Recorder()
        FixedGateway(fixed(status, "x")).run(exchange)
        assert (exchange.status, exchange.whole) == (line, body)


def test_edits_in_order() -> None:
    """Set, add, default and remove; names are compared without case."""
    edits = Edits(["X-A: 1", "+Link: <b>", "?Cache-Control: no-store", "?X-C: c", "-x-powered-by"])
    given = [
        ("x-a", "0"),
        ("Link", "<a>"),
        ("cache-control", "max-age=1"),
        ("X-Powered-By", "y"),
        ("x-A", "2"),
    ]
    assert edits.apply(given) == [
        ("Link", "<a>"),
        ("cache-control", "max-age=1"),
        ("X-A", "1"),
        ("Link", "<b>"),
        ("X-C", "c"),
    ]


def test_edited_exchange_passes_everything_on() -> None:
    """A gateway inside sees the exchange as it is, but for the header."""
    inner = FixedGateway(fixed(200, "hello", [("X-Powered-By", "y")])).run
    exchange = Recorder()
    FieldsGateway(Edits(["-X-Powered-By", "X-Frame-Options: DENY"]), inner).run(exchange)
    assert exchange.header("X-Powered-By") == ""
    assert exchange.header("X-Frame-Options") == "DENY"
    assert exchange.sent == b"hello"


def test_slots_are_given_back() -> None:
    """One place: a request inside another one is refused, the next one is not."""
    slots = Slots(1)

    def inside(exchange: Recorder) -> None:
        refused = Recorder()
        SlotsGateway(slots, unexpected).run(refused)
        assert refused.status == "503 Service Unavailable"
        assert refused.header("Retry-After") == "1"
        FixedGateway(fixed(200, "in")).run(exchange)

    def unexpected(_exchange: object) -> None:
        raise AssertionError("there was no place")

    for _ in range(2):
        exchange = Recorder()
        SlotsGateway(slots, inside).run(exchange)  # type: ignore[arg-type]
        assert exchange.sent == b"in"
