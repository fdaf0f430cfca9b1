"""One master replaced by the next: the same listening sockets, a new program.

The old master starts the command anew and passes its sockets as inherited descriptors, named in one
environment variable. The new one says when it serves; until then the old one does.
"""

import json
import os
import queue
import signal
import socket
import subprocess
import threading
from typing import Any, Final

from nogilserve.sockets import Listener
from nogilserve.supervise.channel import Channel
from nogilserve.supervise.child import Event
from nogilserve.supervise.control import Request
from nogilserve.supervise.plainlog import log
from nogilserve.values import Value

__all__ = ["VARIABLE", "Estate", "Inheritance", "Launch", "Succession", "adopt_environment"]

VARIABLE: Final = "_NOGILSERVE_HANDOVER"

_OURS: Final = ("LISTEN_PID", "WATCHDOG_PID")
"""Variables by which systemd says which process it means."""


def adopt_environment() -> None:
    """What systemd has told the master before this one is meant for this one now."""
    for name in _OURS:
        if name in os.environ:
            os.environ[name] = str(os.getpid())


class Launch(Value):
    """How the command was started, to start it again the same way. Immutable."""

    command: tuple[str, ...]
    directory: str
    environment: dict[str, str]
    handover: str = ""
    """What the master before this one has passed on: the value of VARIABLE."""

    def base(self) -> str:
        """The directory the command was started in, as the shell calls it: with its links. Ask at
        the start, as long as these point there."""
        name = self.environment.get("PWD", "")
        try:
            same = os.path.isabs(name) and os.path.samefile(name, self.directory)
        except OSError:
            same = False
        return name if same else self.directory

    def environment_for_next(self) -> dict[str, str]:
        """Without what systemd has told another process."""
        own = str(os.getpid())
        return {
            name: value
            for name, value in self.environment.items()
            if name not in _OURS or value == own
        }


Held = list[tuple[str, Listener]]
"""Listeners, each with the address it was opened for, as it is written."""


class Estate(Value):
    """What a master has that the next one takes over. Immutable."""

    listeners: Held
    control: str
    """The path of its control socket, "" without one."""


class Inheritance:
    """What this master was given by the one before it. Owner: the main thread."""

    def __init__(self, text: str) -> None:
        """`text`: the value of VARIABLE, "" where there is none."""
        data: dict[str, Any] = json.loads(text) if text else {}
        self._channel = None
        if data:
            sock = socket.socket(fileno=data["channel"])
            sock.set_inheritable(False)
            self._channel = Channel(sock)
        self.control: str = data.get("control", "")
        """The path of the control socket of that one, which this one may replace."""
        self.listeners: Held = [(item["bind"], _listener(item)) for item in data.get("sockets", ())]

    def take(self, bind: str) -> list[Listener]:
        """The listeners for an address; the caller owns them."""
        found = [listener for name, listener in self.listeners if name == bind]
        self.listeners = [pair for pair in self.listeners if pair[0] != bind]
        return found

    def say_ready(self) -> None:
        """The one before may leave."""
        if self._channel is not None:
            self._channel.send("ready")
        self.close()

    def close(self) -> None:
        """Let go of what nobody took; the file of a unix socket stays the other master's."""
        for _, listener in self.listeners:
            listener.disown()
            listener.close()
        self.listeners.clear()
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _listener(item: dict[str, Any]) -> Listener:
    sock = socket.socket(fileno=item["fd"])
    sock.set_inheritable(False)
    sock.setblocking(False)
    name, port = item["server"]
    file = item["file"] and tuple(item["file"])
    return Listener(
        sock,
        item["label"],
        (name, port),
        file,
        inherited=item["inherited"],
        role=item.get("role", "tls"),
    )


class Successor:
    """The process of the next master. Owner: the main thread; its thread only fills the queue."""

    def __init__(
        self,
        launch: Launch,
        estate: Estate,
        events: "queue.SimpleQueue[Event]",
    ) -> None:
        """Start it. Raises OSError."""
        self._events = events
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        fds = [theirs.fileno(), *(listener.fileno() for _, listener in estate.listeners)]
        data = {
            "channel": theirs.fileno(),
            "control": estate.control,
            "sockets": [
                {
                    "bind": bind,
                    "fd": listener.fileno(),
                    "label": listener.label,
                    "server": listener.server,
                    "role": listener.role,
                    "file": listener.file,
                    "inherited": listener.inherited,
                }
                for bind, listener in estate.listeners
            ],
        }
        try:
            for fd in fds:
                os.set_inheritable(fd, True)
            self._process = subprocess.Popen(
                launch.command,
                cwd=launch.directory,
                env={**launch.environment_for_next(), VARIABLE: json.dumps(data)},
                close_fds=False,
            )
        except BaseException:
            self._channel.close()
            raise
        finally:
            for fd in fds:
                os.set_inheritable(fd, False)
            theirs.close()
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, name="successor", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """It says one word, or ends without."""
        try:
            ready = self._channel.receive() is not None
        except ValueError:
            ready = False
        self._events.put(("successor", int(ready), None))

    def kill(self) -> None:
        """It is not wanted any more."""
        self._process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Stop listening to it; it lives on by itself."""
        self._channel.hang_up()
        self._reader.join()
        self._channel.close()
        self._process.poll()
        # A process that outlives this one is no leak: it was started for that.
        self._process.returncode = self._process.returncode or 0


class Succession:
    """The upgrade in progress, if there is one. Owner: the main thread of the master."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._successor: Successor | None = None
        self._request: Request | None = None

    def begin(
        self, estate: Estate, events: "queue.SimpleQueue[Event]", request: Request | None
    ) -> None:
        """Start the next master. `request` is answered when that serves, or does not."""
        problem = ""
        if self._successor is not None:
            problem = "an upgrade is in progress already"
        elif os.name == "nt":
            problem = "this system cannot pass its sockets on"
        elif not estate.listeners:
            problem = "nothing is served yet"
        else:
            try:
                self._successor = Successor(self._launch, estate, events)
            except OSError as error:
                problem = f"the command cannot be started: {error}"
            else:
                self._request = request
                log.info("Upgrading: the new master has pid %d", self._successor.pid)
        if problem:
            log.error("No upgrade: %s", problem)
            if request is not None:
                request.answer(problem, ok=False)

    def end(self, *, ready: bool) -> int:
        """The next master has said that it serves, or has given up; its process id, 0 for none."""
        successor, self._successor = self._successor, None
        request, self._request = self._request, None
        if successor is None:
            return 0
        successor.close()
        if ready:
            text = f"The master with pid {successor.pid} has taken over"
            log.info("%s", text)
        else:
            text = "The upgrade has failed: this master serves on"
            log.error("%s", text)
        if request is not None:
            request.answer(text, ok=ready)
        return successor.pid if ready else 0

    def cancel(self) -> None:
        """All is to end, the next master too."""
        if self._successor is not None:
            self._successor.kill()

    def close(self) -> None:
        """Let go of it."""
        if self._successor is not None:
            self._successor.close()
            self._successor = None
