"""One process that serves by itself: start, wait for signals, stop.

    STARTING ──ready──▶ SERVING ──TERM or INT──▶ DRAINING ──all answered, or deadline──▶ (exit)
                                                     └──a second signal──▶ (exit at once)

Signals only put a command on a queue; everything is done by the main thread, the owner of all this.
"""

import contextlib
import logging
import os
import queue
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from time import monotonic
from types import FrameType
from typing import Any, Final, NoReturn

from nogilserve import __version__
from nogilserve.apps import FREE_THREADED, gil_is_on, gil_watch
from nogilserve.config import Bind, Config
from nogilserve.errors import ConfigError
from nogilserve.observe.accesslog import AccessLog, unwritable
from nogilserve.runtimes.build import load_runtime
from nogilserve.runtimes.contract import Runtime, Served, quantity
from nogilserve.sockets import Listener, open_listeners
from nogilserve.supervise import systemd

__all__ = ["run"]

_log = logging.getLogger("nogilserve")

_STOP: Final = "stop"
_SLICE: Final = 0.05
_REPORT: Final = 5.0
_NAMED: Final = 20
"""Requests named when they are cut off."""
_LOOK: Final = 5.0
"""Seconds between looks at what may have changed by itself."""
_ACCEPTORS_END: Final = 0.5
"""Seconds for the cores to take what waits in the listen queue, unless every thread is stuck."""
_THREADS_END: Final = 1.0
"""Seconds beyond the deadline for threads to end that have no connection left."""


def run(config: Config) -> int:
    """Serve until a signal says stop; the exit status. Raises AppImportError, BindError.

    The application is imported before anything is bound: a server that cannot serve never
    accepts a connection.
    """
    _configure_logging(config.log_level)
    directory = os.getcwd()  # importing the application may change it
    access_log = None
    if config.access_log:
        access_log = _open_access_log(config)
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


def _absolute(bind: Bind, directory: str) -> Bind:
    return replace(bind, path=os.path.join(directory, bind.path)) if bind.path else bind


def _open_access_log(config: Config) -> AccessLog:
    try:
        access_log = AccessLog(config.access_log, config.access_log_format)
    except OSError as exc:
        raise ConfigError(unwritable(config.access_log, exc)) from None
    access_log.start()
    return access_log


def _serve(
    config: Config,
    runtime: Runtime,
    listeners: list[Listener],
    access_log: AccessLog | None,
    commands: "queue.SimpleQueue[str]",
) -> int:
    runtime.start(listeners)
    started = monotonic()
    _announce(runtime.served, listeners)
    systemd.sd_notify(f"READY=1\nSTATUS=Serving {runtime.served.name}\nMAINPID={os.getpid()}")
    _wait(commands)
    if not _stop(config, runtime, commands, started, listeners):
        _leave(access_log, listeners)
    return 0


def _wait(commands: "queue.SimpleQueue[str]") -> None:
    """Wait for the command to stop; meanwhile tell systemd that all is well, and look whether
    something that was imported late has switched the GIL on."""
    watchdog = systemd.watchdog_interval()
    watch_gil = FREE_THREADED and not gil_is_on()
    with gil_watch() as culprits:
        while True:
            try:
                commands.get(timeout=min(watchdog or _LOOK, _LOOK) if watch_gil else watchdog)
                return
            except queue.Empty:
                systemd.sd_notify("WATCHDOG=1")
            if watch_gil and gil_is_on():
                watch_gil = False
                _warn_of_gil(culprits)


def _warn_of_gil(culprits: Sequence[str]) -> None:
    if culprits:
        reason = f"by importing {', '.join(culprits)}, which does not declare that"
        reason += " it is safe without it; upgrade or replace that package"
    else:
        reason = "by PYTHON_GIL=1 or -X gil=1; leave that out"
    _log.warning(
        "The GIL was switched on %s. Until then the application runs on one processor at a time.",
        reason,
    )


