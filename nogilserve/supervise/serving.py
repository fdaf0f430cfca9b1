"""What a serving process does with its runtime, alone or as a generation: words and the end."""

import atexit
import contextlib
import gc
import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any, Final, NoReturn

from nogilserve import __version__
from nogilserve.apps import FREE_THREADED, gil_is_on
from nogilserve.config import Config
from nogilserve.errors import ConfigError
from nogilserve.observe.accesslog import AccessLog, unwritable
from nogilserve.runtimes.contract import Adjustable, HoldsLogs, Runtime, quantity
from nogilserve.runtimes.watching import READINESS
from nogilserve.supervise.words import log

__all__ = [
    "CUT",
    "HURRY",
    "Ending",
    "change_threads",
    "describe",
    "leave",
    "open_access_log",
    "reopen_logs",
    "set_threads",
    "write_files_at_exit",
]

HURRY: Final = "hurry"
"""Have no patience with idle connections any more."""
CUT: Final = "cut"
"""End at once."""

_SLICE: Final = 0.05
_REPORT: Final = 5.0
_NAMED: Final = 20
"""Requests named when they are cut off."""
_ACCEPTORS_END: Final = 0.5
"""Seconds for the cores to take what waits in the listen queue, unless every thread is stuck."""
_THREADS_END: Final = 1.0
"""Seconds beyond the deadline for threads to end that have no connection left."""
_FILES_END: Final = 1.0
"""Seconds for files to be written; a thread that nobody waits for may hold one."""
_IMPATIENT: Final = 1.0
"""Seconds before the deadline at which patience with idle connections ends."""
_MOST_THREADS: Final = 4096
"""As many as --threads takes. Starting far more takes so long that the process is thought dead."""


def open_access_log(config: Config, generation: int = 0) -> AccessLog | None:
    """The access log, started; None where none is wanted. Raises ConfigError."""
    several = _logs_of_sites(config)
    tenant = config.tenant.name if config.tenant is not None else ""
    if not config.access_log and not several:
        return None
    try:
        access_log = (
            _site_logs(config, generation, tenant, several)
            if several
            else AccessLog(config.access_log, config.access_log_format, generation, tenant)
        )
    except OSError as exc:
        raise ConfigError(unwritable(exc.filename or config.access_log, exc)) from None
    access_log.start()
    return access_log


def _logs_of_sites(config: Config) -> list[tuple[str, str]]:
    """Path and format of every access log that is not the server's own."""
    own = _log_of(config)
    found = [_log_of(site.config(config)) for site in config.sites]
    # A site that has none where the server has one is a reason to tell them apart, too.
    return [log for log in dict.fromkeys(found) if log != own] if set(found) - {own} else []


def _log_of(config: Config) -> tuple[str, str]:
    return (config.access_log, config.access_log_format) if config.access_log else ("", "")


def _site_logs(
    config: Config, generation: int, tenant: str, several: list[tuple[str, str]]
) -> AccessLog:
    """The server's access log, which passes records of sites on to theirs. Raises OSError."""
    from nogilserve.observe.sitelogs import SiteLogs
    from nogilserve.sites.places import router_of, settings_of_sites

    others = [log for log in several if log[0]]
    pairs = settings_of_sites(config)
    own = len(others)
    indexes = []
    for _, settings in pairs:
        log = _log_of(settings)
        indexes.append(own if log == _log_of(config) else others.index(log) if log[0] else -1)
    by_index = (*indexes, own, own)  # unknown paths, unknown hosts
    find = router_of(pairs).find
    return SiteLogs(
        config.access_log,
        config.access_log_format,
        generation,
        tenant,
        others,
        lambda authority, path: by_index[find(authority, path)],
    )


def describe(runtime: Runtime) -> dict[str, Any]:
    """What is served and on what, as plain data for `words.announce`."""
    served = runtime.served
    return {
        "version": __version__,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "build": "free-threaded" if FREE_THREADED else "with the GIL",
        "gil": "on" if gil_is_on() else "off",
        "app": served.name,
        "interface": served.interface,
        "how": served.how,
        # Where there are several copies of the application, that is why.
        "switched_on": FREE_THREADED and gil_is_on() and served.runtime == "threads",
        "culprits": list(served.gil_enabled_by),
    }


def change_threads(runtime: Runtime, change: int) -> None:
    """Add threads or let some go (SIGTTIN, SIGTTOU); the log says what came of it."""
    if isinstance(runtime, Adjustable):
        try:
            log.info("There are %s now", quantity(runtime.change_threads(change), "thread"))
        except RuntimeError as error:  # the system gives no more
            log.error("No thread more: %s", error)
    else:
        log.warning("The number of threads cannot be changed here: %s", runtime.served.how)


