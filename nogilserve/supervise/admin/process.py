"""The admin process, as the master sees it: started, listened to, and started again."""

import base64
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

from nogilserve.config import Config
from nogilserve.config.observing import endpoint, is_loopback
from nogilserve.sockets import Listener
from nogilserve.supervise.admin.access import make_token
from nogilserve.supervise.channel import Channel
from nogilserve.supervise.control import Request
from nogilserve.supervise.identity import Identity
from nogilserve.supervise.plainlog import log

__all__ = ["Admin"]

_ROOT: Final = str(Path(__file__).resolve().parents[3])
_CODE: Final = (
    "import signal, sys; signal.signal(2, signal.SIG_IGN); sys.path.insert(0, sys.argv[1]); "
    "import nogilserve; del sys.path[0]; "
    "from nogilserve.supervise.admin.server import main; sys.exit(main())"
)
_WINDOWS: Final = os.name == "nt"
_FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 60.0
_STABLE: Final = 30.0
"""Seconds after which a process that dies was not dying at once."""
_END: Final = 3.0

Event = tuple[str, int, Any]


class _Remote(Request):
    """A command that came from the admin process; its answer goes back there."""

    def __init__(self, process: "_Process", number: int, command: str, arguments: Any) -> None:
        super().__init__(command, arguments if isinstance(arguments, dict) else {})
        self._process = process
        self._number = number

    def answer(self, text: str, *, ok: bool = True, **more: Any) -> None:
        """The outcome."""
        self._process.channel.send(
            "answer", id=self._number, answer={"ok": ok, "text": text, **more}
        )


class Admin:
    """Owner: the main thread of the master."""

    def __init__(
        self,
        config: Config,
        listeners: Sequence[Listener],
        identity: Identity,
        events: "queue.SimpleQueue[Event]",
    ) -> None:
        """Start it."""
        self._token = config.admin_token or make_token()
        self._listeners = listeners
        self._identity = identity
        self._events = events
        self._log_level = config.log_level
        self._log_format = config.log_format
        self._loopback = is_loopback(endpoint(config.admin)[0])
        self._process: _Process | None = None
        self._started = 0.0
        self._delay = 0.0
        self.deadline: float | None = None
        """When it is to be started again, monotonic."""
        self._start(monotonic())

    @property
    def facts(self) -> dict[str, Any]:
        """Where it is and what opens it: for who may use the control socket."""
        return {
            "admin": [listener.label for listener in self._listeners],
            "admin_token": self._token,
        }

    def announce(self) -> None:
        """Tell the log where the status page is."""
        for listener in self._listeners:
            log.info("Status page at %s/ (its token: nogilserve status)", listener.label)

    def ended(self, number: int, now: float) -> None:
        """A process is gone."""
        if self._process is None or self._process.pid != number:
            return
        self._process.close()
        self._process = None
        if now - self._started > _STABLE:
            self._delay = 0.0
        self._delay = min(max(self._delay * 2, _FIRST_DELAY), _LONGEST_DELAY)
        self.deadline = now + self._delay
        log.error("The process of the admin address is gone; another one in %g s", self._delay)

    def tick(self, now: float) -> None:
        """What is due by the clock."""
        if self.deadline is not None and now >= self.deadline:
            self._start(now)

    def _start(self, now: float) -> None:
        self.deadline = None
        self._started = now
        try:
            self._process = _Process(self._identity, self._events)
        except OSError as error:
            log.error("Nothing serves the admin address: %s", error)
            self._delay = min(max(self._delay * 2, _FIRST_DELAY), _LONGEST_DELAY)
            self.deadline = now + self._delay
            return
        places = [{"label": item.label, "server": item.server} for item in self._listeners]
        self._process.channel.send(
            "serve",
            [item.socket for item in self._listeners],
            peer=self._process.pid,
            listeners=places,
            token=self._token,
            loopback=self._loopback,
            log_level=self._log_level,
            log_format=self._log_format,
        )

    def close(self) -> None:
        """End it."""
        self.deadline = None
        process, self._process = self._process, None
        if process is not None:
            process.end()


class _Process:
    """Owner: the main thread of the master. Its two threads only put events on the queue."""

    def __init__(self, identity: Identity, events: "queue.SimpleQueue[Event]") -> None:
        """Start it. Raises OSError."""
        self._events = events
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        try:
            self._process = _begin(theirs, identity)
        except BaseException:
            self.channel.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, name="admin-reader", daemon=True)
        self._waiter = threading.Thread(target=self._wait, name="admin-waiter", daemon=True)
        self._reader.start()
        self._waiter.start()

    def _read(self) -> None:
        try:
            while (message := self.channel.receive()) is not None:
                ask = partial(_Remote, self, message["id"], message["command"])
                self._events.put(("control", 0, ask(message["arguments"])))
        except (ValueError, KeyError):
            self._process.kill()

    def _wait(self) -> None:
        self._process.wait()
        self._events.put(("admin", self.pid, None))

    def end(self) -> None:
        """End it in order, or else at once."""
        self.channel.send("end")
        try:
            self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self.close()

    def close(self) -> None:
        """Give back what belongs to it. The process is gone, or about to be."""
        self._waiter.join()
        self.channel.hang_up()
        self._reader.join()
        self.channel.close()


def _begin(end: socket.socket, identity: Identity) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-c", _CODE, _ROOT]
    if _WINDOWS:
        process = subprocess.Popen([*command, "stdin"], stdin=subprocess.PIPE)
        share: Any = getattr(end, "share")  # noqa: B009
        assert process.stdin is not None
        with process.stdin:
            process.stdin.write(base64.b64encode(share(process.pid)) + b"\n")
        return process
    return subprocess.Popen(
        [*command, str(end.fileno())], pass_fds=[end.fileno()], **identity.for_child()
    )
