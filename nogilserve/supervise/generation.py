"""The body of a generation: the process that imports the application and serves it.

    (import) ──loaded──▶ (waits for sockets) ──ready──▶ (serves) ──told to drain──▶ (exit)

Its master is at the other end of a channel. The main thread owns everything here; a thread of its
own only puts what the master says on a queue, and signals do the same.
"""

import faulthandler
import queue
import secrets
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from copy import replace
from functools import partial
from time import monotonic
from types import FrameType
from typing import Any, Final

from nogilserve.apps import FREE_THREADED, gil_is_on, gil_watch
from nogilserve.config import Config, title
from nogilserve.errors import AppImportError, BindError, ConfigError
from nogilserve.observe.accesslog import AccessLog
from nogilserve.runtimes.build import load_here, load_runtime
from nogilserve.runtimes.contract import Runtime
from nogilserve.runtimes.daemon import daemon
from nogilserve.sockets import Listener
from nogilserve.supervise.banner import warn_of_gil
from nogilserve.supervise.board import Board
from nogilserve.supervise.channel import Channel, Message
from nogilserve.supervise.interrupts import MASTERS, STOPPING, ignore, leave_to_master
from nogilserve.supervise.observer import Observer
from nogilserve.supervise.recycle import Limits
from nogilserve.supervise.serving import (
    CUT,
    HURRY,
    Ending,
    describe,
    leave,
    open_access_log,
    reopen_logs,
    set_threads,
    write_files_at_exit,
)
from nogilserve.supervise.spec import config_of
from nogilserve.supervise.words import configure_logging, form_others, log

__all__ = ["main"]

_LOOK: Final = 1.0
"""Seconds between looks at how this process is."""
_IDLE_LOOK: Final = 3.0
"""Seconds between looks while nothing happens: a server that idles is left asleep."""
_GONE: Final[Message] = {"name": "gone"}


def main() -> int:
    """`python -c … ROOT NAME CHANNEL BOARD LABEL`: the exit status."""
    _, _, name, end, descriptor, _ = sys.argv
    channel = Channel(_channel_end(end))
    board = Board.open(name, int(descriptor))
    _catch_early_signals()
    write_files_at_exit()
    try:
        spec = channel.receive()
        if spec is None:
            return 0
        if spec["path"] is not None:  # else another Python, which has its own
            sys.path[:] = spec["path"]
        sys.argv[:] = spec["arguments"]
        return Body(channel, board, spec, int(name.rpartition("-")[2])).run()
    finally:
        channel.close()
        board.close()


def _channel_end(end: str) -> socket.socket:
    if end == "stdin":  # Windows
        from base64 import b64decode

        fromshare: Any = getattr(socket, "fromshare")  # noqa: B009
        line = sys.stdin.buffer.readline()
        shared: socket.socket = fromshare(b64decode(line))
        return shared
    sock = socket.socket(fileno=int(end))
    sock.set_inheritable(False)
    return sock


