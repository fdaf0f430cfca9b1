"""Start and end of an ASGI application (ASGI lifespan protocol 2.0)."""

import asyncio
import logging
import traceback
from typing import Any, Literal

from nogilserve.gateways.asgi.calls import Application, Message, unexpected

__all__ = ["Lifespan", "StartupFailed"]

_log = logging.getLogger("nogilserve.error")


type Mode = Literal["auto", "on", "off"]


class StartupFailed(Exception):
    """The application does not start; the message says why, `trace` where (may be "")."""

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


class Lifespan:
    """One run of the application's lifespan. Owner: the event loop it was made on: all its life
    the application sees the same task.
    """

    def __init__(self, app: Application, name: str, mode: Mode) -> None:
        self._app = app
        self._name = name
        self._mode = mode
        self.state: dict[str, Any] = {}
        """What the application left for its requests."""
        self.supported = False
        """Whether the application has completed its startup."""
        self._task: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._taken = False
        """The application has received lifespan.startup: from here on it is serious."""
        self._ignorant = False
        """It has answered as if this were a request, so it does not look at the kind of scope."""
        self._startup: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """"" when startup is complete, else why it failed."""
        self._shutdown: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def startup(self) -> None:
        """Wait until the application has started. Raises StartupFailed.

        With mode auto, an application that fails before it has received anything does not know
        lifespan, and that is fine.
        """
        if self._mode == "off":
            return
        self._task = asyncio.get_running_loop().create_task(self._run(), name="lifespan")
        self._events.put_nowait({"type": "lifespan.startup"})
        await _first(self._task, self._startup)
        if self._startup.done():
            reason = self._startup.result()
            if reason:
                await self._end_task()
                raise StartupFailed(reason)
            self.supported = True
            return
        self._judge_early_end()

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        await self._app(scope, self._receive, self._send)

    def _judge_early_end(self) -> None:
        """The application has ended without an answer to startup."""
        assert self._task is not None
        exc = None if self._task.cancelled() else self._task.exception()
        if self._mode == "auto" and (self._ignorant or not self._taken):
            _log.debug("%s does not support lifespan", self._name, exc_info=exc)
            return
        if exc is None:
            what = "lifespan: the application returned without completing its startup"
            if self._mode == "auto":
                _log.debug("%s: %s", self._name, what)
                return
            raise StartupFailed(what)
        trace = "".join(traceback.format_exception(exc))
        hint = "" if self._taken else "; with --lifespan auto or off it is not asked to"
        raise StartupFailed(f"lifespan startup raised {exc!r}{hint}", trace)

    async def shutdown(self) -> None:
        """Wait until the application has shut down. Logs what goes wrong, raises nothing."""
        task = self._task
        if task is None or not self.supported:
            return
        if not task.done():
            self._events.put_nowait({"type": "lifespan.shutdown"})
            await _first(task, self._shutdown)
        if self._shutdown.done():
            if reason := self._shutdown.result():
                _log.error("%s: lifespan shutdown failed: %s", self._name, reason)
        elif task.cancelled():
            _log.error("%s: lifespan was cancelled", self._name)
        elif exc := task.exception():
            trace = "".join(traceback.format_exception(exc)).rstrip()
            _log.error("%s: exception in lifespan\n%s", self._name, trace)
        await self._end_task()

    async def _end_task(self) -> None:
        """Let the application return; one that does not is cancelled."""
        assert self._task is not None
        await asyncio.wait({self._task}, timeout=1.0)
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=1.0)
        if not self._task.done():
            _log.error("%s: lifespan does not end", self._name)
        elif not self._task.cancelled():
            self._task.exception()  # looked at: asyncio need not complain

    async def _receive(self) -> Message:
        message = await self._events.get()
        self._taken = True
        return message

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete" and not self._startup.done():
            self._startup.set_result("")
        elif kind == "lifespan.startup.failed" and not self._startup.done():
            self._startup.set_result(f"lifespan startup failed: {message.get('message', '')}")
        elif kind == "lifespan.shutdown.complete" and not self._shutdown.done():
            self._shutdown.set_result("")
        elif kind == "lifespan.shutdown.failed" and not self._shutdown.done():
            self._shutdown.set_result(message.get("message", "") or "no reason given")
        else:
            self._ignorant = str(kind).startswith(("http.", "websocket."))
            raise unexpected(message, "a lifespan message that is due")


async def _first(*waited: "asyncio.Future[Any]") -> None:
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
