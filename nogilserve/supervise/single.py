"""One process that serves by itself: start, wait for signals, stop.

    STARTING ──ready──▶ SERVING ──TERM or INT──▶ DRAINING ──all answered, or deadline──▶ (exit)
                                                     └──a second signal──▶ (exit at once)

Signals only put a command on a queue; everything is done by the main thread, the owner of all this.
"""

import os
import queue
import signal
from collections.abc import Callable, Iterator
from copy import replace
from time import monotonic
from types import FrameType
from typing import Any, Final

from nogilserve.apps import FREE_THREADED, gil_is_on, gil_watch
from nogilserve.config import Bind, Config
from nogilserve.config.addresses import parse_bind
from nogilserve.messages import RequestRecord
from nogilserve.observe.accesslog import AccessLog
from nogilserve.runtimes.build import load_runtime
from nogilserve.runtimes.contract import Runtime
from nogilserve.sites.places import host_with
from nogilserve.sockets import Listener, open_listeners
from nogilserve.supervise import systemd
from nogilserve.supervise.admin.alone import Commands, watching
from nogilserve.supervise.banner import announce, warn_of_gil
from nogilserve.supervise.identity import Identity
from nogilserve.supervise.interrupts import wakeful
from nogilserve.supervise.pidfile import PidFile
from nogilserve.supervise.readiness import start_and_ask
from nogilserve.supervise.recycle import Limits
from nogilserve.supervise.serving import (
    CUT,
    Ending,
    change_threads,
    describe,
    leave,
    open_access_log,
    reopen_logs,
    write_files_at_exit,
)
from nogilserve.supervise.words import configure_logging, form_others, log

__all__ = ["run"]

type Make = Callable[[Callable[[RequestRecord], None] | None], Runtime]

_COMMANDS: Final = {
    "SIGTERM": "stop",
    "SIGINT": "stop",
    "SIGBREAK": "stop",
    "SIGUSR1": "logs",
    "SIGTTIN": "more",
    "SIGTTOU": "fewer",
}
_ADMIN_BACKLOG: Final = 64
_LIMITS: Final = 1.0
"""Seconds between looks at limits."""

_LOOK: Final = 5.0
"""Seconds between looks at what may have changed by itself."""


def run(config: Config, make: Make | None = None) -> int:
    """Serve until a signal says stop; the exit status. Raises AppImportError, BindError,
    ConfigError. `make` makes the runtime where it is not the one of the configuration.

    The application is imported before anything is bound: a server that cannot serve never
    accepts a connection. But no application is imported with rights that are to be given up.
    """
    configure_logging(config.log_level, form=config.log_format)
    write_files_at_exit()
    if config.umask is not None:
        os.umask(config.umask)
    directory = os.getcwd()  # importing the application may change it
    identity = Identity.of(config.user, config.group)
    pid_file = PidFile(config.pid_file)
    access_log: AccessLog | None = None
    listeners: list[Listener] = []
    admin_listeners: list[Listener] = []
    commands: Commands = queue.SimpleQueue()
    keeper = _keeper(config, identity)  # before the application is imported: it is told of it
    previous: list[tuple[signal.Signals, Any]] = []

    def bind() -> None:
        listeners.extend(
            open_listeners(
                [_absolute(bind, directory) for bind in config.all_binds],
                config.backlog,
                uds_permissions=config.uds_permissions,
                encrypted=config.encrypted,
            )
        )
        for listener in listeners:
            if listener.file is not None:
                identity.give(listener.file[0])
        if config.admin:
            admin = replace(parse_bind(config.admin), role="plain")
            admin_listeners.extend(open_listeners([admin], _ADMIN_BACKLOG))
        pid_file.write(identity)

    try:
        if identity.changes:
            bind()
            identity.become()
        access_log = open_access_log(config)
        record = access_log.put if access_log else None
        runtime = make(record) if make else load_runtime(config, record)
        form_others()
        asked = None
        if config.ready_path:
            host = host_with(config, config.ready_path)
            asked = start_and_ask(runtime, config.ready_path, config.ready_timeout, host)
        if not listeners:
            bind()
        previous = _catch_signals(commands)
        if keeper is not None:
            keeper.start()
        if asked is None:
            runtime.start(listeners)
        else:
            runtime.accept(listeners)
        labels = [listener.label for listener in listeners]
        with watching(config, runtime, labels, admin_listeners, commands):
            return _serve(config, runtime, listeners, access_log, commands, asked)
    finally:
        _close(listeners)
        _close(admin_listeners)
        if keeper is not None:
            keeper.close()
        pid_file.remove()
        if access_log is not None:
            access_log.close()
        # Last: until here a signal must not end the process half-way.
        for number, handler in previous:
            signal.signal(number, handler)


