"""Errors of objects that are used on a foreign loop: made for real, recognised, explained."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from nogilserve.apps.loopbound import explain_loop_error


def on_another_loop(make: Callable[[], Coroutine[Any, Any, Any]], use: Any) -> BaseException:
    """What `use(thing)` raises on a second loop, when `make()` made the thing on a first one."""
    with asyncio.Runner() as first, asyncio.Runner() as second:
        thing = first.run(make())
        with pytest.raises(Exception) as caught:  # noqa: PT011
            second.run(use(thing))
        return caught.value


async def taken_lock() -> asyncio.Lock:
    """A lock that somebody has waited for."""
    lock = asyncio.Lock()
    await lock.acquire()
    waiting = asyncio.create_task(lock.acquire())
    await asyncio.wait([waiting], timeout=0)
    waiting.cancel()
    return lock


async def waited_for[T: (asyncio.Queue[int], asyncio.Event)](thing: T, wait: Awaitable[Any]) -> T:
    """Make a thing take this loop by waiting for it."""
    waiting = asyncio.ensure_future(wait)
    await asyncio.wait([waiting], timeout=0)
    waiting.cancel()
    return thing


async def event() -> asyncio.Event:
    """An event that somebody has waited for."""
    made = asyncio.Event()
    return await waited_for(made, made.wait())


async def queue() -> asyncio.Queue[int]:
    """A queue that somebody has waited for."""
    made: asyncio.Queue[int] = asyncio.Queue()
    return await waited_for(made, made.get())


async def future() -> asyncio.Future[None]:
    """Of the loop that runs."""
    return asyncio.get_running_loop().create_future()


async def own(thing: Any) -> Any:
    """Wait for it."""
    return await thing


async def gathered(thing: Any) -> Any:
    """Wait for it together with something of this loop."""
    return await asyncio.gather(asyncio.get_running_loop().create_future(), thing)


@pytest.mark.parametrize(
    ("make", "use"),
    [
        (taken_lock, lambda lock: lock.acquire()),
        (event, lambda event: event.wait()),
        (queue, lambda queue: queue.get()),
        (future, own),
        (future, gathered),
    ],
)
def test_asyncio_objects_on_a_foreign_loop(make: Any, use: Any) -> None:
    """Locks, events, queues and futures: the text names both ways to put it right."""
    text = explain_loop_error(on_another_loop(make, use))
    assert text is not None
    assert "belongs to another event loop" in text
    assert "lifespan" in text
    assert "nogilserve.per_loop" in text


def test_debug_mode_of_asyncio() -> None:
    """The check that asyncio makes in its debug mode only."""

    def intrude(loop: asyncio.AbstractEventLoop) -> BaseException:
        with pytest.raises(RuntimeError) as caught:
            loop.call_soon(print)
        return caught.value

    async def main() -> BaseException:
        return await asyncio.to_thread(intrude, asyncio.get_running_loop())

    text = explain_loop_error(asyncio.run(main(), debug=True))
    assert text is not None
    assert "belongs to another event loop" in text


def test_closed_loop_may_have_another_cause() -> None:
    """Something of a loop that has ended: the text says "or", because it may be a late callback."""

    async def future() -> asyncio.Future[None]:
        made = asyncio.get_running_loop().create_future()
        made.add_done_callback(print)
        return made

    async def use(made: asyncio.Future[None]) -> None:
        made.set_result(None)

    made = asyncio.run(future())
    with pytest.raises(RuntimeError) as caught:
        asyncio.run(use(made))
    text = explain_loop_error(caught.value)
    assert text is not None
    assert "or when" in text


def test_error_is_found_however_deep_it_lies() -> None:
    """In causes, contexts and groups, and in an endless chain."""
    inner = on_another_loop(future, own)
    outer = ValueError("the query failed")
    outer.__cause__ = ExceptionGroup("several", [KeyError("x"), OSError("y")])
    outer.__cause__.exceptions[1].__context__ = inner
    inner.__context__ = outer
    assert explain_loop_error(outer) == explain_loop_error(inner) is not None


class Untold(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), KeyError(), OSError(2, "not there"), Untold(Untold()), SystemExit(3)],
)
def test_other_errors_are_not_explained(error: BaseException) -> None:
    """Most errors have nothing to do with loops."""
    assert explain_loop_error(error) is None


def test_aiohttp_session_on_a_foreign_loop() -> None:
    """aiohttp's own words for it."""
    aiohttp = pytest.importorskip("aiohttp")

    async def session() -> Any:
        return aiohttp.ClientSession()

    async def use(session: Any) -> None:
        await session.get("http://127.0.0.1:9/")

    with asyncio.Runner() as first, asyncio.Runner() as second:
        made = first.run(session())
        try:
            with pytest.raises(Exception) as caught:  # noqa: PT011
                second.run(use(made))
        finally:
            first.run(made.close())
    assert explain_loop_error(caught.value) is not None
