"""The body of the admin process: serves the admin address, and asks the master."""

import itertools
import os
import queue
import signal
import socket
import sys
import threading
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from nogilserve.sockets import Listener
from nogilserve.supervise.admin.backend import Answer
from nogilserve.supervise.admin.serving import Serving
from nogilserve.supervise.channel import Channel
from nogilserve.supervise.interrupts import MASTERS, STOPPING, leave_to_master
from nogilserve.supervise.words import configure_logging

__all__ = ["Master", "main"]


class Master:
    """The master as this process sees it. `ask` is for any thread, `run` for the main one.

    An answer finds its question by number; single operations of the dictionary are atomic.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, queue.SimpleQueue[Answer]] = {}

    def ask(
        self, command: str, arguments: Mapping[str, Any] | None = None, seconds: float = 10.0
    ) -> Answer:
        """Give the master a command."""
        with self._lock:
            number = next(self._numbers)
        answer: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._waiting[number] = answer
        try:
            sent = self._channel.send(
                "ask", id=number, command=command, arguments=dict(arguments or {})
            )
            if not sent:
                return {"ok": False, "text": "the master is gone"}
            return answer.get(timeout=seconds)
        except queue.Empty:
            return {"ok": False, "text": f"no answer within {seconds:g} s"}
        finally:
            del self._waiting[number]

    def run(self) -> None:
        """Pass answers on until the master is gone."""
        while (message := self._channel.receive()) is not None:
            if message["name"] == "end":
                return
            waiting = self._waiting.get(message.get("id", 0))
            if message["name"] == "answer" and waiting is not None:
                waiting.put(message["answer"])


def main() -> int:
    """`python -c … ROOT CHANNEL`: the exit status."""
    end = sys.argv[2]
    if end == "stdin":  # Windows
        fromshare: Any = getattr(socket, "fromshare")  # noqa: B009
        sock: socket.socket = fromshare(b64decode(sys.stdin.buffer.readline()))
    else:
        sock = socket.socket(fileno=int(end))
        sock.set_inheritable(False)
    leave_to_master(*STOPPING, *MASTERS)
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(sock)
    try:
        spec = channel.receive()
        if spec is None:
            return 0
        configure_logging(spec["log_level"], form=spec["log_format"])
        sockets, channel.sockets = channel.sockets, []
        listeners = []
        for sock, place in zip(sockets, spec["listeners"], strict=True):
            sock.setblocking(False)
            name, port = place["server"]
            listeners.append(Listener(sock, place["label"], (name, port), inherited=True))
        master = Master(channel)
        serving = Serving(master, spec["token"], listeners, loopback=spec["loopback"])
        master.run()
        for listener in listeners:
            listener.close()
        if not serving.close():
            os._exit(0)
    finally:
        channel.close()
    return 0
