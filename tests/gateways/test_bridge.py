"""WSGI applications called by threads for an event loop: who answers, whatever comes first."""

import asyncio
import io
import threading
from collections.abc import Callable
from typing import Any

import pytest

from nogilserve.errors import ClientDisconnected, ResponseError
from nogilserve.gateways import bridge
from nogilserve.gateways.bridge import BridgedExchange, BridgingGateway
from nogilserve.gateways.callthreads import CallThreads
from nogilserve.gateways.wsgi import WsgiGateway
from nogilserve.messages import TimeLimits
from tests.gateways.recording import Recorder, ask


class LoopRecorder(Recorder):
    """Fills `messages.AsyncExchange`. Owner: the loop of the test, which it insists on."""

    peer = ("192.0.2.7", 50123)
    local: tuple[str, int | None] = ("127.0.0.1", 8000)
    gone = False
    crowded = False
    known_id = ""

    def __init__(self, **more: Any) -> None:
        super().__init__(ask(), **more)
        self.home = threading.get_ident()

    def prepare(self, status: str, headers: Any) -> None:
        """On the loop only."""
        assert threading.get_ident() == self.home
        super().prepare(status, headers)

    def send_whole(self, body: bytes) -> None:
        """On the loop only, and once."""
        assert threading.get_ident() == self.home
        assert self.whole is None
        super().send_whole(body)


def run(
    app: Callable[..., Any],
    exchange: LoopRecorder,
    *,
    seconds: float = 0.0,
    meanwhile: Callable[[], None] | None = None,
) -> CallThreads:
    """Run an application for one request; `meanwhile` is called when that is over."""
    threads = CallThreads(1)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        limits = TimeLimits(seconds)
        gateway = BridgingGateway(WsgiGateway(app, "app").run, loop, threads, limits, "app")
        await gateway.http(exchange)  # type: ignore[arg-type]
        if meanwhile is not None:
            meanwhile()
            while threads.replaced():
                await asyncio.to_thread(lambda: None)

    asyncio.run(main())
    threads.close()
    return threads


def test_whole_response() -> None:
    """The application's own."""
    exchange = LoopRecorder()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("201 Created", [("X-A", "b")])
        return [environ["PATH_INFO"].encode()]

    run(app, exchange)
    assert (exchange.status, exchange.whole) == ("201 Created", b"/")


def test_a_mistake_in_the_last_step_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    """The thread has left already: the loop logs it and answers 500, once."""
    exchange = LoopRecorder()
    original = exchange.prepare

    def refuse(status: str, headers: Any) -> None:
        if status == "200 OK":
            raise ResponseError("an illegal field")
        original(status, headers)

    exchange.prepare = refuse  # type: ignore[method-assign]

    def app(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"x"]

    run(app, exchange)
    assert exchange.status == "500 Internal Server Error"
    assert "illegal response in app" in caplog.text


def test_the_time_limit_wins(caplog: pytest.LogCaptureFixture) -> None:
    """The application answers after the loop has: nothing of it is sent, and its thread, which
    another one has replaced, is taken back."""
    exchange = LoopRecorder()
    held = threading.Event()

    def app(_environ: Any, start_response: Any) -> list[bytes]:
        assert held.wait(10)
        start_response("200 OK", [])
        return [b"too late"]

    run(app, exchange, seconds=0.01, meanwhile=held.set)
    assert exchange.status == "504 Gateway Timeout"
    assert b"too late" not in exchange.sent
    assert "the thread has come back" in caplog.text


def test_the_application_wins() -> None:
    """A response that has begun is not cut off by the limit."""
    exchange = LoopRecorder()
    begun = threading.Event()

    def app(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"a"
        begun.wait(0.1)
        yield b"b"

    run(app, exchange, seconds=0.05)
    assert exchange.sent == b"ab"
    assert exchange.ended


def test_a_client_that_leaves_ends_the_stream() -> None:
    """The next step raises in the application's thread, whose iterable is closed."""
    exchange = LoopRecorder(gone_after=1)
    closed: list[str] = []

    class Pieces:
        def __iter__(self) -> Any:
            yield from (b"%d" % number for number in range(10))

        def close(self) -> None:
            closed.append("yes")

    def app(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return Pieces()

    run(app, exchange)
    assert exchange.aborted
    assert closed == ["yes"]
    assert len(exchange.pieces) <= 2


def test_cancelled_while_it_runs() -> None:
    """The loop gives the request up; the application's steps find nobody."""
    exchange = LoopRecorder()
    inside, held, found = threading.Event(), threading.Event(), []

    def app(_environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        inside.set()
        assert held.wait(10)
        try:
            write(b"x")
        except ClientDisconnected as exc:
            found.append(str(exc))
            raise
        return []

    threads = CallThreads(1)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        run_app = WsgiGateway(app, "app").run
        gateway = BridgingGateway(run_app, loop, threads, TimeLimits(), "app")
        task = loop.create_task(gateway.http(exchange))  # type: ignore[arg-type]
        assert await asyncio.to_thread(inside.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        held.set()
        while not found:
            await asyncio.to_thread(lambda: None)

    asyncio.run(main())
    threads.close()
    assert exchange.aborted
    assert found == ["the request is over"]


def test_a_loop_that_closes_before_a_step_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was told and never ran again: the thread does not wait for ever."""
    monkeypatch.setattr(bridge, "_LOOK", 0.01)
    loop = asyncio.new_event_loop()
    exchange: Any = LoopRecorder()
    bridged = BridgedExchange(exchange, loop, io.BytesIO(), "f00d", lambda _, exc: None)
    told = threading.Event()
    original = loop.call_soon_threadsafe

    def tell(*arguments: Any) -> Any:
        handle = original(*arguments)
        told.set()
        return handle

    monkeypatch.setattr(loop, "call_soon_threadsafe", tell)
    ended: list[BaseException] = []

    def send() -> None:
        bridged.prepare("200 OK", [])
        bridged.send_head(None)
        try:
            bridged.send_data(b"x")
        except ClientDisconnected as exc:
            ended.append(exc)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    assert told.wait(10)
    loop.close()
    thread.join(10)
    assert [str(exc) for exc in ended] == ["the server has stopped"]