def _catch_early_signals() -> None:
    """Until the application is imported: SIGINT interrupts that, once."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, ignore)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    leave_to_master(*MASTERS)


class Body:
    """Owner: the main thread. `_inbox` is filled by the thread that reads, and by signals."""

    def __init__(self, channel: Channel, board: Board, spec: Message, number: int) -> None:
        """`number`: that of this generation."""
        self._number = number
        self._channel = channel
        self._board = board
        self._config: Config = config_of(spec["config"])
        self._page: dict[str, str] | None = spec["page"]
        self._tenant: str = spec.get("tenant", "")
        self._bounds: dict[str, Any] = spec.get("bounds", {})
        self._asked: Callable[[], None] | None = None
        """The readiness check has started the runtime; what ends it."""
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="master", daemon=True)
        self._limits = Limits(self._config)
        self._next_look = 0.0
        self._seen = -1
        """Requests and connections at the last look."""
        self._watch_gil = False
        self._observer: Observer | None = None
        """Set before anything is read from the master."""

    def run(self) -> int:
        """Import, serve, end; the exit status."""
        configure_logging(
            self._config.log_level,
            self._tenant,
            form=self._config.log_format,
            generation=self._number,
        )
        if sys.stderr is not None:
            faulthandler.enable()
        access_log: AccessLog | None = None
        try:
            if self._tenant:
                from nogilserve.supervise.tenants.within import settle

                settle(self._config, self._bounds)
            access_log = open_access_log(self._config, self._number)
            runtime, served = self._load(access_log)
            form_others()
            self._observer = Observer(runtime, self._config)
            self._observer.start()
            self._catch_signals()
            if self._config.ready_path and self._page is None:
                from nogilserve.sites.places import host_with
                from nogilserve.supervise.readiness import start_and_ask  # with an HTTP client

                config = self._config
                host = host_with(config, config.ready_path)
                self._asked = start_and_ask(runtime, config.ready_path, config.ready_timeout, host)
            self._channel.send("loaded", served=served)
            self._reader.start()
            listeners = self._wait_for_sockets()
            if self._asked is not None:
                runtime.accept(listeners or [])
            elif listeners is not None:
                runtime.start(listeners)
            else:
                return 0
        except (Exception, KeyboardInterrupt) as error:
            self._channel.send("failed", **_failure(error))
            if access_log is not None:
                access_log.close()
            return 1
        how = served["how"] if self._page is not None else runtime.served.how
        self._channel.send("ready", how=how)
        self._serve(runtime, listeners or [], access_log)
        self._tell_totals()
        self._observer = None  # it has the application, and the thread that reads this object
        if access_log is not None:
            access_log.close()
        return 0

    def _load(self, access_log: AccessLog | None) -> tuple[Runtime, dict[str, Any]]:
        """The runtime with the application, or with the page that says why there is none."""
        record = access_log.put if access_log else None
        if self._page is None:
            runtime = load_runtime(self._config, record)
            return runtime, describe(runtime)
        from nogilserve.supervise import errorpage  # with all the entities of HTML

        errorpage.app = errorpage.ErrorPage(**self._page, mark=secrets.token_hex(8))
        instead = replace(
            self._config,
            app=f"{errorpage.__name__}:app",
            interface="wsgi",
            factory=False,
            root_path="",
            runtime="threads",
            mounts=(),
            sites=(),
        )
        runtime = load_here(instead, record)
        return runtime, describe(runtime) | {
            "app": title(self._config),
            "how": "only a page that says why it cannot start",
        }

    def _catch_signals(self) -> None:
        def recycle(_number: int, _frame: FrameType | None) -> None:
            self._inbox.put({"name": "terminated"})

        leave_to_master(*STOPPING)  # what a console sends reaches the master as well
        signal.signal(signal.SIGTERM, recycle)

    def _read(self) -> None:
        while (message := self._channel.receive()) is not None:
            if message["name"] == "ask" and message["question"] != "threads":
                # In a thread of its own: an answer may take seconds.
                daemon(partial(self._answer, message), "observer").start()
            else:
                self._inbox.put(message)
        self._inbox.put(_GONE)

    def _answer(self, message: Message) -> None:
        """Answer a question. Any thread."""
        observer = self._observer
        if observer is None:
            return  # it is over
        answer = observer.answer(message["question"], message["arguments"])
        self._channel.send("answer", id=message["id"], answer=answer)

    def _wait_for_sockets(self) -> list[Listener] | None:
        while (message := self._inbox.get())["name"] != "accept":
            if message["name"] in ("gone", "drain", "cut"):
                self._inbox.put(message)
                return None
        sockets, self._channel.sockets = self._channel.sockets, []
        if self._tenant:
            from nogilserve.supervise.tenants.within import passed_on

            return passed_on(sockets, message["listeners"])
        listeners = []
        for sock, place in zip(sockets, message["listeners"], strict=True):
            sock.setblocking(False)
            name, port = place["server"]
            role = place.get("role", "tls")
            listeners.append(
                Listener(sock, place["label"], (name, port), inherited=True, role=role)
            )
        return listeners

    def _serve(
        self, runtime: Runtime, listeners: list[Listener], access_log: AccessLog | None
    ) -> None:
        started = monotonic()
        self._watch_gil = FREE_THREADED and not gil_is_on()
        with gil_watch() as culprits:
            patient = self._wait(runtime, culprits, access_log)

        def stopped() -> None:
            for listener in listeners:
                listener.close()
            if self._asked is not None:
                self._asked()
            self._channel.send("stopped")

        ending = Ending(
            runtime,
            self._config.graceful_timeout,
            lambda: self._orders(runtime),
            started=started,
            patient=patient,
        )
        # Refusing is up to the master: the sockets are shared.
        if not ending.run(stopped, lambda: None):
            self._tell_totals()
            leave(access_log)

    def _tell_totals(self) -> None:
        """What was counted, for whoever adds it up; last of all."""
        if self._observer is not None:
            self._observer.stop()
        if self._config.observed and self._observer is not None:
            totals = self._observer.answer("look", {}).get("totals")
            if totals:
                self._channel.send("totals", totals=totals)

    def _wait(self, runtime: Runtime, culprits: list[str], access_log: AccessLog | None) -> bool:
        """Serve until it is over; whether idle connections may ask once more."""
        while True:
            try:
                message = self._inbox.get(timeout=max(self._next_look - monotonic(), 0))
            except queue.Empty:
                self._look(runtime)
                if self._watch_gil and gil_is_on():
                    self._watch_gil = False
                    warn_of_gil(log, culprits)
                continue
            name = message["name"]
            if name == "drain":
                return bool(message["patient"])
            if name == "gone":
                log.error("The master is gone")
                return False
            if name == "cut":
                self._inbox.put(message)
                return False
            if name == "terminated":
                self._channel.send("replace", reason="it got SIGTERM")
            elif name == "ask":
                answer = set_threads(runtime, message["arguments"])
                self._channel.send("answer", id=message["id"], answer=answer)
            elif name == "logs":
                reopen_logs(runtime, access_log)

    def _orders(self, runtime: Runtime) -> Iterator[str]:
        """What was ordered while this process is ending."""
        if monotonic() >= self._next_look:
            self._look(runtime)
        while not self._inbox.empty():
            name = self._inbox.get()["name"]
            if name in ("drain", "gone"):
                yield HURRY
            elif name == "cut":
                yield CUT

    def _look(self, runtime: Runtime) -> None:
        """Write down how this process is; ask for a successor when a limit is reached."""
        now = monotonic()
        assert self._observer is not None
        counters = self._observer.snapshot()
        prepared = counters.pop("prepared", {})
        collections = counters.pop("collections", {})
        working = counters["requests"] + counters["active"] + counters["connections"]
        self._next_look = now + (_IDLE_LOOK if working == self._seen else _LOOK)
        self._seen = working
        self._board.write(
            {
                "beat": now,
                "running": runtime.running()[:50],
                "counters": counters,
                "prepared": prepared,
                "collections": collections,
            }
        )
        reason = self._limits.exceeded(counters, now)
        if reason:
            self._channel.send("replace", reason=reason)


def _failure(error: BaseException) -> dict[str, Any]:
    """What `states.Failure` is made of."""
    if isinstance(error, AppImportError):
        return {"message": str(error), "kind": "app", "detail": error.detail}
    if isinstance(error, ConfigError):
        return {"message": str(error), "kind": "config", "detail": ""}
    if isinstance(error, BindError):
        return {"message": str(error), "kind": "bind", "detail": ""}
    if isinstance(error, KeyboardInterrupt):
        return {"message": "interrupted", "kind": "interrupted", "detail": ""}
    detail = "".join(traceback.format_exception(error))
    return {"message": f"cannot start: {error!r}", "kind": "app", "detail": detail}
