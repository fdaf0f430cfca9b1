"""How connections are spread over cores, or over event loops."""

import threading

__all__ = ["Shares"]


class Shares:
    """How many connections each core has, so that a new one goes where the fewest are.

    Any thread. The lock is taken once per connection opened or closed, never per request.
    """

    def __init__(self, cores: int) -> None:
        self._lock = threading.Lock()
        self._open = [0] * cores

    def assign(self, here: int, avoid: frozenset[int] = frozenset()) -> int:
        """The core for a new connection, counted from now on: `here` if no other has fewer, but
        none of `avoid` unless that is all of them."""
        with self._lock:
            opened = self._open
            if avoid and len(avoid) < len(opened):
                target = min(
                    (index for index in range(len(opened)) if index not in avoid),
                    key=opened.__getitem__,
                )
            else:
                fewest = min(opened)
                target = here if opened[here] == fewest else opened.index(fewest)
            self._open[target] += 1
        return target

    def take(self, core: int) -> None:
        """A connection for that core, whatever the others have."""
        with self._lock:
            self._open[core] += 1

    def release(self, core: int) -> None:
        """A connection of that core is closed."""
        with self._lock:
            self._open[core] -= 1

    def counts(self) -> tuple[int, ...]:
        """Connections per core."""
        with self._lock:
            return tuple(self._open)
