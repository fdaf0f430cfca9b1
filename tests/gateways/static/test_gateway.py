"""The gateways in front of an application, without sockets: what may go wrong."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from nogilserve.gateways.static import AsyncStaticGateway, Site, StaticGateway, StaticRules
from nogilserve.gateways.static import gateway as module
from nogilserve.messages import AsyncExchange
from tests.gateways.recording import Recorder, ask


def site(folder: Path, **rules: Any) -> Site:
    """What is in `folder`, at /static."""
    return Site(StaticRules(folders=(("/static", str(folder)),), **rules))


def never(exchange: object) -> None:
    """An application that is not to be asked."""
    raise AssertionError(exchange)


class NoApplication:
    """An asynchronous one."""

    async def http(self, exchange: AsyncExchange) -> None:
        never(exchange)

    async def websocket(self, exchange: object) -> None:
        never(exchange)


def on_threads(served: Site, path: str, method: str = "GET") -> Recorder:
    """What the gateway of the thread engine does."""
    exchange = Recorder(ask(method, path))
    StaticGateway(served, never).run(exchange)
    return exchange


def on_a_loop(served: Site, path: str, method: str = "GET") -> Recorder:
    """What that of event loops does."""
    exchange = Recorder(ask(method, path))
    gateway = AsyncStaticGateway(served, NoApplication())
    asyncio.run(gateway.http(cast(AsyncExchange, exchange)))
    return exchange


both = pytest.mark.parametrize("get", [on_threads, on_a_loop])
Get = Callable[[Site, str], Recorder]


@both
@pytest.mark.parametrize(
    ("code", "status"), [(errno.EACCES, "403 Forbidden"), (errno.EMFILE, "503 Service Unavailable")]
)
def test_what_the_system_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, get: Get, code: int, status: str
) -> None:
    """No permission, and no descriptors left."""
    (tmp_path / "a.txt").write_text("a")
    served = site(tmp_path)

    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    exchange = get(served, "/static/a.txt")
    monkeypatch.undo()
    assert exchange.status == status
    assert exchange.ended


@both
def test_what_nobody_expects_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, get: Get, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken disk is a 500 with the request's id, and a traceback in the log."""
    (tmp_path / "a.txt").write_text("a")
    served = site(tmp_path)

    def broken(*_: object, **__: object) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "open", broken)
    exchange = get(served, "/static/a.txt")
    monkeypatch.undo()
    assert exchange.status == "500 Internal Server Error"
    assert b"id-of-the-request" in exchange.sent
    assert "GET /static/a.txt: exception in static files" in caplog.text


@both
def test_file_that_never_settles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, get: Get) -> None:
    """Replaced each time it is opened: 503, and the client may ask again."""
    file = tmp_path / "a.txt"
    file.write_text("a")
    served = site(tmp_path)
    answer = served.answer

    def exchanged(request: Any) -> Any:
        found = answer(request)
        (tmp_path / "b").write_text("b" * 99)
        os.replace(tmp_path / "b", file)
        os.utime(file, (1, os.stat(file).st_ino))
        return found

    monkeypatch.setattr(served, "answer", exchanged)
    exchange = get(served, "/static/a.txt")
    assert exchange.status == "503 Service Unavailable"
    assert exchange.header("Retry-After") == "1"


def test_what_is_not_in_memory_is_read_by_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system cannot tell, or has to wait for a disk, the loop does not."""
    (tmp_path / "a.txt").write_text("a")

    def elsewhere(*_: object) -> int:
        raise BlockingIOError

    for way in (0, module._NOWAIT):
        monkeypatch.setattr(module, "_NOWAIT", way)
        if way:
            monkeypatch.setattr(os, "preadv", elsewhere)
        assert on_a_loop(site(tmp_path), "/static/a.txt").sent == b"a"


def test_client_that_left_before(tmp_path: Path) -> None:
    """The connection is ended, nothing is logged."""
    (tmp_path / "a.txt").write_text("a")
    gone = Recorder(ask(path="/static/a.txt"), gone_after=0)
    StaticGateway(site(tmp_path), never).run(gone)
    assert gone.aborted
