"""One member of a crew as its owner sees it: its states, its failure, what carries it."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, Protocol

from nogilserve.apps import Interface
from nogilserve.errors import AppImportError, ConfigError
from nogilserve.runtimes.channel import Channel
from nogilserve.runtimes.intake import Sender
from nogilserve.runtimes.ledger import Ledger

__all__ = [
    "DRAINING",
    "ENDING",
    "GONE",
    "LOADED",
    "LOADING",
    "SERVING",
    "Failure",
    "Handle",
    "Launch",
    "Post",
    "Watched",
]

LOADING: Final = "loading"
LOADED: Final = "loaded"
SERVING: Final = "serving"
DRAINING: Final = "draining"
ENDING: Final = "ending"
GONE: Final = "gone"


class Failure(Exception):
    """A member could not import the application, or start it. `kind`: "app", "config", "os"."""

    def __init__(self, kind: str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.detail = detail

    def raised(self) -> NoReturn:
        """Raise what the thread runtime would have raised."""
        if self.kind == "config":
            raise ConfigError(self.message)
        if self.kind == "os":
            raise OSError(self.message)
        raise AppImportError(self.message, self.detail)


class Handle(Protocol):
    """What carries a member. Owner: the crew's keeper; `kill` and `name` are for any thread."""

    @property
    def name(self) -> str:
        """For messages: "process 4711"."""

    @property
    def pid(self) -> int:
        """Of the process it runs in."""

    def ended(self, timeout: float = 0) -> str | None:
        """How it ended ("by SIGKILL", "with status 1"); None: it has not, in that many seconds."""

    def kill(self) -> None:
        """End it without asking, as far as that can be done."""


Launch = Callable[[int, Ledger], tuple[Handle, Channel]]
"""Starts member number N; its first message tells it what to be."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A listening socket, and the way from it to each member. Immutable."""

    family: int
    server: tuple[str, str]
    senders: list[Sender]
    intakes: list[socket.socket]
    """Receiving ends, kept for the successors of members."""
    role: str = "tls"

    def close(self) -> None:
        """Close both ends of all ways."""
        for sender in self.senders:
            sender.close()
        for intake in self.intakes:
            intake.close()


@dataclass(slots=True)
class Post:
    """One member and its successors. Fields are under the crew's condition, where not said
    otherwise."""

    index: int
    state: str = GONE
    info: tuple[str, Interface] = ("", "wsgi")
    """Name and interface of the application."""
    failure: Failure | None = None
    answers: dict[str, Any] = field(default_factory=dict)
    awaited: set[str] = field(default_factory=set)
    """Questions that are not answered yet."""
    handle: Handle | None = None
    channel: Channel | None = None
    begun: bool = False
    """It was told to serve while others do: what was handed to the one before waits for it. Keeper
    only."""
    told: bool | None = None
    """Whether it was told to drain with patience; None: it was not told at all. Keeper only."""
    started: float = 0.0
    """When it was launched. Keeper only."""
    deaths: int = 0
    """In quick succession. Keeper only."""
    due: float = 0.0
    """When the next one is to be launched; 0: not at all. Keeper only."""
