"""One instance of something for each event loop: `pool = per_loop(make_pool)`, `await pool()`.

For what works on one event loop only: connection pools, clients, asyncio's locks and queues. Works
on every server and under `asyncio.run`; needs nothing else of nogilserve.
"""

import asyncio
import contextvars
import inspect
import logging
from asyncio import AbstractEventLoop, Future
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncContextDecorator, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, overload

if TYPE_CHECKING:
    from contextlib import _AsyncGeneratorContextManager

__all__ = ["PerLoop", "close_all", "per_loop"]

_log = logging.getLogger("nogilserve.perloop")


@overload
def per_loop[T](factory: Callable[[], "_AsyncGeneratorContextManager[T]"]) -> "PerLoop[T]": ...
@overload
def per_loop[T](
    factory: Callable[[], Awaitable[T]], *, close: Callable[[T], object] | None = None
) -> "PerLoop[T]": ...
@overload
def per_loop[T](
    factory: Callable[[], T], *, close: Callable[[T], object] | None = None
) -> "PerLoop[T]": ...
def per_loop(
    factory: Callable[[], Any], *, close: Callable[[Any], object] | None = None
) -> "PerLoop[Any]":
    """Wrap a factory, so that each event loop gets one instance: `await wrapped()` returns it.

    The factory is called on the loop's first use. What it returns is awaited if it is awaitable; a
    function decorated with `contextlib.asynccontextmanager` is entered, and left at the end.
    `close` is called with the instance when its loop ends, and awaited if it returns an awaitable.
    TypeError for factories of another kind.
    """
    if inspect.isasyncgenfunction(factory):
        raise TypeError("per_loop: decorate the generator with contextlib.asynccontextmanager")
    if not callable(factory):
        raise TypeError(f"per_loop: the factory must be callable, not {factory!r}")
    return PerLoop(factory, close)


class PerLoop[T]:
    """A factory with one instance for each event loop; call and await it to get the instance.

    Not changed after it was made, and so shared by all threads. The instances belong to their loop
    and are kept by it (see `_Instances`): no two threads ever touch the same table.
    """

    __slots__ = ("__weakref__", "_close", "_factory")

    def __init__(self, factory: Callable[[], Any], close: Callable[[T], object] | None) -> None:
        self._factory = factory
        self._close = close

    async def __call__(self) -> T:
        """The running loop's instance; made now if this is its first use.

        Raises what the factory raises; the next use tries again. Being cancelled while it is made
        does not harm others who wait for it.
        """
        loop = asyncio.get_running_loop()
        instances: _Instances | None = getattr(loop, _ATTRIBUTE, None)
        if instances is None:
            instances = _Instances(loop)
            setattr(loop, _ATTRIBUTE, instances)
        elif self in instances.ready:
            value: T = instances.ready[self]
            return value
        made: T = await instances.first(self)
        return made

    def __repr__(self) -> str:
        return f"per_loop({getattr(self._factory, '__qualname__', self._factory)})"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[T]:
        """Make an instance that lives as long as the context. For `_Instances`."""
        made = self._factory()
        if isinstance(made, AsyncContextDecorator) and isinstance(
            made, AbstractAsyncContextManager
        ):
            if self._close is not None:
                raise TypeError(f"{self!r}: its context manager closes it; leave out close=")
            async with made as value:
                yield value
            return
        value = await made if inspect.isawaitable(made) else made
        yield value
        if self._close is not None:
            closed = self._close(value)
            if inspect.isawaitable(closed):
                await closed


_ATTRIBUTE: Final = "_nogilserve_per_loop"
"""Where a loop keeps its `_Instances`: the quickest look-up, and it ends with the loop."""


class _Keeper:
    """The task that makes an instance, waits, and closes it, so that one task enters and leaves.

    Owner: the loop it runs on.
    """

    __slots__ = ("end", "task", "value")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.value: Future[Any] = loop.create_future()
        self.end: Future[None] = loop.create_future()
        """Done when the instance is to be closed."""
        self.task: asyncio.Task[None]


class _Instances:
    """What one event loop has of all `PerLoop`. Owner: the thread that runs the loop."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.ready: dict[PerLoop[Any], Any] = {}
        """For the quick look-up."""
        self._loop = loop
        self._keepers: dict[PerLoop[Any], _Keeper] = {}
        self._made: list[_Keeper] = []
        """Those whose instance is made and not closed yet, in that order."""

    async def first(self, wanted: PerLoop[Any]) -> Any:
        """Make an instance, or wait for the one that is being made."""
        keeper = self._keepers.get(wanted)
        if keeper is None:
            keeper = self._keepers[wanted] = _Keeper(self._loop)
            # An empty context: the instance outlives the request that happens to come first.
            keeper.task = self._loop.create_task(
                self._keep(wanted, keeper), name=repr(wanted), context=contextvars.Context()
            )
        elif keeper.task is asyncio.current_task():
            raise RuntimeError(f"{wanted!r} asks for its own instance while making it")
        return await asyncio.shield(keeper.value)

    async def close(self) -> None:
        """Close all, the last one first, and what closing them makes."""
        while self._made or self._keepers:
            if self._made:
                keeper = self._made[-1]
                if not keeper.end.done():
                    keeper.end.set_result(None)
            else:  # it is still being made
                keeper = next(iter(self._keepers.values()))
                keeper.task.cancel()
            await asyncio.wait([keeper.task])

    async def _keep(self, wanted: PerLoop[Any], keeper: _Keeper) -> None:
        try:
            async with wanted.opened() as value:
                self.ready[wanted] = value
                self._made.append(keeper)
                keeper.value.set_result(value)
                try:
                    await keeper.end
                except asyncio.CancelledError:  # asyncio.run ends all tasks at once
                    await self._wait_for_later(keeper)
                    keeper.task.uncancel()
                finally:
                    del self.ready[wanted], self._keepers[wanted]  # a use from now on makes another
        except BaseException as exc:
            if keeper.value.done():
                _log.exception("Closing %r failed.", wanted)
            elif isinstance(exc, asyncio.CancelledError):
                keeper.value.cancel()
            else:
                keeper.value.set_exception(exc)
            if not isinstance(exc, (Exception, asyncio.CancelledError)):
                raise
        finally:
            if keeper in self._made:
                self._made.remove(keeper)
            else:
                del self._keepers[wanted]

    async def _wait_for_later(self, keeper: _Keeper) -> None:
        """Until those made after this one are closed, if they are ending like it."""
        later = self._made[self._made.index(keeper) + 1 :]
        ending = [each.task for each in later if each.end.done() or each.task.cancelling()]
        if ending:
            await asyncio.wait(ending)


async def close_all() -> None:
    """Close every instance that belongs to the running loop, in reverse order of creation.

    Failures are logged. For servers, at the end of each loop; `asyncio.run` closes them by itself.
    """
    instances: _Instances | None = getattr(asyncio.get_running_loop(), _ATTRIBUTE, None)
    if instances is not None:
        await instances.close()
