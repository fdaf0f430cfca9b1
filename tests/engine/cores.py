"""Several cores that share what the cores of a runtime share."""

import socket
import threading
from dataclasses import dataclass

from nogilserve.engine.core import Core
from nogilserve.engine.scheduler import Spares
from nogilserve.engine.settings import Settings
from nogilserve.engine.shares import Shares
from nogilserve.messages import Exchange

__all__ = ["Listening", "make_cores"]


@dataclass(frozen=True)
class Listening:
    """A listening socket as the acceptors want it."""

    socket: socket.socket
    server: tuple[str, str] = ("localhost", "80")
    role: str = "tls"


def who(exchange: Exchange) -> None:
    """Says what the application is told about the two ends."""
    exchange.prepare("200 OK", [])
    exchange.send_whole(repr((exchange.client, exchange.server)).encode())


def make_cores(count: int, poller: str = "auto") -> list[Core]:
    """That many cores of one engine; nobody drives them."""
    settings = Settings(threads=count, cores=count, gateway=lambda: who, poller=poller)
    shares, spares, lazy = Shares(count), Spares(), threading.Semaphore(1)
    return [Core(n, settings, shares, spares, lazy, lambda: None) for n in range(count)]