def set_threads(runtime: Runtime, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Have that many threads, "to", or that many more, "change"; {"now": how many there are}."""
    if not isinstance(runtime, Adjustable):
        return {"error": f"the number of threads cannot be changed here: {runtime.served.how}"}
    now = runtime.change_threads(0)
    wanted = arguments.get("to", arguments.get("change"))
    if type(wanted) is not int:
        return {"error": '"to" or "change" has to be a whole number'}
    change = wanted - now if "to" in arguments else wanted
    if now + change > _MOST_THREADS or ("to" in arguments and wanted < 1):
        return {"error": f"{now + change} threads are not possible: from 1 to {_MOST_THREADS}"}
    try:
        now = runtime.change_threads(change)
    except RuntimeError as error:  # the system gives no more
        return {"error": f"no thread more: {error}"}
    log.info("There are %s now", quantity(now, "thread"))
    return {"now": now}


def reopen_logs(runtime: Runtime, access_log: AccessLog | None) -> None:
    """Open the file of the access log anew (SIGUSR1), whoever writes it."""
    if isinstance(runtime, HoldsLogs):
        runtime.reopen_logs()
    if access_log is not None:
        access_log.reopen()
    log.info("Opening the access log anew" if access_log else "There is no access log to open anew")


class Ending:
    """The last part of a serving process: what was accepted is finished, until a deadline.

    Owner: the main thread.
    """

    def __init__(
        self,
        runtime: Runtime,
        timeout: float,
        orders: Callable[[], Iterable[str]],
        *,
        started: float,
        patient: bool = False,
    ) -> None:
        """`timeout`: seconds until what is left is cut off; `started`: monotonic, for the log.
        `orders`, called often, says what was ordered since: HURRY, CUT.
        """
        self.runtime = runtime
        self.timeout = timeout
        self.orders = orders
        self.started = started
        self.patient = patient
        self.cut_off = self.told = False

    def run(self, stopped: Callable[[], None], refuse: Callable[[], None]) -> bool:
        """Let everything finish. False: it did not, and threads are still inside the application.

        `stopped` is called when nothing accepts any more, `refuse` when that takes too long.
        """
        runtime = self.runtime
        now = monotonic()
        deadline = now + self.timeout
        refuse_at = now + _ACCEPTORS_END
        report_at = now + _REPORT
        if self.patient:
            log.info("Finishing what was accepted, at most %g s", self.timeout)
        else:
            log.info("Stopping: finishing what was accepted, at most %g s", self.timeout)
            READINESS.ready = False  # for who asks on a connection that is still open
        runtime.drain(stopped, patient=self.patient)
        done = abandoned = False
        busy_at = now
        while not done and not self.cut_off:
            # In slices, because a second command must be noticed.
            done = runtime.join(monotonic() + _SLICE)
            now = monotonic()
            counts = runtime.snapshot()
            if runtime.unfinished() or not (counts.get("stuck") or counts.get("abandoned")):
                busy_at = now
            if runtime.accepting and now >= refuse_at:
                refuse()  # threads stuck in the application hold the sockets
            self._obey()
            if now >= deadline - _IMPATIENT:
                self._lose_patience()
            if not self.patient and now >= report_at and (left := runtime.unfinished()):
                report_at = now + _REPORT
                log.info("Still %s; a second signal cuts off at once", quantity(left, "connection"))
            late = now >= deadline + (0 if runtime.unfinished() else _THREADS_END)
            # Nobody waits for threads that --timeout or the warm-up has given up.
            abandoned = now - busy_at > _THREADS_END
            self.cut_off = not done and (late or self.told or abandoned)
        if self.cut_off and not abandoned:
            self._say_what_is_cut_off()
            runtime.abandon()
        counts = runtime.snapshot()
        log.info(
            "Stopped after %.1f s: %s on %s, %s, %s",
            monotonic() - self.started,
            quantity(counts["requests"], "request"),
            quantity(counts["accepted"], "connection"),
            quantity(counts["hand_offs"], "hand-off"),
            quantity(counts["steals"], "steal"),
        )
        return done

    def _obey(self) -> None:
        for order in self.orders():
            if order == HURRY:
                self._lose_patience()
            elif order == CUT:
                self.told = True

    def _lose_patience(self) -> None:
        if self.patient:
            self.patient = False
            self.runtime.drain()

    def _say_what_is_cut_off(self) -> None:
        left = quantity(self.runtime.unfinished(), "connection")
        running = self.runtime.running()
        inside = f"; inside the application: {', '.join(running[:_NAMED])}" if running else ""
        if len(running) > _NAMED:
            inside += f" and {len(running) - _NAMED} more"
        if self.told:
            log.warning("Told twice: cutting off %s%s", left, inside)
        else:
            log.warning(
                "Not finished in %g s: cutting off %s%s. Stacks of all threads:",
                self.timeout,
                left,
                inside,
            )
            self.runtime.dump_stacks()


def write_files_at_exit() -> None:
    """When the process ends by itself, and the application has done what it does then, have files
    write what they keep in memory. CPython does so when it frees them, but what is immortal frees
    nothing. Call it before the application is imported."""
    atexit.register(_in_time)


def _in_time() -> None:
    thread = threading.Thread(target=_write_files, name="files", daemon=True)
    with contextlib.suppress(RuntimeError):  # too late for a thread, some day
        thread.start()
        thread.join(_FILES_END)


def _write_files() -> None:
    gc.unfreeze()  # else they are not shown
    for kinds in (io.TextIOWrapper, (io.BufferedWriter, io.BufferedRandom)):  # one over the other
        for item in gc.get_objects():
            if issubclass(type(item), kinds):
                with contextlib.suppress(Exception):
                    item.flush()


def leave(access_log: AccessLog | None) -> NoReturn:
    """End the process although threads are still inside the application."""
    if access_log is not None:
        access_log.close(1.0)
    logging.shutdown()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)
