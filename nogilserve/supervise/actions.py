"""The words of the rules: the states of a generation, and what there is to be done.

Plain data between `states`, which decides, and `master`, which acts.
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "Action",
    "Announce",
    "Cut",
    "Drain",
    "End",
    "Failure",
    "Generation",
    "Kill",
    "Open",
    "Rules",
    "Say",
    "Spawn",
    "State",
]


class State(StrEnum):
    """Of one generation."""

    STARTING = "starting"
    """It imports the application."""
    OPENING = "opening"
    """It was given the listening sockets, and may accept at any moment."""
    SERVING = "serving"
    DRAINING = "draining"
    """It finishes what it accepted, or was killed and is not gone yet."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a generation did not start. `kind` and the texts make the error for the command."""

    message: str
    kind: str = "app"
    """ "config", "bind", "app", "interrupted": which error of the package it is."""
    detail: str = ""
    """A traceback."""


@dataclass(slots=True)
class Generation:
    """One process, as the rules see it. Owner: the machine."""

    number: int
    state: State
    reason: str
    """Why it was started, as the end of a sentence."""
    since: float
    """When it entered its state."""
    deadline: float | None
    page: Failure | None = None
    """It shows this failure instead of the application."""
    needed: bool = False
    """It replaces one that died or asked for it: if it fails, another is tried."""
    failure: Failure | None = None
    unwanted: bool = False
    """Was killed on purpose: how it ends does not matter."""
    interrupted: bool = False
    """Was told that its start takes too long."""
    killed: bool = False
    """Was sent the signal that ends it."""
    stalled: bool = False
    """Does not react: it will be killed, not asked, when the next one serves."""
    hurried: bool = False
    """Was told to end its idle connections."""


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the process of a generation."""

    number: int
    page: Failure | None


@dataclass(frozen=True, slots=True)
class Open:
    """Give it the listening sockets."""

    number: int


@dataclass(frozen=True, slots=True)
class Announce:
    """It serves; `first`: the service has begun."""

    number: int
    first: bool


@dataclass(frozen=True, slots=True)
class Drain:
    """Have it finish what it accepted and end. See `Runtime.drain` for `patient`."""

    number: int
    patient: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """Have it end at once."""

    number: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End it without asking; `gently`: it may clean up, for a moment."""

    number: int
    gently: bool = False


@dataclass(frozen=True, slots=True)
class Say:
    """A line for the log."""

    level: str
    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """All is over; `failure` or `signal` say why where it is no orderly end."""

    failure: Failure | None = None
    signal: int = 0
    """The service had not begun when this signal came."""


Action = Spawn | Open | Announce | Drain | Cut | Kill | Say | End


@dataclass(frozen=True, slots=True)
class Rules:
    """From the configuration. Immutable; times in seconds."""

    ready_timeout: float = 120.0
    """0: for ever."""
    graceful_timeout: float = 30.0
    developing: bool = False
    """`--reload`: failures are shown to the browser, and it is not to get an answer of old code on
    an idle connection that it still has."""
