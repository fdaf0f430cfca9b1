"""Which runtime serves an application: the decision, and its reason in one line.

| | free-threaded build | GIL build, 3.14+ | GIL build, 3.13 |
|---|---|---|---|
| `auto` | threads, as long as the GIL stays off | subinterpreters, else processes | processes |

With a single core there is nothing to spread: `auto` then means threads everywhere.
"""

import sys
from dataclasses import dataclass
from typing import Literal

from nogilserve.apps import FREE_THREADED, gil_is_on
from nogilserve.errors import ConfigError

__all__ = ["Choice", "Facts", "RuntimeName", "choose", "facts_here"]

RuntimeName = Literal["threads", "subinterpreters", "processes"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the decision depends on. Immutable. What is not known yet is assumed to go well."""

    free_threaded: bool
    """How this Python was built."""
    version: tuple[int, int]
    cores: int
    """How many the configuration asks for."""
    gil_on: bool
    """Now; after the application was imported, for the final word."""
    culprits: tuple[str, ...] = ()
    """Modules whose import has switched it on."""
    obstacle: str = ""
    """Why the application cannot live in a subinterpreter, in one line; "" as far as is known."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was decided. Immutable."""

    runtime: RuntimeName
    reason: str
    """For the banner; "" where nothing needs to be said."""


def facts_here(cores: int, culprits: tuple[str, ...] = (), obstacle: str = "") -> Facts:
    """The facts of the running interpreter."""
    version = sys.version_info[:2]
    return Facts(FREE_THREADED, version, cores, gil_is_on(), culprits, obstacle)


def choose(requested: str, facts: Facts) -> Choice:
    """The runtime for `--runtime requested`. Raises ConfigError for one that cannot be had."""
    if requested == "threads":
        slow = facts.gil_on and facts.cores > 1
        return Choice("threads", "with the GIL, Python code uses one core at a time" * slow)
    if requested == "processes":
        return Choice("processes", "as asked for")
    if requested == "subinterpreters":
        if facts.version < (3, 14):
            raise ConfigError(
                "option --runtime: subinterpreters need Python 3.14 or later, this is "
                f"{facts.version[0]}.{facts.version[1]}; processes do the same here"
            )
        return _subinterpreters(facts, "as asked for")
    return _automatic(facts)


def _automatic(facts: Facts) -> Choice:
    if not facts.gil_on:
        return Choice("threads", "")
    if facts.cores == 1:
        return Choice("threads", "")
    if facts.free_threaded:
        return Choice("processes", _why_on(facts.culprits))
    if facts.version < (3, 14):
        return Choice("processes", "this Python has the GIL")
    return _subinterpreters(facts, "this Python has the GIL")


def _subinterpreters(facts: Facts, reason: str) -> Choice:
    if facts.obstacle:
        return Choice("processes", f"subinterpreters will not do: {facts.obstacle}")
    return Choice("subinterpreters", reason)


def _why_on(culprits: tuple[str, ...]) -> str:
    """What switched the GIL on, on a build that can do without."""
    if not culprits:
        return "the GIL is on, by PYTHON_GIL=1 or -X gil=1"
    from nogilserve.apps.origin import origin_of  # for a message

    origin = origin_of(culprits[0])
    return f"{origin.words} switched the GIL on; {origin.advice}"
