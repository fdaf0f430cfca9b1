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
from collections.abc import Sequence
from typing import Any, Final

from nogilserve.sockets import Listener
from nogilserve.supervise.channel import Channel
from nogilserve.supervise.child import Event

__all__ = ["VARIABLE", "Inheritance", "Successor"]

VARIABLE: Final = "_NOGILSERVE_HANDOVER"

Held = list[tuple[str, Listener]]
"""Listeners, each with the address it was opened for, as it is written."""


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
    return Listener(sock, item["label"], (name, port), file, inherited=item["inherited"])


class Successor:
    """The process of the next master. Owner: the main thread; its thread only fills the queue."""

    def __init__(
        self,
        command: Sequence[str],
        directory: str,
        environment: dict[str, str],
        held: Held,
        events: "queue.SimpleQueue[Event]",
    ) -> None:
        """Start it. Raises OSError."""
        self._events = events
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        fds = [theirs.fileno(), *(listener.fileno() for _, listener in held)]
        data = {
            "channel": theirs.fileno(),
            "sockets": [
                {
                    "bind": bind,
                    "fd": listener.fileno(),
                    "label": listener.label,
                    "server": listener.server,
                    "file": listener.file,
                    "inherited": listener.inherited,
                }
                for bind, listener in held
            ],
        }
        try:
            for fd in fds:
                os.set_inheritable(fd, True)
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env={**environment, VARIABLE: json.dumps(data)},
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
