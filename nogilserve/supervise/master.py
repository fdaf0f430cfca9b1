"""The master: holds the listening sockets, starts generations, and does what the rules say.

Everything is done by the main thread, the owner of all this; signals, the threads that
listen to generations, and those of the control socket only put events on its queue.
The rules are in `states`; here they become processes, messages and lines in the log.
"""

import contextlib
import os
import queue
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from types import FrameType
from typing import Any, Final

from nogilserve.config import Config
from nogilserve.errors import AppImportError, BindError, ConfigError, NogilserveError
from nogilserve.sockets import Listener, open_listeners
from nogilserve.supervise import states, systemd
from nogilserve.supervise.child import Child, Event, how_it_ended
from nogilserve.supervise.identity import Identity
from nogilserve.supervise.pidfile import PidFile
from nogilserve.supervise.spec import plain
from nogilserve.supervise.states import Failure, Machine, Rules
from nogilserve.supervise.words import announce, configure_logging, log

__all__ = ["Launch", "run"]

_ACCEPTED: Final = 0.5
"""Seconds for generations to take what waits in the listen queue before it is refused."""
_NAMED: Final = 20
"""Requests named when a generation has died."""
_STALLED: Final = 30.0
"""Seconds without a sign of life after which a generation counts as stalled."""
_LOOK: Final = 5.0
"""Seconds between looks at the signs of life."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How the command was started, to start it again the same way. Immutable."""

    command: tuple[str, ...]
    directory: str
    environment: Mapping[str, str]


def run(config: Config, launch: Launch) -> int:
    """Serve until a signal says stop; the exit status. Raises ConfigError, BindError,
    AppImportError where the first generation does not start."""
    configure_logging(config.log_level)
    master = Master(config, launch)
    try:
        return master.run()
    finally:
        master.close()


