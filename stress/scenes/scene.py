"""What a scene is."""

from collections.abc import Callable
from dataclasses import dataclass

from stress.world import World

__all__ = ["Scene"]


@dataclass(frozen=True)
class Scene:
    """One play. Immutable."""

    name: str
    about: str
    play: Callable[[World], None]
    """Builds the world's actors and runs it. Raises Failure."""
    focus: tuple[str, ...]
    """Beginnings of the names of the points where it is worth being interrupted."""
