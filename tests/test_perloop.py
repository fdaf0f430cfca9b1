"""One instance for each loop: real loops, in several threads where that matters."""

import asyncio
import contextvars
import gc
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nogilserve import per_loop
from nogilserve.perloop import close_all


class Thing:
    """Something that belongs to a loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.lock = asyncio.Lock()


async def turn() -> None:
    """Let the loop turn once."""
    await asyncio.wait([asyncio.get_running_loop().create_task(nothing())])


async def nothing() -> None:
    """Done at once."""


async def make_thing() -> Thing:
    """A factory that takes its time."""
    await turn()
    return Thing()


@asynccontextmanager
async def thing_context() -> AsyncIterator[Thing]:
    """A factory with an end."""
    yield Thing()


@pytest.mark.parametrize("factory", [Thing, make_thing, thing_context])
def test_one_instance_for_each_loop(factory: Callable[[], Any]) -> None:
    """Plain, asynchronous and context factories: the same on one loop, another on the next."""
    thing = per_loop(factory)

    async def main() -> Thing:
        first = await thing()
        assert await thing() is first
        assert first.loop is asyncio.get_running_loop()
        assert isinstance(first, Thing)
        return first

    assert asyncio.run(main()) is not asyncio.run(main())


def test_concurrent_first_uses_make_one_instance() -> None:
    """Tasks that ask while the instance is being made get the one that is."""
    made: list[int] = []
    entered, proceed = asyncio.Event(), asyncio.Event()

    async def make() -> object:
        made.append(1)
        entered.set()
        await proceed.wait()
        return object()

    wanted = per_loop(make)

    async def main() -> None:
        tasks = [asyncio.create_task(wanted()) for _ in range(50)]
        await entered.wait()
        tasks += [asyncio.create_task(wanted()) for _ in range(50)]
        proceed.set()
        assert len({id(each) for each in await asyncio.gather(*tasks)}) == 1

    asyncio.run(main())
    assert made == [1]


def test_threads_that_start_at_once_get_one_instance_each() -> None:
    """Loops in eight threads, released together at their first use, and again in the factory."""
    count = 8
    start, inside = threading.Barrier(count), threading.Barrier(count)
    closed: list[Thing] = []

    async def make() -> Thing:
        inside.wait(20)  # all are between "is there one?" and "here it is"
        return await make_thing()

    thing = per_loop(make, close=closed.append)
    got: list[list[Thing]] = []

    async def main() -> None:
        start.wait(20)
        mine = await asyncio.gather(*[thing() for _ in range(10)])
        assert all(each.loop is asyncio.get_running_loop() for each in mine)
        got.append(mine)

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert len(got) == count
    assert all(len({id(each) for each in mine}) == 1 for mine in got)
    assert len({id(mine[0]) for mine in got}) == count
    assert {id(each) for each in closed} == {id(mine[0]) for mine in got}


def test_a_loop_that_moves_to_another_thread_keeps_its_instance() -> None:
    """What counts is the loop, not the thread that runs it at the moment."""
    thing = per_loop(Thing)
    got: list[Thing] = []

    async def use() -> None:
        got.append(await thing())

    with asyncio.Runner() as runner, asyncio.Runner() as other:
        runner.run(use())
        other.run(use())
        mover = threading.Thread(target=lambda: runner.get_loop().run_until_complete(use()))
        mover.start()
        mover.join(20)
    assert got[0] is got[2]
    assert got[0] is not got[1]


class Journal:
    """Factories that note when they are opened and closed; `needs` is opened first."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def plain(self, name: str, needs: Any = None) -> Any:
        """With `close=`, a function."""

        async def make() -> str:
            if needs:
                await needs()
            self.lines.append(f"+{name}")
            return name

        return per_loop(make, close=lambda value: self.lines.append(f"-{value}"))

    def context(self, name: str, needs: Any = None) -> Any:
        """A context manager that must be left by the task that entered it."""

        @per_loop
        @asynccontextmanager
        async def opened() -> AsyncIterator[str]:
            if needs:
                await needs()
            async with asyncio.TaskGroup():
                self.lines.append(f"+{name}")
                yield name
            await turn()  # a close that takes several turns of the loop
            self.lines.append(f"-{name}")

        return opened


@pytest.mark.parametrize("explicit", [True, False])
def test_closed_in_reverse_order(explicit: bool) -> None:
    """By `close_all`, and by `asyncio.run` alone: what was made last is closed first."""
    journal = Journal()
    a = journal.plain("a")
    b = journal.context("b", a)
    c = journal.plain("c", b)
    d = journal.context("d", c)

    async def main() -> None:
        await asyncio.gather(d(), b(), a())
        assert journal.lines == ["+a", "+b", "+c", "+d"]
        if explicit:
            await close_all()
            assert journal.lines[4:] == ["-d", "-c", "-b", "-a"]

    asyncio.run(main())
    assert journal.lines[4:] == ["-d", "-c", "-b", "-a"]


def test_asynchronous_close_is_awaited() -> None:
    """`close=` may be a coroutine function."""
    closed = []

    async def close(value: Thing) -> None:
        await turn()
        closed.append(value)

    thing = per_loop(Thing, close=close)

    async def main() -> None:
        mine = await thing()
        await close_all()
        assert closed == [mine]
        assert await thing() is not mine  # made anew

    asyncio.run(main())
    assert len(closed) == 2


