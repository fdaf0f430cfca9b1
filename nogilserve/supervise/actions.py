"""The words of the rules: the states of a generation, and what there is to be done.

Plain data between `states`, which decides, and `master`, which acts.
"""

from enum import StrEnum

from nogilserve.values import Value

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


class Failure(Value):
    """Why a generation did not start. `kind` and the texts make the error for the command."""

    message: str
    kind: str = "app"
    """ "config", "bind", "app", "interrupted": which error of the package it is."""
    detail: str = ""
    """A traceback."""


class Generation:
    """One process, as the rules see it. Owner: the machine."""

    def __init__(
        self,
        number: int,
        reason: str,
        since: float,
        deadline: float | None,
        page: Failure | None,
        *,
        needed: bool,
    ) -> None:
        self.number = number
        self.state = State.STARTING
        self.reason = reason
        """Why it was started, as the end of a sentence."""
        self.since = since
        """When it entered its state."""
        self.deadline = deadline
        self.page = page
        """It shows this failure instead of the application."""
        self.needed = needed
        """It replaces one that died or asked for it: if it fails, another is tried."""
        self.failure: Failure | None = None
        self.unwanted = False
        """Was killed on purpose: how it ends does not matter."""
        self.interrupted = False
        """Was told that its start takes too long."""
        self.killed = False
        """Was sent the signal that ends it."""
        self.stalled = False
        """Does not react: it will be killed, not asked, when the next one serves."""
        self.hurried = False
        """Was told to end its idle connections."""


class Spawn(Value):
    """Start the process of a generation."""

    number: int
    page: Failure | None


class Open(Value):
    """Give it the listening sockets."""

    number: int


class Announce(Value):
    """It serves; `first`: the service has begun."""

    number: int
    first: bool


class Drain(Value):
    """Have it finish what it accepted and end. See `Runtime.drain` for `patient`."""

    number: int
    patient: bool


class Cut(Value):
    """Have it end at once."""

    number: int


class Kill(Value):
    """End it without asking; `gently`: it may clean up, for a moment."""

    number: int
    gently: bool = False


class Say(Value):
    """A line for the log."""

    level: str
    text: str
    detail: str = ""


class End(Value):
    """All is over; `failure` or `signal` say why where it is no orderly end."""

    failure: Failure | None = None
    signal: int = 0
    """The service had not begun when this signal came."""


Action = Spawn | Open | Announce | Drain | Cut | Kill | Say | End


class Rules(Value):
    """From the configuration. Immutable; times in seconds."""

    ready_timeout: float = 120.0
    """0: for ever."""
    graceful_timeout: float = 30.0
    developing: bool = False
    """`--reload`: failures are shown to the browser, and it is not to get an answer of old code on
    an idle connection that it still has."""
