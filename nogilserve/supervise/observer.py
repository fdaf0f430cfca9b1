"""Answers to questions about one serving process: what it does, where its threads are, what its
objects are. For a generation, a member of one, or a process that serves alone.
"""

import gc
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from nogilserve.apps import gil_is_on
from nogilserve.config import Config
from nogilserve.engine.meter import Inside
from nogilserve.observe.failures import RecentFailures
from nogilserve.observe.pauses import Pauses
from nogilserve.prepare import FROZEN
from nogilserve.runtimes.contract import Runtime
from nogilserve.runtimes.daemon import daemon
from nogilserve.runtimes.watching import READINESS
from nogilserve.stacks import threads, unreadable
from nogilserve.supervise.words import log

# What few ask for is imported when they do.
if TYPE_CHECKING:
    from nogilserve.observe.slow import Slow

__all__ = ["LONGEST_PROFILE", "Observer"]

Answer = dict[str, Any]
"""Plain data that can be added up with others' answers: see `runtimes.sums`."""

LONGEST_PROFILE: Final = 120.0
"""Seconds a profile may take."""
_TASK: Final = 1.0
"""Seconds an event loop may take to say where a task waits."""
_BRIEF: Final = 0.2
"""Seconds for the same while a slow request is watched."""
_MARGIN: Final = 5.0
_TARGET: Final = 500
"""Characters of a target that are logged."""
_END: Final = 1.0
"""Seconds that threads which watch may take to end."""


@runtime_checkable
class _Crew(Protocol):
    """A runtime that consists of others."""

    def inquire(self, question: str, arguments: Mapping[str, Any], seconds: float) -> Answer:
        """What all members answer, added up."""


@runtime_checkable
class _Inside(Protocol):
    """A runtime that runs requests itself."""

    def inside(self) -> list[tuple[int, int, Inside]]:
        """What is inside the application: key, thread, and more."""


@runtime_checkable
class _Tasks(Protocol):
    """A runtime whose requests are tasks."""

    def waiting(self, key: int, seconds: float) -> str:
        """Where a task waits."""


@runtime_checkable
class _Prepared(Protocol):
    """A runtime whose application is in this process."""

    @property
    def prepared(self) -> Mapping[str, Any]:
        """What was done to the application before it was served."""


class _Watch(Protocol):
    """What has a thread of its own."""

    def run(self) -> None:
        """The body of the thread, until `stop`."""

    def stop(self) -> None:
        """End it. Any thread."""


