"""Doing it, and taking it back."""

import gc
import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from nogilserve.prepare.collecting import FROZEN, Collector
from nogilserve.prepare.deferring import defer
from nogilserve.prepare.immortal import immortalize
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

    def run(
        self, dials: Sequence[Dial], active: Callable[[], int], make_thread: MakeThread
    ) -> None:
        """Do what the plan says. The application is started, and nobody can ask it yet.

        `dials` make a connection to each core; `active` tells how many requests are inside the
        application, any thread.
        """
        plan = self._plan
        if plan.asks:
            self._warm_up(dials)
        if plan.steps:
            self._settle()
        if plan.collecting != "default" and gc.isenabled():
            gc.disable()
            self._switched_off = True
        alone = plan.collecting == "idle"
        whole = "defer" in plan.steps and plan.collecting != "off"
        if alone or whole:
            self._collector = Collector(active, alone=alone, whole=whole)
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

    def _warm_up(self, dials: Sequence[Dial]) -> None:
        from nogilserve.prepare.warmup import warm_up  # an HTTP client: for those that warm up

        began = monotonic()
        answered = warm_up(dials, self._plan.asks)
        _log.info("Warmed up with %d requests in %.2f s", answered, monotonic() - began)

    def _settle(self) -> None:
        began = monotonic()
        gc.collect()
        words = []
        # First: the frame of a generator that is frozen is not searched for references, so what is
        # deferred later could be freed while it is used there.
        if "immortal" in self._plan.steps:
            words.append(f"{immortalize()} immortal")
        if "defer" in self._plan.steps:
            words.append(f"{defer()} deferred")
        if "freeze" in self._plan.steps:
            FROZEN.hold()
            self._holding = True
            words.append(f"{gc.get_freeze_count()} frozen")
        _log.debug("Objects: %s in %.2f s", ", ".join(words), monotonic() - began)
