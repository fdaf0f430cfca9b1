"""What every runtime offers to the life of the process, whatever it is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from nogilserve.apps import Interface
from nogilserve.engine.roles import ListeningSocket
from nogilserve.runtimes.choose import RuntimeName

__all__ = ["Adjustable", "HoldsLogs", "Runtime", "Served", "because", "quantity"]


@dataclass(frozen=True, slots=True)
class Served:
    """What is served, in words for the banner. Immutable."""

    name: str
    """Of the application, "module:attribute"."""
    interface: Interface
    how: str
    """The runtime in words: "runtime threads, 16 threads on 2 cores"."""
    gil_enabled_by: tuple[str, ...] = ()
    """Extension modules that switched the GIL on when the application was imported."""
    runtime: RuntimeName = "threads"
    """What carries the cores."""


class Runtime(Protocol):
    """An application that is imported, and what it takes to serve it.

    Owner: the thread that made it, the main one; `snapshot`, `look`, `unfinished`, `running` and
    `dump_stacks` are for any thread.
    """

    @property
    def served(self) -> Served:
        """What is served and how."""

    def start(self, listeners: Sequence[ListeningSocket]) -> None:
        """Begin to accept. Raises ConfigError, OSError, and AppImportError for an application
        that does not start (lifespan); then nothing was accepted."""

    def accept(self, listeners: Sequence[ListeningSocket]) -> None:
        """After `start`: watch these listening sockets too."""

    def drain(self, on_stopped: Callable[[], None] = ..., *, patient: bool = False) -> None:
        """Stop accepting; idle connections end, the others after their response. See `join`.

        `join` calls `on_stopped` as soon as nothing watches the listening sockets any more.
        With `patient`, for when another process serves on: an idle connection may ask once more
        (the answer says `Connection: close`) until its keep-alive time is over, because ending it
        at the very moment the client asks would lose that request. A later `drain` without it
        ends them; its `on_stopped` does not count.
        """

    def join(self, deadline: float) -> bool:
        """After `drain`: wait until everything is done, at most until `deadline` (monotonic
        seconds). False: it is not yet; call again."""

    def abandon(self) -> None:
        """End what is left at once, as far as that can be done without ending this process,
        which does so next. No call but `snapshot` follows."""

    @property
    def accepting(self) -> bool:
        """Whether something still watches the listening sockets."""

    def snapshot(self) -> dict[str, Any]:
        """The counters, summed up."""

    def look(self) -> dict[str, Any]:
        """What it does now, in detail: "totals" of what only grows, and "now"."""

    def unfinished(self) -> int:
        """Connections that are still open."""

    def running(self) -> list[str]:
        """The requests inside the application, "GET /path" each."""

    def dump_stacks(self) -> None:
        """Write the stacks of all threads to standard error."""


@runtime_checkable
class Adjustable(Protocol):
    """A runtime whose number of threads can be changed while it serves."""

    def change_threads(self, change: int) -> int:
        """Add that many threads, or let some go; how many there are now."""


@runtime_checkable
class HoldsLogs(Protocol):
    """A runtime whose members write the access log themselves."""

    def reopen_logs(self) -> None:
        """Have them open its file anew."""


def quantity(number: int, what: str) -> str:
    """ "1 thread", "2 threads"."""
    return f"{number} {what}{'s' * (number != 1)}"


def because(how: str, reason: str) -> str:
    """A runtime in words, with the reason for it if there is one."""
    return f"{how} ({reason})" if reason else how
