"""The thread runtime on a real socket, started and ended by the test."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any, Self

from nogilserve.engine.settings import Settings
from nogilserve.messages import Exchange
from nogilserve.runtimes import contract
from nogilserve.runtimes.threads import ThreadRuntime
from tests.support.wire import Client

__all__ = ["SECONDS", "Served", "echo_target", "reply"]

SECONDS = 10.0
"""What any single step may take before a test fails."""


def reply(exchange: Exchange, body: bytes) -> None:
    """What most applications do."""
    exchange.prepare("200 OK", [])
    exchange.send_whole(body)


def echo_target(exchange: Exchange) -> None:
    """The response names the request it belongs to."""
    reply(exchange, exchange.request.target.encode())


@dataclass(frozen=True)
class Listening:
    """A listening socket as the runtime wants it."""

    socket: socket.socket
    server: tuple[str, str]
    role: str = "tls"


class Served:
    """A running runtime. Owner: the test. Leaving it drains and insists that all came to an end."""

    def __init__(
        self,
        application: Callable[[Exchange], None],
        *,
        threads: int,
        cores: int = 1,
        poller: str = "auto",
        **settings: Any,
    ) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.listener.setblocking(False)
        self.address: tuple[str, int] = self.listener.getsockname()
        host, port = self.address
        made = Settings(
            threads=threads,
            cores=min(cores, threads),
            gateway=lambda: application,
            poller=poller,
            **settings,
        )
        self.runtime = ThreadRuntime(made, contract.Served("test", "wsgi", "runtime threads"))
        self.ended = False
        self.runtime.start([Listening(self.listener, (host, str(port)))])

    def connect(self) -> Client:
        """A new client."""
        return Client(self.address, SECONDS)

    def stop(self, seconds: float = SECONDS) -> bool:
        """Drain, and wait for the end. False: it did not come in that time."""
        self.runtime.drain()
        self.ended = self.runtime.join(monotonic() + seconds)
        return self.ended

    def counters(self) -> dict[str, Any]:
        """Those of all cores."""
        return self.runtime.snapshot()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if not self.ended and not self.stop():
                self.runtime.dump_stacks()
                if kind is None:
                    raise AssertionError("the runtime did not come to an end")
        finally:
            self.listener.close()
