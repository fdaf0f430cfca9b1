"""The application as the connections of one event loop see it."""

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import Any

from nogilserve.errors import ResponseError
from nogilserve.gateways.asgi.calls import Application, only_gone, waiting_in
from nogilserve.gateways.asgi.http import HttpCall
from nogilserve.gateways.asgi.scope import ScopeMaker
from nogilserve.gateways.asgi.websocket import WebSocketCall
from nogilserve.gateways.failures import PLAIN, STATUS, failure_text, log_failure
from nogilserve.messages import AsyncExchange, TimeLimits, WebSocketExchange

__all__ = ["AsgiGateway"]

_log = logging.getLogger("nogilserve.error")


class AsgiGateway:
    """Owner: one event loop. Its coroutines never raise, but for a cancellation."""

    def __init__(
        self,
        app: Application,
        name: str,
        loop: asyncio.AbstractEventLoop,
        *,
        root_path: str = "",
        state: dict[str, Any] | None = None,
        debug: bool = False,
        timeout: TimeLimits | None = None,
        explain: Callable[[BaseException], str | None] = lambda _: None,
        scopes: ScopeMaker | None = None,
    ) -> None:
        """`state`: what lifespan startup left for this loop; `timeout`: in which time a response
        must begin; `explain` says more about errors that do not explain themselves; `scopes`
        counts in place of `root_path` and `state`."""
        self._app = app
        self._name = name
        self._loop = loop
        self._timers = contextvars.Context()
        self._scopes = scopes or ScopeMaker(root_path, state, debug=debug)
        self._debug = debug
        self._limits = timeout or None
        self._explain = explain

    async def http(self, exchange: AsyncExchange) -> None:
        """Run the application for one request."""
        call = HttpCall(exchange, self._loop)
        request = exchange.request
        limit = None if self._limits is None else self._limit(call, self._limits)
        try:
            await self._app(self._scopes.http(exchange), call.receive, call.send)
            if call.complete:
                return
            if not exchange.gone:
                raise ResponseError(
                    "the application returned before its response was complete"
                    if exchange.head_sent
                    else "the application returned without a response"
                )
        except BaseException as exc:
            if self._loop.is_closed():
                raise  # this is thrown away with its loop: nobody can be answered any more
            where = f"[{call.request_id}] {request.method} {request.target}"
            self._failed(call, where, exc)
            # Frames, exception and exchange refer to each other: without this every failure
            # leaves a cycle for the garbage collector, which stops all threads.
            exc.__traceback__ = None
            if isinstance(exc, asyncio.CancelledError):
                raise
        finally:
            if limit is not None:
                limit.cancel()
        if not call.complete:
            exchange.abort()

    def _limit(self, call: HttpCall, limits: TimeLimits) -> asyncio.TimerHandle | None:
        """Watch that the response begins in time, if there is a limit."""
        seconds = limits.of(call.exchange.request.path)
        task = asyncio.current_task()
        if not seconds or task is None:
            return None
        # Not in the context of the request: asyncio keeps handles, also of what was cancelled.
        return self._loop.call_later(
            seconds, self._time_out, call, task, seconds, context=self._timers
        )

    def _time_out(self, call: HttpCall, task: asyncio.Task[None], seconds: float) -> None:
        """Answer instead of an application that has not begun to, and cancel it."""
        exchange = call.exchange
        if call.complete or exchange.head_sent or exchange.gone:
            return
        request = exchange.request
        where = f"[{call.request_id}] {request.method} {request.target}"
        _log.error(
            "%s: no response in %g s; answered 504. The application waits in:\n%s",
            where,
            seconds,
            waiting_in(task),
        )
        text = f"Gateway Timeout\nrequest {call.request_id}\n".encode()
        call.fail(STATUS[504], [PLAIN], text)
        task.cancel("the response took too long")

    def _failed(self, call: HttpCall, where: str, exc: BaseException) -> None:
        """The application, or what it answered, is at fault: log it, answer if still possible."""
        if isinstance(exc, asyncio.CancelledError):
            _log.warning("%s: cancelled", where)
            call.fail(STATUS[500], [PLAIN], failure_text(call.request_id, ""))
            return
        if only_gone(exc) and (call.complete or call.exchange.gone):
            _log.debug("%s: %s", where, exc)
            return
        trace = log_failure(where, self._name, exc, self._explain(exc) or "")
        text = failure_text(call.request_id, trace if self._debug else "")
        call.fail(STATUS[500], [PLAIN], text)

    async def websocket(self, exchange: WebSocketExchange) -> None:
        """Run the application for one WebSocket connection."""
        call = WebSocketCall(exchange, self._loop)
        request = exchange.http.request
        scope = self._scopes.websocket(exchange.http, exchange.subprotocols)
        try:
            await self._app(scope, call.receive, call.send)
            call.returned()
        except BaseException as exc:
            if self._loop.is_closed():
                raise  # this is thrown away with its loop: nobody can be answered any more
            where = f"[{call.request_id}] WebSocket {request.target}"
            if isinstance(exc, asyncio.CancelledError):
                _log.warning("%s: cancelled", where)
                trace = ""
            elif only_gone(exc) and call.ended:
                _log.debug("%s: %s", where, exc)
                trace = ""
            else:
                trace = log_failure(where, self._name, exc, self._explain(exc) or "")
            call.fail(failure_text(call.request_id, trace if self._debug else ""))
            exc.__traceback__ = None
            if isinstance(exc, asyncio.CancelledError):
                raise