class Master:
    """Owner: the main thread. `events` is filled by others."""

    def __init__(self, config: Config, launch: Launch) -> None:
        self.config = config
        self.launch = launch
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.machine = Machine(
            Rules(config.ready_timeout, config.graceful_timeout, show_failures=config.reload)
        )
        self.children: dict[int, Child] = {}
        self.listeners: list[Listener] = []
        self._identity = Identity.of(config.user, config.group)
        self._pid_file = PidFile(config.pid_file)
        self._directory = os.getcwd()
        self._signals: list[tuple[signal.Signals, Any]] = []
        self._refuse_at: float | None = None
        self._look_at = 0.0
        self._end: states.End | None = None
        self._error: NogilserveError | None = None

    def run(self) -> int:
        """Serve until all is over."""
        if self.config.umask is not None:
            os.umask(self.config.umask)
        self._catch_signals()
        for bind in self.config.binds:
            if bind.kind == "fd":  # generations get it when they are ready for it
                with contextlib.suppress(OSError):  # said when it is to be used
                    os.set_inheritable(bind.fd, False)
        watchdog = systemd.watchdog_interval()
        next_ping = monotonic() + watchdog if watchdog else None
        self._act(self.machine.start(monotonic()))
        while self._end is None:
            now = monotonic()
            moments = [self.machine.deadline, self._refuse_at, next_ping, self._look_at]
            due = min(moment for moment in moments if moment is not None)
            try:
                self._handle(self.events.get(timeout=max(due - now, 0)))
            except queue.Empty:
                pass
            except Exception:  # an error of ours must not end the service
                log.critical("internal error in the master", exc_info=True)
            self._tick(monotonic())
            if next_ping is not None and watchdog and monotonic() >= next_ping:
                next_ping = monotonic() + watchdog
                if self.machine.begun:
                    systemd.sd_notify("WATCHDOG=1")
        return self._outcome(self._end)

    def _tick(self, now: float) -> None:
        """What is due by the clock."""
        self._act(self.machine.tick(now))
        if self._refuse_at is not None and now >= self._refuse_at:
            self._refuse()
        if now >= self._look_at:
            self._look(now)

    # ---- events

    def _handle(self, event: Event) -> None:
        kind, number, more = event
        now = monotonic()
        if kind == "message":
            self._hear(number, more, now)
        elif kind == "exited":
            self._act(self._bury(number, more, now))
        elif kind == "signal":
            self._obey(number, now)

    def _hear(self, number: int, message: dict[str, Any], now: float) -> None:
        """A generation has said something."""
        child = self.children.get(number)
        if child is None:
            return
        name = message["name"]
        if name == "loaded":
            child.served = message["served"]
            self._act(self.machine.loaded(number, now))
        elif name == "ready":
            self._act(self.machine.ready(number, now))
        elif name == "failed":
            failure = Failure(message["message"], message["kind"], message["detail"])
            self._act(self.machine.failed(number, failure, now))
        elif name == "replace":
            reason = f"generation {number} asks for it: {message['reason']}"
            self._act(self.machine.replace(number, reason, now))
        elif name == "stopped":
            child.stopped = True
            if self.machine.current and not self.machine.stopping:
                log.info(
                    "Generation %d has taken over from generation %d", self.machine.current, number
                )
            if self._refuse_at is not None and self._all_stopped():
                self._refuse()

    def _bury(self, number: int, status: int, now: float) -> list[states.Action]:
        """A process is gone."""
        child = self.children.pop(number)
        how = how_it_ended(status)
        generation = self.machine.generations[number]
        if how and not generation.unwanted and generation.state != states.State.STARTING:
            running = child.board.read().get("running", [])
            if running:
                how += f"; last seen inside the application: {', '.join(running[:_NAMED])}"
        child.close()
        return self.machine.exited(number, how, now)

    def _obey(self, number: int, now: float) -> None:
        """A signal came."""
        if number in (signal.SIGTERM, signal.SIGINT):
            if not self.machine.stopping:
                systemd.sd_notify("STOPPING=1")
                self._refuse_at = now + _ACCEPTED
            self._act(self.machine.stop(now, number))
        elif number == getattr(signal, "SIGHUP", 0):
            self._act(self.machine.reload("SIGHUP", now))

    # ---- actions

    def _act(self, actions: list[states.Action]) -> None:
        for action in actions:
            self._do(action)

    def _do(self, action: states.Action) -> None:
        match action:
            case states.Say(level, text, detail):
                getattr(log, level)("%s%s", text, f"\n{detail.rstrip()}" if detail else "")
            case states.Spawn(number, page):
                self._spawn(number, page)
            case states.Open(number):
                self._open(number)
            case states.Announce(number, first):
                self._announce(number, first=first)
            case states.End():
                self._end = action
            case _ if action.number not in self.children:
                pass  # gone; the event is on its way
            case states.Drain(number, patient):
                self.children[number].send("drain", patient=patient)
            case states.Cut(number):
                self.children[number].send("cut")
            case states.Kill(number, gently):
                self.children[number].kill(gently=gently)

    def _spawn(self, number: int, page: Failure | None) -> None:
        label = f"{self.config.app} generation {number}"
        try:
            child = Child(number, label, self._identity, self.events)
        except OSError as error:
            failure = Failure(f"cannot start a process: {error}", "bind")
            self.machine.failed(number, failure, monotonic())
            self._act(self.machine.exited(number, "", monotonic()))
            return
        self.children[number] = child
        child.send(
            "serve",
            config=plain(self.config),
            path=sys.path,
            arguments=sys.argv,
            page=page and {"message": page.message, "detail": page.detail},
        )

    def _open(self, number: int) -> None:
        if not self.listeners:
            try:
                self._bind()
            except NogilserveError as error:
                self._error = error
                self._end = states.End()
                return
        self.children[number].give(self.listeners)

    def _bind(self) -> None:
        """Listen, and give up the rights that this took. Raises BindError, ConfigError."""
        config = self.config
        self.listeners = open_listeners(
            config.binds, config.backlog, uds_permissions=config.uds_permissions
        )
        self._pid_file.write(self._identity)
        for bind in config.binds:
            if bind.kind == "unix":
                self._identity.give(bind.path)
        self._identity.become()

    def _announce(self, number: int, *, first: bool) -> None:
        child = self.children[number]
        if first:
            announce(child.served, [listener.label for listener in self.listeners])
            systemd.sd_notify(
                f"READY=1\nSTATUS=Serving {child.served['app']}\nMAINPID={os.getpid()}"
            )
        else:
            log.info("Generation %d serves, pid %d", number, child.pid)

    # ---- from time to time

    def _look(self, now: float) -> None:
        """Look for signs of life."""
        self._look_at = now + _LOOK
        for number, child in list(self.children.items()):
            beat = child.board.read().get("beat")
            if not isinstance(beat, float):
                continue
            if now - beat > _STALLED:
                self._act(
                    self.machine.stalled(number, f"gives no sign of life for {_STALLED:g} s", now)
                )
            else:
                self._act(self.machine.revived(number))

    def _all_stopped(self) -> bool:
        serving = (states.State.SERVING, states.State.DRAINING, states.State.OPENING)
        return all(
            child.stopped or self.machine.generations[number].state not in serving
            for number, child in self.children.items()
        )

    def _refuse(self) -> None:
        """All is to end: clients are turned away, whoever still holds the sockets."""
        self._refuse_at = None
        for listener in self.listeners:
            listener.refuse()
            listener.close()
        self.listeners.clear()

    # ---- signals, the end

    def _catch_signals(self) -> None:
        def note(number: int, _frame: FrameType | None) -> None:
            self.events.put(("signal", number, None))  # SimpleQueue.put is made for handlers

        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None:
                self._signals.append((number, signal.signal(number, note)))

    def _outcome(self, end: states.End) -> int:
        """The exit status; raises what the command reports."""
        if self._error is not None:
            raise self._error
        if end.failure is not None:
            failure = end.failure
            if failure.kind == "interrupted":
                raise KeyboardInterrupt
            if failure.kind == "config":
                raise ConfigError(failure.message)
            if failure.kind == "bind":
                raise BindError(failure.message)
            raise AppImportError(failure.message, failure.detail)
        if end.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if end.signal:
            self.close()
            signal.signal(end.signal, signal.SIG_DFL)
            signal.raise_signal(end.signal)
        return 0

    def close(self) -> None:
        """Leave nothing behind; may be repeated."""
        for child in self.children.values():
            child.kill()
        for child in self.children.values():
            child.close()
        self.children.clear()
        for listener in self.listeners:
            listener.close()
        self.listeners.clear()
        self._pid_file.remove()
        # Last: until here a signal must not end the process half-way.
        for number, handler in self._signals:
            signal.signal(number, handler)
        self._signals.clear()
