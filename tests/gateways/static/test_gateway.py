"""The gateways in front of an application, without sockets: what may go wrong."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, cast

import pytest

from nogilserve.gateways.static import AsyncStaticGateway, Site, StaticGateway, StaticRules, recent
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

    def exchanged(request: Any, *, fresh: bool = False) -> Any:
        found = answer(request, fresh=fresh)
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


@both
def test_what_is_kept_is_what_is_there(tmp_path: Path, get: Get) -> None:
    """Every kind of change shows in the very next answer."""
    file, link = tmp_path / "a.txt", tmp_path / "link.txt"
    (tmp_path / "b.txt").write_text("b")
    file.write_text("1")
    link.symlink_to("a.txt")
    for each in (file, tmp_path / "b.txt"):
        os.utime(each, (1e9, 1e9))
    served = site(tmp_path)

    def content(path: str = "/static/a.txt") -> bytes:
        answers = [get(served, path) for _ in range(3)]
        assert len({each.sent for each in answers}) == 1
        return answers[0].sent

    assert content() == b"1"
    file.write_text("2")
    os.utime(file, (1e9, 1e9))  # the same size and time, but not the same time of change
    assert content() == b"2"
    os.replace(tmp_path / "b.txt", file)
    assert content() == b"b"
    assert content("/static/link.txt") == b"b"
    (tmp_path / "c.txt").write_text("c")
    link.unlink()
    link.symlink_to("c.txt")
    assert content("/static/link.txt") == b"c"
    link.unlink()
    link.symlink_to("/etc/hostname")
    assert get(served, "/static/link.txt").status == "404 Not Found"
    file.unlink()
    assert get(served, "/static/a.txt").status == "404 Not Found"


def test_content_is_kept_once_it_has_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not while a further change could bear the same time; then the file is not opened again."""
    file = tmp_path / "a.txt"
    file.write_text("a")
    served = site(tmp_path)
    request = ask(path="/static/a.txt")
    assert on_threads(served, "/static/a.txt").sent == b"a"
    unsettled = served.answer(request)
    assert unsettled is not None
    assert unsettled.parts
    changed = os.stat(file).st_ctime
    monkeypatch.setattr(recent, "time", lambda: changed + 3)
    assert on_threads(served, "/static/a.txt").sent == b"a"
    settled = served.answer(request)
    assert settled is not None
    assert (settled.body, settled.parts) == (b"a", ())
    monkeypatch.setattr(recent, "monotonic", lambda: monotonic() + 2)
    again = served.answer(request)
    assert again is not None
    assert again.parts


def test_few_files_are_kept(tmp_path: Path) -> None:
    """However many are asked for."""
    served = site(tmp_path)
    for number in range(recent._ENTRIES * 2 + 5):
        (tmp_path / f"{number}.bin").write_bytes(b"x")
        served.answer(ask(path=f"/static/{number}.bin"))
    assert len(served._recent._entries) <= recent._ENTRIES


def test_threads_of_a_core_share_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four threads ask while a file changes all the time and the store overflows: each answer is
    one version, and the tag is that version's."""
    monkeypatch.setattr(recent, "_ENTRIES", 2)
    monkeypatch.setattr(recent, "_SETTLED", -1e9)  # keep everything at once
    names = [f"{number}.txt" for number in range(4)]
    for name in names:
        (tmp_path / name).write_bytes(b"0")
    served = site(tmp_path)
    wrong: list[tuple[str, bytes]] = []
    done = threading.Event()

    def ask_on() -> None:
        while not done.is_set():
            for name in names:
                exchange = on_threads(served, f"/static/{name}")
                body, tag = exchange.sent, exchange.header("ETag")
                versions = set(body)
                if exchange.status[:3] not in {"200", "503"}:
                    wrong.append((exchange.status, body))
                elif exchange.status[:3] == "200" and (
                    len(versions) != 1 or f"-{len(body):x}" not in tag
                ):
                    wrong.append((tag, body))

    threads = [threading.Thread(target=ask_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(300):
        (tmp_path / "new").write_bytes(bytes([48 + turn % 10]) * (turn % 50 + 1))
        os.replace(tmp_path / "new", tmp_path / names[turn % 4])
    done.set()
    for thread in threads:
        thread.join(10)
    assert wrong == []
