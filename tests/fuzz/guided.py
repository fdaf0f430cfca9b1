"""A small fuzzer that follows coverage: what reaches a line or a branch for the first time is kept
and changed further. Runs on any interpreter from 3.13 on, with the GIL and without."""

import random
import sys
from collections.abc import Callable, Iterable
from time import monotonic
from types import CodeType, TracebackType
from typing import Any, Final, Self

__all__ = ["Coverage", "Fuzzer"]

_TOOL: Final = 4
"""A tool id that no well-known tool has."""
_OURS: Final = ("nogilserve/protocols/", "nogilserve\\protocols\\", "wsproto")


class Coverage:
    """Lines and branches of our protocols that were reached. Owner: one thread, one at a time."""

    def __init__(self) -> None:
        self.reached: set[tuple[CodeType, int, int]] = set()

    def _is_ours(self, code: CodeType) -> bool:
        return any(part in code.co_filename for part in _OURS)

    def _line(self, code: CodeType, line: int) -> Any:
        if self._is_ours(code):
            self.reached.add((code, line, -1))
        return sys.monitoring.DISABLE  # each place costs once

    def _branch(self, code: CodeType, here: int, there: int) -> Any:
        if self._is_ours(code):
            self.reached.add((code, here, there))
        return sys.monitoring.DISABLE

    def __enter__(self) -> Self:
        monitoring = sys.monitoring
        monitoring.use_tool_id(_TOOL, "nogilserve fuzzing")
        events = monitoring.events
        self._events: list[tuple[int, Callable[..., Any]]] = [(events.LINE, self._line)]
        for name in ("BRANCH_LEFT", "BRANCH_RIGHT"):  # from 3.14 on
            if hasattr(events, name):
                self._events.append((getattr(events, name), self._branch))
        for event, callback in self._events:
            monitoring.register_callback(_TOOL, event, callback)
        monitoring.set_events(_TOOL, sum(event for event, _ in self._events))
        monitoring.restart_events()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.monitoring.set_events(_TOOL, 0)
        for event, _ in self._events:
            sys.monitoring.register_callback(_TOOL, event, None)
        sys.monitoring.free_tool_id(_TOOL)


class Fuzzer:
    """Changes inputs and keeps those that reach further. Owner: one thread."""

    def __init__(self, target: Callable[[bytes], None], seeds: Iterable[bytes], seed: str) -> None:
        self._target = target
        self._dice = random.Random(seed)
        self.pool = list(dict.fromkeys(seeds)) or [b""]
        self._pieces = _pieces(self.pool)
        self.kept: list[bytes] = []
        """Inputs that reached what none of the seeds did."""
        self.runs = 0

    def run(self, seconds: float) -> bytes | None:
        """Try inputs for that long; one that breaks a rule, if any. What it raised is chained to
        the next call of the target with it."""
        with Coverage() as coverage:
            until = monotonic() + seconds
            for data in self.pool:
                if not self._try(data):
                    return data
            reached = len(coverage.reached)
            while monotonic() < until:
                for _ in range(50):
                    data = self._change(self._dice.choice(self.pool))
                    if not self._try(data):
                        return data
                    if len(coverage.reached) > reached:
                        reached = len(coverage.reached)
                        self.pool.append(data)
                        self.kept.append(data)
        return None

    def _try(self, data: bytes) -> bool:
        self.runs += 1
        try:
            self._target(data)
        except Exception:
            return False
        return True

    def _change(self, data: bytes) -> bytes:
        dice = self._dice
        for _ in range(dice.choice((1, 1, 1, 2, 3, 6))):
            at = dice.randint(0, len(data))
            way = dice.randrange(7)
            if way == 0 and data:
                at %= len(data)
                data = data[:at] + bytes((data[at] ^ 1 << dice.randrange(8),)) + data[at + 1 :]
            elif way == 1:
                data = data[:at] + dice.choice(self._pieces) + data[at:]
            elif way == 2:
                data = data[:at] + data[at + dice.randint(1, 8) :]
            elif way == 3:
                data = data[:at] + bytes((dice.randrange(256),)) + data[at + 1 :]
            elif way == 4:
                end = at + dice.randint(1, 40)
                data = data[:end] + data[at:end] + data[end:]
            elif way == 5:
                other = dice.choice(self.pool)
                data = data[:at] + other[dice.randint(0, len(other)) :]
            else:
                data = data[:at] + dice.choice(self._pieces) + data[at + dice.randint(0, 4) :]
        return data[:4096]


def _pieces(pool: Iterable[bytes]) -> list[bytes]:
    """What inputs are made of: their lines and words, and some numbers."""
    found: dict[bytes, None] = {}
    for data in pool:
        for line in data.splitlines(keepends=True):
            if len(line) < 60:
                found[line] = None
            for word in line.replace(b":", b" ").replace(b",", b" ").replace(b"=", b" ").split():
                found[word[:40]] = None
    for extra in (
        b"\r\n",
        b"\r\n\r\n",
        b"\0",
        b"\xff",
        b"0",
        b"7fffffff",
        b"99999999999",
        b'"',
        b"\\",
    ):
        found[extra] = None
    return list(found)
