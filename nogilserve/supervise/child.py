"""The process of a generation, as the master sees it: how it is started, and what it tells.

What depends on the operating system about starting a process is here.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, Final, Protocol

from nogilserve.sockets.listen import PASSED_BY_SYSTEMD, Listener
from nogilserve.supervise.board import Board
from nogilserve.supervise.channel import Channel
from nogilserve.supervise.identity import Identity
from nogilserve.supervise.interpreter import ROOT, Interpreter

__all__ = ["Child", "Event", "Events", "how_it_ended"]

Event = tuple[str, int, Any]
"""What happened, to which generation (0: none), and more."""


class Events(Protocol):
    """Where that is said. Any thread."""

    def put(self, event: Event, /) -> None:
        """Say it."""


# This very package, and nothing of the current directory before the application is imported.
# Ctrl-C until then needs no traceback.
_QUIET: Final = (
    "import signal, sys; "
    "signal.getsignal(2) is signal.SIG_IGN or signal.signal(2, signal.SIG_DFL); "
    "hasattr(signal, 'pthread_sigmask') and signal.pthread_sigmask(signal.SIG_UNBLOCK, [2]); "
)
_PACKAGE: Final = "sys.path.insert(0, sys.argv[1]); import nogilserve; del sys.path[0]; "
_MAIN: Final = "from nogilserve.supervise.generation import main; sys.exit(main())"
_WINDOWS: Final = os.name == "nt"


SETTINGS: Final = ("NOGILSERVE_",)
"""How variables begin that are the server's settings, tokens and passwords among them."""


class Child:
    """Owner: the main thread of the master. Two threads of its own only put events on the queue:
    one reads what the process says, one waits for its end. The end comes after everything it said.
    """

    def __init__(
        self,
        number: int,
        label: str,
        identity: Identity,
        events: Events,
        directory: str | None = None,
        interpreter: Interpreter | None = None,
        *,
        secretive: bool = False,
    ) -> None:
        """Start the process, in a directory and with a Python of its own if they are given. Raises
        OSError. `label` is for those who list processes; `secretive`: it does not get the server's
        settings among its variables."""
        self.number = number
        self.served: dict[str, Any] = {}
        """What it says it serves."""
        self.stopped = False
        """It accepts no more."""
        self._events = events
        name = f"nogilserve-{os.getpid()}-{number}"
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours, wary=True)
        try:
            self.board = Board.create(name)
        except BaseException:
            self.channel.close()
            theirs.close()
            raise
        try:
            self._process = _start(
                theirs,
                self.board.descriptor,
                name,
                label,
                identity,
                directory,
                interpreter,
                SETTINGS if secretive else (),
            )
        except BaseException:
            self.channel.close()
            self.board.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, name=f"reader-{number}", daemon=True)
        self._waiter = threading.Thread(target=self._wait, name=f"waiter-{number}", daemon=True)
        self._reader.start()
        self._waiter.start()

    def send(self, name: str, **data: Any) -> None:
        """Send a message; a process that is gone is noticed otherwise. One that reads no more,
        stopped or stuck, is killed: nobody else is to wait for it."""
        if not self.channel.send(name, **data) and self.channel.deaf:
            self._process.kill()

    def give(self, listeners: Sequence[Listener]) -> None:
        """Send it the listening sockets."""
        places = [
            {"label": item.label, "server": item.server, "role": item.role} for item in listeners
        ]
        sockets = [item.socket for item in listeners]
        self.channel.send("accept", sockets, peer=self.pid, listeners=places)

    def kill(self, *, gently: bool = False) -> None:
        """End it. `gently`: interrupt it, for the import of an application."""
        self._process.send_signal(signal.SIGINT if gently and not _WINDOWS else _KILL)

    def close(self) -> None:
        """Give back what belongs to it. The process is gone."""
        self.channel.hang_up()
        self._reader.join()
        self._waiter.join()
        self.channel.close()
        self.board.close()

    def _read(self) -> None:
        try:
            while (message := self.channel.receive()) is not None:
                self._events.put(("message", self.number, message))
        except ValueError:  # it talks nonsense: the application got hold of the channel
            self._process.kill()

    def _wait(self) -> None:
        status = self._process.wait()
        # A process that it left behind may hold the channel open: do not wait for its end for long.
        self._reader.join(1.0)
        self._events.put(("exited", self.number, status))


_KILL: Final = signal.SIGTERM if _WINDOWS else signal.SIGKILL


def _start(
    end: socket.socket,
    board: int,
    name: str,
    label: str,
    identity: Identity,
    directory: str | None,
    interpreter: Interpreter | None,
    hidden: tuple[str, ...],
) -> "subprocess.Popen[bytes]":
    # The same options of the interpreter (-X, -W, -O); multiprocessing finds them out so too.
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    safe = [] if "-P" in flags or "-I" in flags else ["-P"]
    command = [sys.executable, *flags, *safe, "-c", _QUIET + _PACKAGE + _MAIN, ROOT, name]
    variables = {
        name: value
        for name, value in os.environ.items()
        if name not in PASSED_BY_SYSTEMD and not (hidden and name.startswith(hidden))
    }
    if interpreter is not None:
        code = _QUIET + interpreter.code(_MAIN)
        command = [interpreter.executable, *interpreter.flags(flags), *safe, "-c", code, "-", name]
        variables = interpreter.environment(variables)
    if _WINDOWS:
        from base64 import b64encode

        process = subprocess.Popen(
            [*command, "stdin", str(board), label], stdin=subprocess.PIPE, cwd=directory
        )
        share: Any = getattr(end, "share")  # noqa: B009 - Windows only, unknown to others
        assert process.stdin is not None
        with process.stdin:
            process.stdin.write(b64encode(share(process.pid)) + b"\n")
        return process
    # What this process inherited may be meant for the application: not close_fds.
    for fd in (end.fileno(), board):
        os.set_inheritable(fd, True)
    # Until `_QUIET`: Python that is interrupted while it starts calls that a fatal error.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        return subprocess.Popen(
            [*command, str(end.fileno()), str(board), label],
            close_fds=False,
            cwd=directory,
            env=variables,
            **identity.for_child(),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for fd in (end.fileno(), board):
            os.set_inheritable(fd, False)


def how_it_ended(status: int) -> str:
    """A returncode as the end of a sentence; "" for an orderly end."""
    if status == 0:
        return ""
    if status > 0:
        return f"has ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