def _stop(
    config: Config,
    runtime: Runtime,
    commands: "queue.SimpleQueue[str]",
    started: float,
    listeners: list[Listener],
) -> bool:
    """Let everything finish, until the deadline or a second signal. False: it did not."""
    deadline = monotonic() + config.graceful_timeout
    systemd.sd_notify("STOPPING=1")
    _log.info("Stopping: finishing what was accepted, at most %g s", config.graceful_timeout)
    runtime.drain(partial(_close, listeners))
    refuse_at = monotonic() + _ACCEPTORS_END
    report_at = monotonic() + _REPORT
    done = cut_off = False
    while not done and not cut_off:
        # In slices, because a second signal must be noticed.
        done = runtime.join(monotonic() + _SLICE)
        if runtime.accepting and monotonic() >= refuse_at:
            for listener in listeners:
                listener.refuse()  # threads stuck in the application hold the sockets
        if monotonic() >= report_at and (left := runtime.unfinished()):
            report_at += _REPORT
            _log.info("Still %s; a second signal cuts off at once", quantity(left, "connection"))
        late = monotonic() >= deadline + (0 if runtime.unfinished() else _THREADS_END)
        cut_off = not done and (late or not commands.empty())
    if cut_off:
        _say_what_is_cut_off(config, runtime, told=not commands.empty())
    counts = runtime.snapshot()
    _log.info(
        "Stopped after %.1f s: %s on %s, %s, %s",
        monotonic() - started,
        quantity(counts["requests"], "request"),
        quantity(counts["accepted"], "connection"),
        quantity(counts["hand_offs"], "hand-off"),
        quantity(counts["steals"], "steal"),
    )
    return done


def _say_what_is_cut_off(config: Config, runtime: Runtime, *, told: bool) -> None:
    left = quantity(runtime.unfinished(), "connection")
    running = runtime.running()
    inside = f"; inside the application: {', '.join(running[:_NAMED])}" if running else ""
    if len(running) > _NAMED:
        inside += f" and {len(running) - _NAMED} more"
    if told:
        _log.warning("Told twice: cutting off %s%s", left, inside)
    else:
        _log.warning(
            "Not finished in %g s: cutting off %s%s. Stacks of all threads:",
            config.graceful_timeout,
            left,
            inside,
        )
        runtime.dump_stacks()


def _close(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener.close()


def _leave(access_log: AccessLog | None, listeners: list[Listener]) -> NoReturn:
    """End the process although threads are still inside the application."""
    _close(listeners)
    if access_log is not None:
        access_log.close(1.0)
    logging.shutdown()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


def _catch_signals(
    commands: "queue.SimpleQueue[str]",
) -> list[tuple[signal.Signals, Any]]:
    """Have SIGTERM and SIGINT put a command on the queue; the handlers that were there."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        commands.put(_STOP)  # SimpleQueue.put may be called from a signal handler

    return [(number, signal.signal(number, stop)) for number in (signal.SIGTERM, signal.SIGINT)]


def _configure_logging(level: str) -> None:
    """Messages of this package go to standard error; other loggers are the application's."""
    logger = logging.getLogger("nogilserve")
    logger.setLevel(level.upper())
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(
            logging.Formatter("%(asctime)s [%(levelname)s] %(message)s", "%Y-%m-%d %H:%M:%S %z")
        )
        logger.addHandler(handler)
        logger.propagate = False


def _announce(served: Served, listeners: list[Listener]) -> None:
    """The banner: addresses, Python build, GIL state, runtime, threads and cores."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    build = "free-threaded" if FREE_THREADED else "with the GIL"
    gil = "on" if gil_is_on() else "off"
    _log.info(
        "nogilserve %s on CPython %s (%s, GIL %s), pid %d",
        __version__,
        version,
        build,
        gil,
        os.getpid(),
    )
    _log.info("Serving %s (%s): %s", served.name, served.interface.upper(), served.how)
    if FREE_THREADED and gil_is_on():
        _warn_of_gil(served.gil_enabled_by)
    for listener in listeners:
        _log.info("Listening on %s", listener.label)
