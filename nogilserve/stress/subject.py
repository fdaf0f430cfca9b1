"""The process in which the application is put under stress: `python -m nogilserve.stress.subject`.

It serves the application with the engine that serves it in production, on a loopback address, and
obeys the driving process, a line of JSON at a time on its standard input and output. It ends when
its input does.
"""

import base64
import faulthandler
import json
import logging
import os
import pickle
import re
import signal
import sys
import threading
import traceback
from copy import replace
from time import monotonic
from types import ModuleType
from typing import IO, Any, Final

from nogilserve.apps import LoadedApp, gil_is_on, load_app
from nogilserve.apps.loopbound import application_modules
from nogilserve.config import Bind, Config
from nogilserve.errors import AppImportError
from nogilserve.runtimes.build import runtime_here
from nogilserve.runtimes.contract import Runtime
from nogilserve.sockets import open_listeners
from nogilserve.stacks import stacks
from nogilserve.stress.pauses import Pauses
from nogilserve.stress.stage import Stage, StagedAsgi, StagedWsgi, Witness

__all__ = ["main"]

_SWITCH: Final = 1e-5
"""Seconds between forced thread switches where there is a GIL."""
_LONG: Final = 3600.0
_STAGE: Final = os.path.join("nogilserve", "stress", "stage.py")
_GOODBYE: Final = 2.0


def main() -> int:
    """Load, serve, obey. The exit status is of no interest."""
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells both; the other one decides
    orders, answers = _own_channel()
    request = json.loads(orders.readline())
    config: Config = pickle.loads(base64.b64decode(request["config"]))
    logging.getLogger("nogilserve").setLevel(logging.ERROR)
    logging.getLogger().addHandler(Witness())
    try:
        loaded = load_app(
            config.app, factory=config.factory, app_dir=config.app_dir, interface=config.interface
        )
        stage, pauses, runtime = _prepare(config, loaded, request["packages"])
        listeners = open_listeners([Bind("tcp", "127.0.0.1", 0)], 128)
        runtime.start(listeners)
    except AppImportError as error:
        _say(answers, {"failed": str(error), "detail": error.detail})
        return 1
    if gil_is_on():
        sys.setswitchinterval(_SWITCH)
    _say(
        answers,
        {
            "port": int(listeners[0].server[1]),
            "app": loaded.name,
            "interface": loaded.interface,
            "how": runtime.served.how,
            "gil": gil_is_on(),
            "gil_enabled_by": list(loaded.gil_enabled_by),
        },
    )
    while line := orders.readline():
        _say(answers, _obey(json.loads(line), stage, pauses))
    for listener in listeners:
        listener.close()
    runtime.drain()
    runtime.join(monotonic() + _GOODBYE)
    sys.stderr.flush()
    os._exit(0)  # threads of the application, or stuck ones, are not waited for


def _own_channel() -> tuple[IO[str], IO[str]]:
    """Standard input and output, which the application does not get: it may print and read."""
    orders = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return orders, answers


def _prepare(
    config: Config, loaded: LoadedApp, packages: list[str]
) -> tuple[Stage, Pauses, Runtime]:
    """Put the stage before the application; nothing is started yet."""
    name = loaded.name.partition(":")[0]

    def modules() -> list[ModuleType]:
        known: list[tuple[str, Any]] = list(sys.modules.items())
        chosen = [module for name, module in known if _within(name, module, packages)]
        return [*application_modules(name), *chosen]

    pauses = Pauses(modules)
    pauses.start()
    stage = Stage(pauses.files)
    staged = (StagedAsgi if loaded.interface == "asgi" else StagedWsgi)(loaded.app, stage)
    settings = replace(
        config,
        runtime="threads",
        keep_alive=_LONG,
        timeout=0.0,
        timeout_routes=(),
        blocked_loop_timeout=0.0,
        limit_concurrency=0,
        limit_connections=0,
        limit_connections_per_address=0,
        proxy_protocol="off",
    )
    return stage, pauses, runtime_here(settings, replace(loaded, app=staged), None)


def _within(name: str, module: object, packages: list[str]) -> bool:
    return issubclass(type(module), ModuleType) and any(
        name == package or name.startswith(f"{package}.") for package in packages
    )


def _obey(order: dict[str, Any], stage: Stage, pauses: Pauses) -> dict[str, Any]:
    """Carry out an order; the answer."""
    what = order["do"]
    if what == "leave":
        return {"turns": [turn.plain(order["detail"]) for turn in stage.leave(order["burst"])]}
    if what == "places":
        return {"places": pauses.places}
    if what == "held":
        return {"held": stage.held}
    if what == "let go":
        stage.let_go()
        return {}
    if what == "stacks":
        return {"stacks": _stacks(stage)}
    assert what == "threads", what
    return {
        "names": [thread.name for thread in threading.enumerate()],
        "numbers": [
            number
            for thread in threading.enumerate()
            for number in (thread.ident, thread.native_id)
        ],
    }


def _stacks(stage: Stage) -> list[list[Any]]:
    """The stack of every thread but this one: its name, and its frames as traceback has them. Of
    threads that run requests only the application's part. Then the tasks that wait."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    own = threading.get_ident()
    found: list[list[Any]] = []
    for ident, stack in stacks().items():
        if ident != own:
            frames = traceback.format_list(
                [traceback.FrameSummary(file, line, name) for file, line, name in stack]
            )
            found.append([names.get(ident, str(ident)), _behind_stage(frames)])
    for index, text in stage.waiting():
        frames = re.split(r"^(?=  File )", text, flags=re.MULTILINE)
        found.append([f"task of request {index}", _behind_stage(frames)])
    return found


def _behind_stage(frames: list[str]) -> list[str]:
    """The application's part of a stack, all of it if it has none."""
    calls = [number for number, text in enumerate(frames) if _STAGE in text]
    return frames[calls[-1] + 1 if calls else 0 :]


def _say(answers: IO[str], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
