"""What ASGI applications are told of requests."""

from typing import Any

import pytest

from nogilserve.gateways.asgi.scope import ScopeMaker
from nogilserve.messages import Request
from tests.engine.loop.rig import LoopRig, get
from tests.gateways.asgi_served import on_asgi, respond


class Told:
    """The part of an exchange that scopes are made from."""

    scheme = "http"
    peer = ("192.0.2.1", 1234)
    local = ("test", 80)

    def __init__(self, path: str, query: str = "", *, kept: bool = False) -> None:
        self.request = Request(
            "GET", path, path, query, 1, [("host", "a")], "a", 0, True, False, ""
        )
        self.request.kept = kept


def scope_of(path: str, root: str = "", query: str = "") -> Any:
    """The scope of a GET."""
    told: Any = Told(path, query)
    return ScopeMaker(root, None, debug=False).http(told)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/a%20b", "/a b"),
        ("/%C3%A4", "/ä"),
        ("/%E4", "/\ufffd"),
        ("/%zz", "/%zz"),
        ("/a%2Fb", "/a/b"),
        ("/\xc3\xa4", "/ä"),
        ("*", "*"),
    ],
)
def test_path(target: str, path: str) -> None:
    """Decoded once, as UTF-8; `raw_path` is as it was sent."""
    scope = scope_of(target, query="a=%20")
    assert (scope["path"], scope["raw_path"]) == (path, target.encode("latin-1"))
    assert scope["query_string"] == b"a=%20"


@pytest.mark.parametrize(
    ("root", "target", "path", "raw"),
    [
        ("/api", "/api", "/api", b"/api"),
        ("/api", "/api/x", "/api/x", b"/api/x"),
        ("/api", "/x", "/api/x", b"/api/x"),
        ("/api", "/apix", "/api/apix", b"/api/apix"),
        ("/api", "/%61pi/x", "/api/x", b"/%61pi/x"),
        ("/ä b", "/x", "/ä b/x", b"/%C3%A4%20b/x"),
        ("/api", "*", "*", b"*"),
    ],
)
def test_root_path(root: str, target: str, path: str, raw: bytes) -> None:
    """`path` is the whole one, whether or not a proxy has taken the root away."""
    scope = scope_of(target, root)
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == (root, path, raw)


def spoil(thing: Any) -> None:
    """Change whatever can be changed, at every depth."""
    if isinstance(thing, dict):
        for value in list(thing.values()):
            spoil(value)
        thing.clear()
        thing["spoilt"] = True
    elif isinstance(thing, list):
        for value in thing:
            spoil(value)
        thing.append("spoilt")


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_nothing_is_shared_between_requests(kind: str) -> None:
    """Whatever an application does to its scope, the next one with the same head is as new."""
    maker = ScopeMaker("/root", {"pool": "a pool"}, debug=True)
    told: Any = Told("/x", kept=True)

    def make() -> Any:
        return maker.http(told) if kind == "http" else maker.websocket(told, ("a", "b"))

    first = make()
    before = repr(first)
    spoil(first)
    assert repr(make()) == before
    assert told.request.made_of_it is not None


def test_middleware_that_changes_its_scope() -> None:
    """Through a real connection, whose heads are the same byte for byte."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(repr(scope))
        spoil(scope)
        await respond(send)

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        for _ in range(3):
            await peer.send(get("/same", "Cookie: a=1"))
            await peer.until(b"fine")

    on_asgi(app, main, state={"a": 1})
    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_state() -> None:
    """It is there with lifespan only; what a request puts into its own is not seen by others."""
    told: Any = Told("/")
    assert "state" not in ScopeMaker("", None, debug=False).http(told)
    shared = object()
    maker = ScopeMaker("", {"shared": shared}, debug=False)
    state = maker.http(told)["state"]
    assert state == {"shared": shared}
    state["own"] = True
    assert maker.http(told)["state"] == {"shared": shared}


def test_debug_is_announced_when_it_is_on() -> None:
    """Only with --debug."""
    told: Any = Told("/")
    assert "http.response.debug" in ScopeMaker("", None, debug=True).http(told)["extensions"]
    assert "http.response.debug" not in ScopeMaker("", None, debug=False).http(told)["extensions"]


def test_names_of_clients_do_not_pile_up() -> None:
    """Field names come from clients; what is kept of them has a bound."""
    maker = ScopeMaker("", None, debug=False)
    for number in range(2000):
        told: Any = Told("/")
        told.request.headers.append((f"x-{number}", "1"))
        assert maker.http(told)["headers"][-1] == (b"x-%d" % number, b"1")
    assert len(maker._names) <= 512
