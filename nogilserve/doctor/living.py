"""In the doctor's child process: what serving does to an application between import and the first
request. Its lifespan is started and ended, and in between it is prepared (`--prepare`).
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, cast

from nogilserve.apps import FREE_THREADED, LoadedApp, gil_is_on, gil_watch
from nogilserve.gateways.asgi.lifespan import Lifespan, Mode, StartupFailed
from nogilserve.prepare import Plan, Preparation
from nogilserve.runtimes.daemon import daemon
from nogilserve.runtimes.preparing import steps_of

__all__ = ["live", "prepare"]


def live(
    loaded: LoadedApp, mode: str, started: Callable[[Mapping[str, Any] | None, list[str]], None]
) -> str:
    """Start the application, call `started`, and shut it down; why it did not start, "" if it did.

    `started` gets what the lifespan left for requests, None where the application has no lifespan,
    and the extension modules that switched the GIL on meanwhile.
    """
    problems: list[str] = []

    def body() -> None:
        try:
            asyncio.run(_live(loaded, cast(Mode, mode), started))
        except StartupFailed as exc:
            problems.append(str(exc))
        except BaseException as exc:  # SystemExit, too: it must not be taken for success
            problems.append(f"{type(exc).__name__}: {exc}")

    # As when it is served: not in the main thread, where signal handlers could be set.
    thread = daemon(body, "loop-0")
    thread.start()
    thread.join()
    return problems[0] if problems else ""


async def _live(
    loaded: LoadedApp, mode: Mode, started: Callable[[Mapping[str, Any] | None, list[str]], None]
) -> None:
    lifespan = Lifespan(loaded.app, loaded.name, mode)
    with gil_watch() as culprits:
        await lifespan.startup()
    started(lifespan.state if lifespan.supported else None, culprits)
    await lifespan.shutdown()


def prepare(text: str) -> dict[str, Any]:
    """Do what `--prepare` with that text does, and tell what came of it."""
    steps, left = steps_of(text, free_threaded=FREE_THREADED, gil=gil_is_on())
    began = monotonic()
    # No collection meanwhile: there is no server that would make them when it is idle.
    preparation = Preparation(Plan(steps, collecting="off", left=left))
    preparation.run((), int, _no_thread)
    preparation.undo()
    done = preparation.done
    return {
        "steps": sorted(steps),
        "objects": {
            name: done[name] for name in ("deferred", "immortal", "frozen") if name in done
        },
        "seconds": round(monotonic() - began, 3),
        "left": [*done["left"]],
    }


def _no_thread(_body: Callable[[], None], _name: str) -> threading.Thread:
    raise AssertionError("nothing is collected by a thread here")
