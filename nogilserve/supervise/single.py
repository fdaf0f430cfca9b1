"""One process that serves by itself: start, wait for signals, stop.

    STARTING ──ready──▶ SERVING ──TERM or INT──▶ DRAINING ──all answered, or deadline──▶ (exit)
                                                     └──a second signal──▶ (exit at once)

Signals only put a command on a queue; everything is done by the main thread, the owner of all this.
"""

import os
import queue
import signal
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic
from types import FrameType
from typing import Any, Final

from nogilserve.apps import FREE_THREADED, gil_is_on, gil_watch
from nogilserve.config import Bind, Config
from nogilserve.observe.accesslog import AccessLog
from nogilserve.runtimes.build import load_runtime
from nogilserve.runtimes.contract import Runtime
from nogilserve.sockets import Listener, open_listeners
from nogilserve.supervise import systemd
from nogilserve.supervise.interrupts import STOPPING, wakeful
from nogilserve.supervise.serving import CUT, Ending, describe, leave, open_access_log
from nogilserve.supervise.words import announce, configure_logging, warn_of_gil

__all__ = ["run"]

_LOOK: Final = 5.0
"""Seconds between looks at what may have changed by itself."""


def run(config: Config) -> int:
    """Serve until a signal says stop; the exit status. Raises AppImportError, BindError.

    The application is imported before anything is bound: a server that cannot serve never
    accepts a connection.
    """
    configure_logging(config.log_level)
    directory = os.getcwd()  # importing the application may change it
    access_log = open_access_log(config)
    listeners: list[Listener] = []
    commands: queue.SimpleQueue[str] = queue.SimpleQueue()
    previous: list[tuple[signal.Signals, Any]] = []
    try:
        runtime = load_runtime(config, access_log.put if access_log else None)
        listeners = open_listeners(
            [_absolute(bind, directory) for bind in config.binds],
            config.backlog,
            uds_permissions=config.uds_permissions,
        )
        previous = _catch_signals(commands)
        return _serve(config, runtime, listeners, access_log, commands)
    finally:
        _close(listeners)
        if access_log is not None:
            access_log.close()
        # Last: until here a signal must not end the process half-way.
        for number, handler in previous:
            signal.signal(number, handler)


def _serve(
    config: Config,
    runtime: Runtime,
    listeners: list[Listener],
    access_log: AccessLog | None,
    commands: "queue.SimpleQueue[str]",
) -> int:
    runtime.start(listeners)
    started = monotonic()
    announce(describe(runtime), [listener.label for listener in listeners])
    systemd.sd_notify(f"READY=1\nSTATUS=Serving {runtime.served.name}\nMAINPID={os.getpid()}")
    _wait(commands)
    systemd.sd_notify("STOPPING=1")

    def refuse() -> None:
        for listener in listeners:
            listener.refuse()

    def orders() -> Iterator[str]:
        while not commands.empty():
            commands.get()
            yield CUT

    ending = Ending(runtime, config.graceful_timeout, orders, started=started)
    if not ending.run(lambda: _close(listeners), refuse):
        _close(listeners)
        leave(access_log)
    return 0


def _wait(commands: "queue.SimpleQueue[str]") -> None:
    """Wait for the command to stop; meanwhile tell systemd that all is well, and look whether
    something that was imported late has switched the GIL on."""
    watchdog = systemd.watchdog_interval()
    watch_gil = FREE_THREADED and not gil_is_on()
    with gil_watch() as culprits:
        while True:
            try:
                look = min(watchdog or _LOOK, _LOOK) if watch_gil else watchdog
                commands.get(timeout=wakeful(look))
                return
            except queue.Empty:
                systemd.sd_notify("WATCHDOG=1")
            if watch_gil and gil_is_on():
                watch_gil = False
                warn_of_gil(culprits)


def _absolute(bind: Bind, directory: str) -> Bind:
    return replace(bind, path=os.path.join(directory, bind.path)) if bind.path else bind


def _close(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener.close()


def _catch_signals(
    commands: "queue.SimpleQueue[str]",
) -> list[tuple[signal.Signals, Any]]:
    """Have the signals to stop put a command on the queue; the handlers that were there."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        commands.put("stop")  # SimpleQueue.put may be called from a signal handler

    return [(number, signal.signal(number, stop)) for number in STOPPING]
