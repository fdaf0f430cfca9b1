"""Reports of slow requests: what the thread of each was doing while it was slow, looked at again
and again, and told once, when it is over.

Nothing is noted per request: the watch looks at what is inside the application, now and then.
"""

import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from nogilserve.stacks import Stack, stacks

__all__ = ["Slow", "SlowWatch"]

_log = logging.getLogger("nogilserve.slow")

_PARTS: Final = 5
"""Looks in the time from which on a request is slow."""
_SHORTEST: Final = 0.02
_LONGEST: Final = 1.0
_SAMPLES: Final = 200
"""Looks at one request; from then on it is only waited for."""
_AT_ONCE: Final = 20
"""Slow requests that are looked at in one go, the slowest."""
_SHOWN: Final = 3
"""Different places that a report shows, the most frequent ones."""
_ENTRY: Final = re.compile(r"(?m)^(?=  File )")
_OWN: Final = re.compile(r"/nogilserve/(engine|gateways)/")
_DEEPEST: Final = 12
"""Calls of each, the innermost ones."""


@dataclass(frozen=True, slots=True)
class Slow:
    """A request inside the application. Immutable."""

    key: tuple[int, float]
    """No other request has it."""
    text: str
    """ "GET /path"."""
    request_id: str
    began: float
    """Monotonic."""
    thread: int
    """Identifier of the thread it runs in, or whose event loop its task runs on."""
    where: Callable[[], str] | None = None
    """Where the task waits, as a traceback shows it; "" where its loop does not say: it is
    blocked."""


@dataclass(slots=True)
class _Seen:
    slow: Slow
    looks: int = 0
    places: Counter[str] = field(default_factory=Counter)
    seen: float = 0.0


class SlowWatch:
    """Owner: its own thread runs `run`; `stop` is for any thread."""

    def __init__(self, seconds: float, inside: Callable[[], Iterable[Slow]]) -> None:
        """`seconds` from which on a request is slow; `inside` gives what is in the application."""
        self._seconds = seconds
        self._inside = inside
        self._pause = min(max(seconds / _PARTS, _SHORTEST), _LONGEST)
        self._known: dict[tuple[int, float], _Seen] = {}
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End `run`."""
        self._stopping.set()

    def run(self) -> None:
        """Look, until `stop`."""
        while not self._stopping.wait(self._pause):
            try:
                self.look(monotonic())
            except Exception:  # whoever watches must not end a server, nor itself
                _log.critical("internal error in the watch for slow requests", exc_info=True)

    def look(self, now: float) -> None:
        """One look."""
        late = [slow for slow in self._inside() if now - slow.began >= self._seconds]
        late.sort(key=lambda slow: slow.began)
        present = {slow.key for slow in late}
        for key in [key for key in self._known if key not in present]:
            self._report(self._known.pop(key))
        looked = late[:_AT_ONCE]
        found = stacks() if looked else {}
        for slow in looked:
            seen = self._known.setdefault(slow.key, _Seen(slow))
            seen.seen = now
            if seen.looks < _SAMPLES:
                text = _outside(slow.where()) if slow.where is not None else ""
                text = text or _shown(found.get(slow.thread, []))
                seen.looks += 1
                if text:
                    seen.places[text] += 1

    def _report(self, seen: _Seen) -> None:
        slow = seen.slow
        name = f"[{slow.request_id}] " if slow.request_id else ""
        parts = [
            f"  in {count} of {seen.looks} looks at\n{text}"
            for text, count in seen.places.most_common(_SHOWN)
        ]
        more = len(seen.places) - _SHOWN
        if more > 0:
            parts.append(f"  and {more} other places")
        _log.warning(
            "%s%s was inside the application for %.1f s:\n%s",
            name,
            slow.text,
            seen.seen - slow.began,
            "\n".join(parts) or "  (it is not known where)",
        )


def _shown(stack: Stack) -> str:
    """The innermost calls, without those of the server around the application."""
    return "\n".join(
        f'    File "{file}", line {line}, in {function}'
        for file, line, function in _within(stack)[-_DEEPEST:]
    )


def _outside(text: str) -> str:
    """A traceback without the server's own coroutines."""
    parts = _ENTRY.split(text.replace("\\", "/"))
    return "".join(part for part in parts if not _OWN.search(part)).rstrip()


def _within(stack: Sequence[tuple[str, int, str]]) -> list[tuple[str, int, str]]:
    own = [
        index
        for index, (file, _, _) in enumerate(stack)
        if "/nogilserve/gateways/" in file.replace("\\", "/")
    ]
    return list(stack[own[-1] + 1 :] if own else stack)
