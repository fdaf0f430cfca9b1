"""What is to be prepared: plain values, made from the configuration by the runtime."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["NOTHING", "STEPS", "Ask", "Dial", "Plan"]

Dial = Callable[[], socket.socket]
"""Makes a connection to one core; the client's end of it."""

STEPS: Final = ("freeze", "defer", "immortal")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that warms up. Immutable."""

    host: str
    path: str

    def __str__(self) -> str:
        return f"GET {self.path}" if self.host == "localhost" else f"GET {self.host}{self.path}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Immutable."""

    steps: frozenset[str] = frozenset()
    """Of STEPS."""
    asks: tuple[Ask, ...] = ()
    collecting: str = "default"
    """When garbage is collected while serving: "default", "idle" or "off"."""
    sooner: bool = False
    """Whether collections by default come sooner where what is there now is frozen."""
    left: tuple[str, ...] = ()
    """Steps that are not done, each with the reason."""


NOTHING: Final = Plan()