def test_use_while_the_instance_is_closed_makes_another() -> None:
    """What is being closed is not handed out any more, and the new one is closed too."""
    closing, proceed = asyncio.Event(), asyncio.Event()
    closed: list[Thing] = []

    async def close(value: Thing) -> None:
        closing.set()
        await proceed.wait()
        closed.append(value)

    thing = per_loop(Thing, close=close)

    async def main() -> None:
        old = await thing()
        end = asyncio.create_task(close_all())
        await closing.wait()
        new = await thing()
        proceed.set()
        await end
        assert closed in ([old, new], [new, old])
        assert old is not new

    asyncio.run(main())


def test_failure_to_close_is_logged_and_the_others_are_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that cannot be closed does not keep the next one open."""
    journal = Journal()
    first = journal.plain("first")

    def refuse(value: object) -> None:
        raise OSError("cannot close")

    second = per_loop(lambda: "second", close=refuse)

    async def main() -> None:
        await first()
        await second()
        await close_all()

    with caplog.at_level(logging.ERROR, "nogilserve.perloop"):
        asyncio.run(main())
    assert journal.lines == ["+first", "-first"]
    assert [record.name for record in caplog.records] == ["nogilserve.perloop"]
    assert "cannot close" in caplog.text


def test_failing_factory_is_tried_again() -> None:
    """Everybody who waited gets the error, the next one a new try."""
    tries = []

    async def make() -> str:
        tries.append(1)
        await turn()
        if len(tries) == 1:
            raise OSError("not yet")
        return "made"

    wanted = per_loop(make)

    async def main() -> None:
        results = await asyncio.gather(wanted(), wanted(), return_exceptions=True)
        assert [str(each) for each in results] == ["not yet", "not yet"]
        assert await wanted() == "made"

    asyncio.run(main())
    assert len(tries) == 2


def test_cancelled_request_does_not_harm_the_others() -> None:
    """The first one to ask goes away while the instance is made; the second one gets it."""
    entered, proceed = asyncio.Event(), asyncio.Event()

    async def make() -> str:
        entered.set()
        await proceed.wait()
        return "made"

    wanted = per_loop(make)

    async def main() -> None:
        first, second = asyncio.create_task(wanted()), asyncio.create_task(wanted())
        await entered.wait()
        first.cancel()
        await asyncio.wait([first])
        proceed.set()
        assert await second == "made"
        assert first.cancelled()

    asyncio.run(main())


def test_end_while_an_instance_is_made() -> None:
    """`close_all` does not wait for a factory that hangs; who waited for it is cancelled."""
    entered = asyncio.Event()

    async def make() -> None:
        entered.set()
        await asyncio.get_running_loop().create_future()

    wanted = per_loop(make)

    async def main() -> None:
        waiting = asyncio.create_task(wanted())
        await entered.wait()
        async with asyncio.timeout(20):
            await close_all()
        assert (await asyncio.gather(waiting, return_exceptions=True))[0].__class__ is (
            asyncio.CancelledError
        )

    asyncio.run(main())


def test_instance_does_not_inherit_the_context_of_a_request() -> None:
    """A pool must not keep the first request's context variables for ever."""
    variable = contextvars.ContextVar("variable", default="clean")
    wanted = per_loop(variable.get)

    async def main() -> str:
        variable.set("a request's")
        return await wanted()

    assert asyncio.run(main()) == "clean"


def test_factory_that_asks_for_itself_is_refused() -> None:
    """It would wait for itself for ever."""

    async def make() -> None:
        await wanted()

    wanted: Any = per_loop(make)
    with pytest.raises(RuntimeError, match="asks for its own instance"):
        asyncio.run(wanted())


def test_nothing_is_left_of_a_loop() -> None:
    """Neither the loop nor the instance outlives it, though the `per_loop` object does."""
    thing = per_loop(Thing)

    async def main() -> tuple[weakref.ref[Any], weakref.ref[Any]]:
        return weakref.ref(await thing()), weakref.ref(asyncio.get_running_loop())

    references = asyncio.run(main())
    gc.collect()
    assert [reference() for reference in references] == [None, None]


async def generator() -> AsyncIterator[int]:
    """Not decorated."""
    yield 1


@pytest.mark.parametrize(("factory", "word"), [(generator, "asynccontextmanager"), (3, "callable")])
def test_wrong_factories_are_refused(factory: Any, word: str) -> None:
    """At once, not at the first request."""
    with pytest.raises(TypeError, match=word):
        per_loop(factory)


def test_context_manager_with_close_is_refused() -> None:
    """Two ways to close one thing are a mistake."""
    with pytest.raises(TypeError, match="leave out close="):
        asyncio.run(per_loop(thing_context, close=print)())


def test_without_instances_closing_does_nothing() -> None:
    """A loop that never used one has nothing to close."""
    asyncio.run(close_all())


def test_importing_the_package_imports_no_asyncio() -> None:
    """The master process stays small: per_loop is imported when it is asked for."""
    code = (
        "import sys, nogilserve; before = 'asyncio' in sys.modules; nogilserve.per_loop\n"
        "print(before, 'asyncio' in sys.modules, nogilserve.__version__)\n"
        "try: nogilserve.nothing\n"
        "except AttributeError as error: print(error)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.startswith("False True 0.")
    assert "has no attribute 'nothing'" in ended.stdout
