"""Start and end of an ASGI application: every mode, every way to fail."""

import asyncio
import logging
from typing import Any

import pytest

from nogilserve.gateways.asgi import Lifespan, StartupFailed
from nogilserve.gateways.asgi.lifespan import Mode
from tests.engine.loop.rig import turn
from tests.gateways.asgi_served import Application

COMPLETE = {"type": "lifespan.startup.complete"}
FAILED = {"type": "lifespan.startup.failed", "message": "no database"}
DOWN = {"type": "lifespan.shutdown.complete"}


def run(app: Application, mode: Mode) -> Lifespan:
    """Start it, and shut it down."""

    async def whole() -> Lifespan:
        lifespan = Lifespan(app, "test", mode)
        async with asyncio.timeout(10):
            await lifespan.startup()
            await lifespan.shutdown()
            await lifespan.shutdown()
        return lifespan

    return asyncio.run(whole())


async def proper(scope: Any, receive: Any, send: Any) -> None:
    """As the specification has it."""
    assert scope["type"] == "lifespan"
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"]["pool"] = "open"
    await send(COMPLETE)
    assert (await receive())["type"] == "lifespan.shutdown"
    scope["state"]["pool"] = "closed"
    await send(DOWN)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_proper_application(mode: Mode) -> None:
    """Both events, in one task, with one state."""
    lifespan = run(proper, mode)
    assert lifespan.supported
    assert lifespan.state == {"pool": "closed"}


def test_off() -> None:
    """It is not called."""
    lifespan = run(proper, "off")
    assert not lifespan.supported
    assert lifespan.state == {}


async def raises_before(scope: Any, receive: Any, send: Any) -> None:
    """Knows requests only, and says so."""
    assert scope["type"] == "http"


async def returns_before(scope: Any, receive: Any, send: Any) -> None:
    """Ignores what it does not know."""


async def returns_after(scope: Any, receive: Any, send: Any) -> None:
    """Ignores what it does not know, but reads."""
    await receive()


async def answers(scope: Any, receive: Any, send: Any) -> None:
    """Knows requests only, and does not look."""
    await send({"type": "http.response.start", "status": 200})


async def reads_and_answers(scope: Any, receive: Any, send: Any) -> None:
    """The same, but it reads the body first."""
    await receive()
    await send({"type": "http.response.start", "status": 200})


IGNORANT = [raises_before, returns_before, returns_after, answers, reads_and_answers]


@pytest.mark.parametrize("app", IGNORANT)
def test_applications_that_know_no_lifespan(app: Application) -> None:
    """With auto they are served without; with on they are not."""
    assert not run(app, "auto").supported
    with pytest.raises(StartupFailed):
        run(app, "on")


async def fails(scope: Any, receive: Any, send: Any) -> None:
    """Says so."""
    await receive()
    await send(FAILED)


async def raises_after(scope: Any, receive: Any, send: Any) -> None:
    """Breaks at start."""
    await receive()
    raise RuntimeError("no database")


async def fails_and_stays(scope: Any, receive: Any, send: Any) -> None:
    """Says so, and does not end however often it is asked to."""
    await fails(scope, receive, send)
    while not _over:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            _asked.append(1)
            if len(_asked) > 1:
                raise


_over: list[int] = []
_asked: list[int] = []


@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize("app", [fails, raises_after, fails_and_stays])
def test_failing_to_start(app: Application, mode: Mode) -> None:
    """The reason is told; nothing is waited for any longer."""
    _asked.clear()
    with pytest.raises(StartupFailed, match="no database"):
        run(app, mode)


@pytest.mark.parametrize(
    ("end", "logged"),
    [
        ({"type": "lifespan.shutdown.failed", "message": "still busy"}, "still busy"),
        ({"type": "lifespan.shutdown.failed"}, "no reason given"),
        (RuntimeError("broken"), "broken"),
        (None, ""),
    ],
)
def test_the_end(end: Any, logged: str, caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong at shutdown is logged, and raises nothing."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE)
        await receive()
        if isinstance(end, Exception):
            raise end
        if end is not None:
            await send(end)

    with caplog.at_level(logging.ERROR):
        run(app, "auto")
    assert logged in caplog.text
    assert bool(caplog.records) is bool(logged)


def test_an_application_that_ends_too_early(caplog: pytest.LogCaptureFixture) -> None:
    """One that breaks between start and end: it served, and its error is told at the end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE)
        raise RuntimeError("in between")

    async def whole() -> None:
        lifespan = Lifespan(app, "test", "auto")
        await lifespan.startup()
        for _ in range(5):
            await turn()
        assert lifespan.supported
        await lifespan.shutdown()

    asyncio.run(whole())
    assert "in between" in caplog.text


def test_an_application_that_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    """After its shutdown it has a moment, then it is cancelled, then it is left alone."""
    _asked.clear()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE)
        await receive()
        await send(DOWN)
        await fails_and_stays(scope, _never_mind, _never_mind)

    async def _never_mind(*_: Any) -> None:
        pass

    run(app, "on")
    assert "does not end" in caplog.text


@pytest.mark.parametrize(
    "message", [DOWN, COMPLETE | {"type": "nonsense"}, {"type": "lifespan.shutdown.failed"}]
)
def test_messages_out_of_order(message: Any) -> None:
    """A shutdown that is answered before it was asked for is no startup."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE)
        with pytest.raises(Exception, match="due"):
            await send(COMPLETE)

    run(app, "on")

    async def wrong(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(message)

    with pytest.raises(StartupFailed):
        run(wrong, "on")
