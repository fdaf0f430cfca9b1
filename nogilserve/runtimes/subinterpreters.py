"""The subinterpreter runtime: one interpreter for each core in this process, each with its own GIL
and its own copy of the application (PEP 684, PEP 734; Python 3.14)."""

import importlib
import os
import socket
import threading
from pathlib import Path
from typing import Any, Final

import nogilserve
from nogilserve.lend import lines_to_borrow
from nogilserve.runtimes.channel import Channel
from nogilserve.runtimes.crew import Crew
from nogilserve.runtimes.ledger import Ledger
from nogilserve.runtimes.members import Failure, Launch
from nogilserve.runtimes.spec import Spec
from nogilserve.runtimes.stacks import catch_stacks_signal

__all__ = ["Unsuitable", "load_subinterpreters"]

_ROOT: Final = str(Path(nogilserve.__file__).resolve().parents[1])
_BODY: Final = """\
import socket
end = socket.socket(fileno={fd})
import sys
sys.path[:] = {path!r}
sys.path.append({root!r})
import nogilserve
del sys.path[-1]
{lent}
from nogilserve.supervise.worker import serve_member
serve_member(end, process=False)
"""


class Unsuitable(Exception):
    """The application cannot be served from subinterpreters; says why, in one line."""


class InterpreterHandle:
    """An interpreter and the thread that runs it. Owner: the crew's keeper; `name` and `pid` are
    for any thread."""

    def __init__(self, index: int, end: socket.socket, body: str) -> None:
        """`end`: the interpreter's end of the channel, of which it uses a duplicate; closed when
        the interpreter is no more."""
        self.pid = os.getpid()
        self.name = f"subinterpreter {index}"
        self._end = end
        self._body = body
        self._problem = ""
        """Written by the thread before it ends."""
        # Daemon: `leave` may have to end the process while the application is stuck in it.
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        interpreters: Any = importlib.import_module("concurrent.interpreters")
        interpreter = interpreters.create()
        try:
            interpreter.exec(self._body)
        except interpreters.ExecutionFailed as exc:
            self._problem = str(exc)
        finally:
            # All threads of the engine have ended; an application's own are waited for.
            interpreter.close()
            self._end.close()

    def ended(self, timeout: float = 0) -> str | None:
        """How it ended; None: it has not, in that many seconds."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            return None
        return f"with {self._problem}" if self._problem else "by itself"

    def kill(self) -> None:
        """An interpreter cannot be killed: it ends when its channel is closed, or with the
        process."""


def load_subinterpreters(spec: Spec, reason: str) -> Crew:
    """Make the interpreters and have them import the application.

    Raises Unsuitable where that fails: whether it is the application's fault, a process can tell.
    """
    catch_stacks_signal()
    crew = Crew(spec, interpreter_launcher(spec))
    try:
        crew.load("subinterpreters", reason)
    except Failure as failure:
        raise Unsuitable(_in_one_line(failure)) from failure
    return crew


def interpreter_launcher(spec: Spec) -> Launch:
    """What starts the interpreters of a crew."""

    def launch(index: int, ledger: Ledger) -> tuple[InterpreterHandle, Channel]:
        ours, theirs = socket.socketpair()
        channel = Channel(ours, os.getpid())
        body = _BODY.format(
            path=list(spec.path), root=_ROOT, fd=theirs.dup().detach(), lent=lines_to_borrow()
        )
        handle = InterpreterHandle(index, theirs, body)
        channel.send("spec", spec.for_member(index, ledger.reference))
        return handle, channel

    return launch


def _in_one_line(failure: Failure) -> str:
    lines = failure.message.strip().splitlines()
    return lines[-1] if lines else "it ended without a word"
