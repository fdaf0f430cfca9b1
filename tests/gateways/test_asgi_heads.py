"""Response heads that come again: what an application gives is not read anew, and not one byte of
the answers shows it."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.engine.loop.rig import LoopRig, get
from tests.gateways.asgi_served import on_asgi

type Given = tuple[int, Any]

TEXT = (b"content-type", b"text/plain")


def answers(*given: Given) -> tuple[list[bytes], int]:
    """The response heads, without Date, of requests on one connection, for which the application
    gives these statuses and fields; and how many heads were kept."""
    left = list(given)
    heads: list[bytes] = []
    kept: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        status, headers = left.pop(0)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"fine"})

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        for _ in given:
            await peer.send(get())
            got = await peer.until(b"fine")
            lines = got.split(b"\r\n")
            heads.append(b"\r\n".join(line for line in lines if not line.startswith(b"Date")))
        kept.append(len(rig.core.heads))

    on_asgi(app, main)
    return heads, kept[0]


def test_the_same_again() -> None:
    """One head is kept for it, and every answer is the same."""
    heads, kept = answers(*[(200, [TEXT, (b"vary", b"accept")]) for _ in range(6)])
    assert set(heads) == {heads[0]}
    assert b"content-type: text/plain\r\nvary: accept\r\n" in heads[0]
    assert kept == 1


def test_a_list_that_changes() -> None:
    """An application may give the same list again with something else in it."""
    headers = [TEXT, TEXT]
    seen: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers[1] = (b"etag", scope["raw_path"])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"fine"})

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        for path in ("/a", "/a", "/a", "/b", "/a", "/b", "/b", "/b"):
            await peer.send(get(path))
            got = await peer.until(b"fine")
            assert b"\r\netag: %b\r\n" % path.encode() in got
            seen.append(got)

    on_asgi(app, main)
    assert len(seen) == 8


def test_status_counts_too() -> None:
    """The same fields with another status are another head."""
    heads, kept = answers(*[(status, [TEXT]) for status in (200, 200, 200, 404, 404, 404, 200)])
    assert [head.split(b" ")[1] for head in heads] == [b"200"] * 3 + [b"404"] * 3 + [b"200"]
    assert kept == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: [[*TEXT]],
        lambda: [(b"content-type", bytearray(b"text/plain"))],
        lambda: iter([TEXT]),
        lambda: (TEXT,),
    ],
    ids=["lists", "bytearray", "iterator", "tuple"],
)
def test_other_kinds_of_fields(make: Callable[[], Any]) -> None:
    """What could change later is read each time, also beside heads that are kept."""
    kept_ones: list[Given] = [(200, [TEXT, (b"vary", b"accept")])] * 3
    others: list[Given] = [(200, make()) for _ in range(3)]
    heads, kept = answers(*kept_ones, *others, kept_ones[0])
    assert all(b"\r\ncontent-type: text/plain\r\n" in head for head in heads)
    assert [b"\r\nvary: accept\r\n" in head for head in heads] == [True] * 3 + [False] * len(
        others
    ) + [True]
    assert kept == 1


def test_what_is_refused_is_refused_again() -> None:
    """A mistake is not kept, nor the answer to it in its place."""
    bad: Given = (200, [(b"vary", b"a\r\nb")])
    left = [bad] * 4
    seen: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        status, headers = left.pop()
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        while left:
            await peer.send(get())
            seen.append(await peer.until(b"\nrequest "))
        assert not rig.core.heads

    on_asgi(app, main)
    assert len(seen) == 4
    assert all(b"HTTP/1.1 500 " in got and b"vary" not in got for got in seen)


def test_kept_heads_have_a_bound() -> None:
    """An application with very many heads does not fill the memory with them."""
    given = [(200, [(b"etag", b"%d" % number)]) for number in range(100) for _ in range(3)]
    heads, kept = answers(*given)
    assert len(heads) == 300
    assert 0 < kept <= 64


def test_started_twice() -> None:
    """A head that is kept does not make a second start right."""
    seen: list[type[BaseException]] = []
    start = {"type": "http.response.start", "status": 200, "headers": [TEXT]}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send({"type": "http.response.body", "body": b"fine"})
        if len(seen) < 5:
            try:
                await send(start)
            except Exception as exc:
                seen.append(type(exc))

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        for _ in range(5):
            await peer.send(get())
            await peer.until(b"fine")

    on_asgi(app, main)
    assert [kind.__name__ for kind in seen] == ["ResponseError"] * 5
