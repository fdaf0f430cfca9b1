"""Who waits for what: requests of the control socket that are answered later."""

from typing import Any

from nogilserve.supervise.child import Child
from nogilserve.supervise.control import Request
from nogilserve.supervise.states import Machine

__all__ = ["Desk", "report"]


class Desk:
    """Reloads whose generation has not taken over yet. Owner: the main thread of the master."""

    def __init__(self) -> None:
        self._pending: list[tuple[int, Request]] = []
        self._taken_over = 1
        self._failed = (0, "")
        """The last one that will not take over, and why."""

    def wait_for(self, number: int, request: Request) -> None:
        """Answer when that generation, or a later one, has taken over, or has failed: now, where
        its process could not even be started."""
        if number == self._failed[0]:
            request.answer(self._failed[1], ok=False)
        else:
            self._pending.append((number, request))

    def taken_over(self, current: int) -> str:
        """What to say when nobody but `current` accepts; "" if it was said before."""
        if current <= self._taken_over:
            return ""
        self._taken_over = current
        text = f"Generation {current} has taken over"
        for number, request in self._pending.copy():
            if number <= current:
                self._pending.remove((number, request))
                request.answer(text)
        return text

    def failed(self, failed: int, text: str) -> None:
        """That generation will not take over."""
        self._failed = (failed, text)
        for number, request in self._pending.copy():
            if number == failed:
                self._pending.remove((number, request))
                request.answer(text, ok=False)


def report(machine: Machine, children: dict[int, Child], now: float) -> list[dict[str, Any]]:
    """How every generation is, as plain data."""
    return [
        {
            **children[generation.number].board.read(),
            "number": generation.number,
            "state": str(generation.state),
            "seconds": now - generation.since,
            "pid": children[generation.number].pid,
        }
        for generation in machine.generations.values()
        if generation.number in children
    ]
