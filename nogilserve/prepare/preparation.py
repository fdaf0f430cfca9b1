"""Doing it, and taking it back."""

import gc
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Final

from nogilserve.prepare.collecting import FROZEN, Collector
from nogilserve.prepare.deferring import defer
from nogilserve.prepare.immortal import immortalize
from nogilserve.prepare.lasting import MOST, Lasting
from nogilserve.prepare.plan import NOTHING, Dial, Plan

__all__ = ["MakeThread", "Preparation"]

_log = logging.getLogger("nogilserve")

_END: Final = 10.0
"""Seconds for a collection to end that is going on."""

MakeThread = Callable[[Callable[[], None], str], threading.Thread]
"""Makes a thread of the engine, not started yet: its body and its name."""


class Preparation:
    """What was done for one runtime. Owner: the thread that starts and ends the runtime."""

    def __init__(self, plan: Plan = NOTHING) -> None:
        self._plan = plan
        self._holding = False
        self._switched_off = False
        self._collector: Collector | None = None
        self._thread: threading.Thread | None = None
        self._done: Mapping[str, Any] = {}
        self._abandoned: Callable[[], int] = int

    @property
    def done(self) -> Mapping[str, Any]:
        """What came of it; empty until then. Any thread: it is replaced as a whole.

        "warmed" (requests), "deferred", "immortal" and "frozen" (objects), "longest_seconds";
        "gc": the policy, and "left": what was not done and why, each as {text: 1}, so that what
        several copies of an application tell can be added up (`runtimes.sums.merged`).
        """
        return self._done

    @property
    def abandoned(self) -> int:
        """Requests to warm up that are with the application still, though nobody waits for them.
        Any thread."""
        return self._abandoned()

    def run(
        self, dials: Sequence[Dial], active: Callable[[], int], make_thread: MakeThread
    ) -> None:
        """Do what the plan says. The application is started, and nobody can ask it yet.

        `dials` make a connection to each core; `active` tells how many requests are inside the
        application, any thread.
        """
        plan = self._plan
        began = monotonic()
        done: dict[str, Any] = {}
        left = [*plan.left]
        if plan.asks:
            done["warmed"] = self._warm_up(dials, left)
        if plan.steps:
            done |= self._settle(left)
        if plan.collecting != "default":
            if gc.isenabled():
                gc.disable()
                self._switched_off = True
            else:
                left.append("gc: the application has switched the automatic collection off itself")
        done |= {"longest_seconds": monotonic() - began, "gc": {plan.collecting: 1}}
        self._done = done | {"left": dict.fromkeys(left, 1)}
        if plan.collecting == "idle":
            self._collector = Collector(active)
            self._thread = make_thread(self._collector.run, "collector")
            self._thread.start()

    def undo(self) -> None:
        """The runtime has ended: collect garbage as before. Objects that were deferred stay so,
        and are freed by collections; those that are immortal stay."""
        if self._collector is not None:
            self._collector.stop()
            self._collector = None
        if self._thread is not None:
            self._thread.join(_END)
            self._thread = None
        if self._switched_off:
            self._switched_off = False
            gc.enable()
        if self._holding:
            self._holding = False
            FROZEN.release()

    def _warm_up(self, dials: Sequence[Dial], left: list[str]) -> int:
        """How many requests were answered well."""
        # An HTTP client: for those that warm up.
        from nogilserve.prepare.warmup import Abandoned, warm_up

        began = monotonic()
        abandoned = Abandoned()
        self._abandoned = abandoned.count
        answered = warm_up(dials, self._plan.asks, left, abandoned)
        _log.info("Warmed up with %d requests in %.2f s", answered, monotonic() - began)
        return answered

    def _settle(self, left: list[str]) -> dict[str, int]:
        """How many objects each step concerned."""
        began = monotonic()
        steps = _possible(self._plan.steps, left)
        frozen = gc.get_freeze_count() > 0
        gc.unfreeze()  # by the application: the collector does not show what is frozen
        gc.collect()
        done: dict[str, int] = {}
        lasting = Lasting()
        # First: the frame of a generator that is frozen is not searched for references, so what is
        # deferred later could be freed while it is used there.
        if "immortal" in steps:
            done["immortal"] = immortalize(lasting)
            if not done["immortal"]:
                left.append("immortal: objects of this Python are not laid out as expected")
        if "defer" in steps:
            done["deferred"] = defer(lasting)
        if "freeze" in steps:
            done["frozen"] = FROZEN.hold(sooner=self._plan.sooner)
            self._holding = True
        elif frozen:
            gc.freeze()
        if lasting.with_data:
            left.append(f"data: what there is most of stays as it is: more than {MOST} objects")
        words = ", ".join(f"{number} {what}" for what, number in done.items())
        _log.debug("Objects: %s in %.2f s", words, monotonic() - began)
        return done


def _possible(steps: frozenset[str], left: list[str]) -> frozenset[str]:
    """Those that can be done: some Pythons are built without ctypes."""
    if steps - {"freeze"}:
        try:
            import ctypes  # noqa: F401 - takes memory, which only those pay who need it
        except ImportError as exc:
            left += [f"{step}: {exc}" for step in sorted(steps - {"freeze"})]
            return steps & {"freeze"}
    return steps