class Observer:
    """Any thread: questions may overlap. What they share says itself how."""

    def __init__(self, runtime: Runtime, config: Config, *, member: bool = False) -> None:
        """`member`: others look after what the whole generation counts."""
        self._runtime = runtime
        self._watches: dict[str, _Watch] = {}
        if config.slow and isinstance(runtime, _Inside):
            from nogilserve.observe.slow import SlowWatch

            self._watches["slow"] = SlowWatch(config.slow, partial(_inside, runtime))
        if config.statsd and not member:
            from nogilserve.config.observing import endpoint
            from nogilserve.observe.statsd import Statsd

            address = endpoint(config.statsd)
            self._watches["statsd"] = Statsd(address, config.statsd_prefix, runtime.look)
        self._threads: list[threading.Thread] = []
        self._failures = RecentFailures()
        self._pauses = Pauses()
        self._questions: dict[str, Callable[[Mapping[str, Any]], Answer]] = {
            "look": self._look,
            "stacks": self._stacks,
            "profile": self._profile,
            "memory": lambda _: _memory(),
            "gc": lambda _: _collect(),
            "log-level": _set_level,
            "readiness": _set_readiness,
        }

    def start(self) -> None:
        """Begin to keep what is asked for later."""
        log.addHandler(self._failures)
        self._pauses.start()
        for name, watch in self._watches.items():
            thread = daemon(watch.run, name)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Keep nothing any more."""
        log.removeHandler(self._failures)
        for watch in self._watches.values():
            watch.stop()
        for thread in self._threads:
            thread.join(_END)
        self._pauses.stop()

    def snapshot(self) -> dict[str, Any]:
        """The counters of the runtime, with what is known of its preparation and of garbage."""
        counters = self._runtime.snapshot()
        if isinstance(self._runtime, _Crew):  # its members have told it all
            return counters
        return counters | {"prepared": self._prepared(), "collections": self._pauses.counted()}

    def answer(self, question: str, arguments: Mapping[str, Any]) -> Answer:
        """The answer; {"error": why} where there is none. Never raises."""
        try:
            asked = self._questions.get(question)
            if asked is None:
                return {"error": f"there is no question {question!r}"}
            runtime = self._runtime
            if isinstance(runtime, _Crew):
                seconds = float(arguments.get("seconds", 0)) + _MARGIN
                found = runtime.inquire(question, arguments, seconds)
                if question == "look":
                    _add_failures(found, self._failures, arguments)
                elif question in ("log-level", "readiness"):
                    asked(arguments)
                return found
            return asked(arguments)
        except Exception as exc:  # whoever asks must not end a server
            log.warning("The question %r could not be answered", question, exc_info=True)
            return {"error": f"{type(exc).__name__}: {exc}"}

    def _look(self, arguments: Mapping[str, Any]) -> Answer:
        found = self._runtime.look()
        found["totals"]["collections"] = self._pauses.counted()
        now = found["now"]
        prepared = self._prepared()
        now["interpreters"] = [
            {
                "pid": os.getpid(),
                "gil": gil_is_on(),
                "python": ".".join(str(part) for part in sys.version_info[:3]),
                "objects": gc.get_count()[0],
                "deferred": prepared.get("deferred", 0),
                "immortal": prepared.get("immortal", 0),
                "frozen": prepared.get("frozen", 0),
                "warmed": prepared.get("warmed", 0),
                "prepare_seconds": prepared.get("longest_seconds", 0.0),
                "gc": "".join(prepared.get("gc", ())),
                "left": "; ".join(prepared.get("left", ())),
            }
        ]
        if arguments.get("deep"):
            now["pauses"] = self._pauses.look(float(arguments.get("pauses_since", 0)))
            _add_failures(found, self._failures, arguments)
        return found

    def _prepared(self) -> Mapping[str, Any]:
        return self._runtime.prepared if isinstance(self._runtime, _Prepared) else {}

    def _stacks(self, arguments: Mapping[str, Any]) -> Answer:
        if arguments.get("task") and isinstance(self._runtime, _Tasks):
            text = self._runtime.waiting(int(arguments["task"]), _TASK)
            return {"tasks": [{"key": arguments["task"], "text": text}] if text else []}
        found = threads()
        if key := arguments.get("thread"):
            found = [thread for thread in found if thread["key"] == key]
        return {"threads": found, "problems": [problem] if (problem := unreadable()) else []}

    def _profile(self, arguments: Mapping[str, Any]) -> Answer:
        from nogilserve.observe.profile import sample

        return sample(min(float(arguments["seconds"]), LONGEST_PROFILE))


def _inside(runtime: _Inside) -> "Iterator[Slow]":
    """What is inside the application, for the watch for slow requests."""
    from nogilserve.observe.slow import Slow

    for key, thread, (request, began, _, request_id, task) in runtime.inside():
        where = None
        if task is not None and isinstance(runtime, _Tasks):
            where = partial(runtime.waiting, key, _BRIEF)
        text = f"{request.method} {request.target[:_TARGET]}"
        yield Slow((key, began), text, request_id, began, thread, where)


def _add_failures(found: Answer, failures: RecentFailures, arguments: Mapping[str, Any]) -> None:
    if arguments.get("deep"):
        now = found.setdefault("now", {})
        own = failures.since(float(arguments.get("since", 0)))
        now["failures"] = [*now.get("failures", ()), *own]


def _memory() -> Answer:
    from nogilserve.observe.memory import by_type

    return by_type()


def _collect() -> Answer:
    began = monotonic()
    freed = FROZEN.collect_all()
    return {"collected": freed, "longest_seconds": monotonic() - began}


def _set_level(arguments: Mapping[str, Any]) -> Answer:
    level = str(arguments["level"]).upper()
    if level not in logging.getLevelNamesMapping():
        return {"error": f"there is no log level {level.lower()!r}"}
    log.setLevel(level)
    return {"processes": 1}


def _set_readiness(arguments: Mapping[str, Any]) -> Answer:
    READINESS.ready = bool(arguments["ready"])
    return {"processes": 1}