def _keeper(config: Config, identity: Identity) -> Any:
    """The process that keeps certificates, not started yet; None where none is wanted."""
    if not config.automatic_https:
        return None
    from nogilserve.supervise.keeper import KeeperProcess

    return KeeperProcess(config, identity)


def _serve(
    config: Config,
    runtime: Runtime,
    listeners: list[Listener],
    access_log: AccessLog | None,
    commands: Commands,
    asked: Callable[[], None] | None,
) -> int:
    started = monotonic()
    announce(log, describe(runtime), [listener.label for listener in listeners])
    systemd.sd_notify(f"READY=1\nSTATUS=Serving {runtime.served.name}\nMAINPID={os.getpid()}")
    _wait(config, runtime, access_log, commands)
    systemd.sd_notify("STOPPING=1")

    def refuse() -> None:
        for listener in listeners:
            listener.refuse()

    def stopped() -> None:
        _close(listeners)
        if asked is not None:
            asked()

    def orders() -> Iterator[str]:
        while not commands.empty():
            if commands.get() == "stop":
                yield CUT

    ending = Ending(runtime, config.graceful_timeout, orders, started=started)
    if not ending.run(stopped, refuse):
        _close(listeners)
        leave(access_log)
    return 0


def _wait(
    config: Config,
    runtime: Runtime,
    access_log: AccessLog | None,
    commands: Commands,
) -> None:
    """Wait until it is over; meanwhile tell systemd that all is well, look whether something that
    was imported late has switched the GIL on, and whether a limit is reached."""
    watchdog = systemd.watchdog_interval()
    limits = Limits(config)
    pause = min(watchdog or _LOOK, _LOOK)
    watch_gil = FREE_THREADED and not gil_is_on()
    if limits.any:
        pause = min(pause, _LIMITS)
    with gil_watch() as culprits:
        while True:
            try:
                look = pause if watch_gil or limits.any else watchdog
                command = commands.get(timeout=wakeful(look))
            except queue.Empty:
                systemd.sd_notify("WATCHDOG=1")
                command = ""
            if command == "stop":
                return
            if command == "logs":
                reopen_logs(runtime, access_log)
            elif callable(command):
                command()
            elif command:
                change_threads(runtime, 1 if command == "more" else -1)
            if watch_gil and gil_is_on():
                watch_gil = False
                warn_of_gil(log, culprits)
            reason = limits.exceeded(runtime.snapshot(), monotonic())
            if reason:
                log.info("Ending, because no master can replace this process: %s", reason)
                return


def _absolute(bind: Bind, directory: str) -> Bind:
    return replace(bind, path=os.path.join(directory, bind.path)) if bind.path else bind


def _close(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener.close()


def _catch_signals(
    commands: Commands,
) -> list[tuple[signal.Signals, Any]]:
    """Have signals put a command on the queue; the handlers that were there."""

    def note(number: int, _frame: FrameType | None) -> None:
        commands.put(_COMMANDS[signal.Signals(number).name])  # made for signal handlers

    numbers = [getattr(signal, name) for name in _COMMANDS if hasattr(signal, name)]
    return [(number, signal.signal(number, note)) for number in numbers]
