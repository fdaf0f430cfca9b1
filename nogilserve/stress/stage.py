"""Stands between the engine and the application in the subject: requests of a burst wait here for
each other, begin at the same moment, and are watched while they run.
"""

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any, Final

from nogilserve.gateways.asgi.calls import waiting_in
from nogilserve.stress.tickets import ENVIRON_KEY, FIELD, Ticket
from nogilserve.stress.turns import CURRENT, Turn

__all__ = ["Stage", "StagedAsgi", "StagedWsgi", "Witness"]

_MEETING: Final = 0.5
"""Seconds a request waits for the others of its burst, which may never come: the server may have
answered them itself."""
_HELD: Final = 30.0
_KEPT: Final = 8
_FIELD: Final = FIELD.encode()
_NOTHING: Final = b"held\n"


type _Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]


class _Meeting:
    """Where the requests of a burst wait for each other. Any thread: its lock."""

    def __init__(self, expected: int) -> None:
        self._lock = threading.Lock()
        self._expected = expected
        self._complete = threading.Event()
        self._waiting: list[_Waiter] = []

    def join(self) -> None:
        """Wait in a thread."""
        if not self._arrive(None):
            self._complete.wait(_MEETING)

    async def join_async(self) -> None:
        """Wait on an event loop. The last one waits, too: on each loop all are woken in the same
        turn, so that none is ahead."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._arrive((loop, future))
        try:
            await asyncio.wait_for(future, _MEETING)
        except TimeoutError:
            pass

    def _arrive(self, waiter: _Waiter | None) -> bool:
        """One more is here; whether everybody is."""
        with self._lock:
            self._expected -= 1
            if waiter is not None:
                self._waiting.append(waiter)
            if self._expected > 0:
                return False
            waiting, self._waiting = self._waiting, []
            self._complete.set()
        for loop, future in waiting:
            loop.call_soon_threadsafe(_finish, future)
        return True


def _finish(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class Stage:
    """The bursts that are under way. Any thread: its lock."""

    def __init__(self, own_files: Container[str] = ()) -> None:
        self._own_files = own_files
        self._lock = threading.Lock()
        self._meetings: dict[int, _Meeting] = {}
        self._turns: dict[int, list[Turn]] = {}
        """Of the last bursts."""
        self._gate = threading.Event()
        self._held = 0

    def enter(self, text: str) -> Turn:
        """A request has come with this ticket. Raises ValueError for one that is not ours."""
        turn = Turn(Ticket.read(text), own_files=self._own_files)
        with self._lock:
            self._turns.setdefault(turn.ticket.burst, []).append(turn)
            while len(self._turns) > _KEPT:
                del self._turns[next(iter(self._turns))]
        return turn

    def meeting(self, ticket: Ticket) -> _Meeting:
        """Where the requests of this burst wait."""
        with self._lock:
            meeting = self._meetings.get(ticket.burst)
            if meeting is None:
                meeting = self._meetings[ticket.burst] = _Meeting(ticket.together)
            return meeting

    def hold(self) -> None:
        """Occupy this thread until `let_go`."""
        with self._lock:
            gate = self._gate
            self._held += 1
        gate.wait(_HELD)

    @property
    def held(self) -> int:
        """How many threads are occupied."""
        with self._lock:
            return self._held

    def let_go(self) -> None:
        """Free the threads that are held."""
        with self._lock:
            self._gate.set()
            self._gate = threading.Event()
            self._held = 0

    def waiting(self) -> list[tuple[int, str]]:
        """The requests whose tasks have not ended: place in the burst, where the task waits."""
        with self._lock:
            turns = [turn for turns in self._turns.values() for turn in turns]
        found = [(turn.ticket.index, turn.task) for turn in turns]
        return [(index, waiting_in(task)) for index, task in found if task is not None]

    def leave(self, burst: int) -> list[Turn]:
        """The requests of a burst, whose answers were received."""
        with self._lock:
            self._meetings.pop(burst, None)
            return list(self._turns.get(burst, ()))


class StagedWsgi:
    """A WSGI application (PEP 3333) with the stage before it. Any thread."""

    def __init__(self, app: Callable[..., Iterable[bytes]], stage: Stage) -> None:
        self._app = app
        self._stage = stage

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        text = environ.pop(ENVIRON_KEY, "")
        if not text:
            return self._app(environ, start_response)
        turn = self._stage.enter(text)
        if turn.ticket.hold:
            self._stage.hold()
            start_response("200 OK", [("Content-Length", str(len(_NOTHING)))])
            return [_NOTHING]
        if turn.ticket.together > 1:
            self._stage.meeting(turn.ticket).join()
        CURRENT.set(turn)  # until the next request of this thread: its body runs here, too
        try:
            body = self._app(environ, start_response)
        except BaseException as exc:
            note(turn, exc)
            raise
        return body if isinstance(body, list | tuple) else _Body(body, turn)


class _Body:
    """An iterable that notes what is raised while it is read. Owner: the request's thread."""

    def __init__(self, body: Iterable[bytes], turn: Turn) -> None:
        self._body = body
        self._turn = turn

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._body
        except BaseException as exc:
            note(self._turn, exc)
            raise

    def close(self) -> None:
        """End the application's own iterable (PEP 3333)."""
        close = getattr(self._body, "close", None)
        if close is not None:
            close()


class StagedAsgi:
    """An ASGI application with the stage before it. Any loop."""

    def __init__(self, app: Callable[..., Any], stage: Stage) -> None:
        self._app = app
        self._stage = stage

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one connection, as ASGI has it."""
        text = _ticket_of(scope) if scope["type"] == "http" else ""
        if not text:
            await self._app(scope, receive, send)
            return
        turn = self._stage.enter(text)
        if turn.ticket.together > 1:
            await self._stage.meeting(turn.ticket).join_async()
        CURRENT.set(turn)  # in the context of this request's task
        turn.task = asyncio.current_task()
        try:
            await self._app(scope, receive, send)
        except BaseException as exc:
            note(turn, exc)
            raise
        finally:
            turn.task = None


def _ticket_of(scope: dict[str, Any]) -> str:
    """The ticket among the header fields of a request, which then are without it."""
    fields = list(scope["headers"])
    for number, (name, value) in enumerate(fields):
        if name == _FIELD:
            del fields[number]
            scope["headers"] = fields
            return bytes(value).decode("latin-1")
    return ""


def note(turn: Turn, exc: BaseException) -> None:
    """Keep what the application raised."""
    if isinstance(exc, Exception):
        turn.failures.append("".join(traceback.format_exception(exc)).rstrip())


class Witness(logging.Handler):
    """Notes errors that are logged while a request runs: frameworks answer 500 and log. Any
    thread."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text with the running request, if there is one; else write it."""
        turn = CURRENT.get()
        if turn is not None and turn.failures and record.name.startswith("nogilserve"):
            return  # what the application has raised, which the gateway logs
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += "\n" + "".join(traceback.format_exception(record.exc_info[1])).rstrip()
        if turn is not None:
            turn.failures.append(text)
        else:  # of a request of the hook, perhaps: shown if that fails
            print(text, file=sys.stderr)
