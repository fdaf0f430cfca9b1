"""The master: holds the listening sockets, starts generations, and does what the rules say.

Everything is done by the main thread, the owner of all this; signals, the threads that
listen to generations, and those of the control socket only put events on its queue.
The rules are in `states`; here they become processes, messages and lines in the log.
"""

import os
import queue
import signal
import sys
from copy import replace
from time import monotonic, sleep
from types import FrameType
from typing import Any, Final

from nogilserve import __version__
from nogilserve.config import Config, title
from nogilserve.errors import AppImportError, BindError, ConfigError, NogilserveError
from nogilserve.supervise import actions, systemd
from nogilserve.supervise.actions import Action, Failure, Rules, State
from nogilserve.supervise.banner import announce
from nogilserve.supervise.child import Child, Event, how_it_ended
from nogilserve.supervise.control import Request
from nogilserve.supervise.desk import Desk, report
from nogilserve.supervise.following import Following
from nogilserve.supervise.handover import Launch, Succession
from nogilserve.supervise.holdings import Holdings
from nogilserve.supervise.inquiries import QUESTIONS, Answers, Inquiries
from nogilserve.supervise.interpreter import find_interpreter
from nogilserve.supervise.interrupts import wakeful
from nogilserve.supervise.plainlog import LEVELS, log
from nogilserve.supervise.spec import plain
from nogilserve.supervise.states import Machine

__all__ = ["run"]

_ACCEPTED: Final = 0.5
"""Seconds for generations to take what waits in the listen queue before it is refused."""
_NAMED: Final = 20
"""Requests named when a generation has died."""
_SIGNALS: Final = (
    *("SIGTERM", "SIGINT", "SIGBREAK", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU"),
)
_STALLED: Final = 30.0
"""Seconds without a sign of life after which a generation counts as stalled."""
_AGAIN: Final = 0.5
"""Seconds after an error of ours until it may come again."""
_LOOK: Final = 5.0
"""Seconds between looks at the signs of life."""


def _rules(config: Config) -> Rules:
    return Rules(config.ready_timeout, config.graceful_timeout, developing=config.reload)


def terminal_there() -> bool:
    """Whether this process has a terminal that can still be opened."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True


def run(config: Config, launch: Launch, following: Following | None = None) -> int:
    """Serve until a signal says stop; the exit status. Raises ConfigError, BindError,
    AppImportError where the first generation does not start. `following` reads the configuration
    again at each reload."""
    log.configure(config.log_level, config.log_format)
    master = Master(config, launch, following)
    try:
        return master.run()
    finally:
        master.close()


class Master:
    """Owner: the main thread. `events` is filled by others."""

    def __init__(self, config: Config, launch: Launch, following: Following | None = None) -> None:
        self.config = config
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._following = following
        self.machine = Machine(_rules(config))
        self.children: dict[int, Child] = {}
        self.holdings = Holdings(config, launch.handover)
        self._base = launch.base()
        self._succession = Succession(launch)
        self._desk = Desk()
        self._inquiries = Inquiries()
        self._drained = False
        """It was told to be given no new clients, and serves on."""
        self._watcher: Any = None
        self._has_terminal = False
        self._signals: list[tuple[signal.Signals, Any]] = []
        self._refuse_at: float | None = None
        self._look_at = 0.0
        self._end: actions.End | None = None
        self._error: NogilserveError | None = None

    def run(self) -> int:
        """Serve until all is over."""
        if self.config.umask is not None:
            os.umask(self.config.umask)
        self._catch_signals()
        self.holdings.keep_from_children()
        if self.config.reload:
            from nogilserve.supervise.watch import Watcher  # third-party code, for developers

            self._watcher = Watcher(self.config, lambda text: self.events.put(("changed", 0, text)))
            self._watcher.start()
        watchdog = systemd.watchdog_interval()
        next_ping = monotonic() + watchdog if watchdog else None
        self._act(self.machine.start(monotonic()))
        while self._end is None:
            now = monotonic()
            moments = [
                *(self.machine.deadline, self._refuse_at, next_ping, self._look_at),
                self._inquiries.deadline,
                self.holdings.admin.deadline if self.holdings.admin is not None else None,
            ]
            due = min(moment for moment in moments if moment is not None)
            try:
                self._handle(self.events.get(timeout=wakeful(max(due - now, 0))))
            except queue.Empty:
                pass
            except Exception:  # an error of ours must not end the service
                log.failure("internal error in the master")
            try:
                self._tick(monotonic())
            except Exception:  # as above; not again at once
                log.failure("internal error in the master")
                sleep(_AGAIN)
            if next_ping is not None and watchdog and monotonic() >= next_ping:
                next_ping = monotonic() + watchdog
                if self.machine.begun:
                    systemd.sd_notify("WATCHDOG=1")
        return self._outcome(self._end)

    def _tick(self, now: float) -> None:
        """What is due by the clock."""
        self._act(self.machine.tick(now))
        self._inquiries.tick(now)
        if self.holdings.admin is not None:
            self.holdings.admin.tick(now)
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
        elif kind == "control":
            try:
                self._answer(more, now)
            except Exception:
                more.answer("an error of the server's own: see its log", ok=False)
                raise
        elif kind == "changed":
            self._reload(more, now)
        elif kind == "admin" and self.holdings.admin is not None:
            self.holdings.admin.ended(number, now)
        elif kind == "successor":
            self._succeeded(ready=bool(number), now=now)

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
            child.served["how"] = message["how"]
            if self._drained:
                self._tell_readiness({number: child}, now)
            self._act(self.machine.ready(number, now))
        elif name == "answer":
            self._inquiries.heard(number, message)
        elif name == "totals":
            self._inquiries.counted(number, message["totals"])
        elif name == "failed":
            failure = Failure(message["message"], message["kind"], message["detail"])
            self._act(self.machine.failed(number, failure, now))
        elif name == "replace":
            reason = f"generation {number} asks for it: {message['reason']}"
            self._act(self.machine.replace(number, reason, now))
        elif name == "stopped":
            child.stopped = True
            self._look_for_others()
            if self._refuse_at is not None and self._all_stopped():
                self._refuse()

    def _bury(self, number: int, status: int, now: float) -> list[Action]:
        """A process is gone."""
        child = self.children.pop(number)
        how = how_it_ended(status)
        generation = self.machine.generations[number]
        if generation.state in (State.STARTING, State.OPENING):
            why = generation.failure.message if generation.failure else f"its process {how}"
            self._desk.failed(number, f"generation {number} did not start: {why}")
        elif generation.unwanted:
            self._desk.failed(number, f"generation {number} was given up for another one")
        if how and not generation.unwanted and generation.state != State.STARTING:
            running = child.board.read().get("running", [])
            if running:
                how += f"; last seen inside the application: {', '.join(running[:_NAMED])}"
        child.close()
        self._inquiries.lost(number)
        wanted = self.machine.exited(number, how, now)
        self._look_for_others()
        return wanted

    def _obey(self, number: int, now: float) -> None:
        """A signal came."""
        name = signal.Signals(number).name
        if name in ("SIGTERM", "SIGINT", "SIGBREAK"):
            self._stop(now, number)
        elif name == "SIGHUP":
            if self._has_terminal and not terminal_there():
                log.info("The terminal is gone")
                self._stop(now, number)
            else:
                self._reload("SIGHUP", now)
        elif name == "SIGUSR1":
            for child in self.children.values():
                child.send("logs")
        elif name == "SIGUSR2":
            self._succession.begin(self.holdings.passed_on, self.events, None)
        elif name in ("SIGTTIN", "SIGTTOU") and self.machine.current in self.children:
            change = 1 if name == "SIGTTIN" else -1
            children = {self.machine.current: self.children[self.machine.current]}
            self._inquiries.begin("threads", {"change": change}, children, now, self._signalled)

    def _reload(self, reason: str, now: float) -> None:
        """Read the configuration again, and start the next generation."""
        if not self._follow():
            self._act(self.machine.reload(reason, now))

    def _follow(self) -> str:
        """Read the configuration again; what is wrong with it, which leaves all as it is."""
        if self._following is None or self.machine.stopping:
            return ""
        try:
            self.config = self._following.follow(self.config, self.holdings.follow)
        except ConfigError as error:
            log.error("No reload, the configuration in force stays: %s", error)
            return str(error)
        self.machine.rules = _rules(self.config)
        log.configure(self.config.log_level)
        return ""

    def _tell_readiness(self, children: dict[int, Child], now: float) -> None:
        arguments = {"ready": not self._drained}
        self._inquiries.begin("readiness", arguments, children, now, lambda _: None)

    def _drain(self, request: Request, now: float) -> None:
        """Tell load balancers to send no new clients, or to send them again."""
        self._drained = not request.arguments.get("off")
        self._tell_readiness(self.children, now)
        text = (
            "Not ready for new clients from now on; what comes is served"
            if self._drained
            else "Ready for new clients again"
        )
        log.info("%s", text)
        request.answer(text)

    def _adjust(self, request: Request, now: float) -> None:
        """Change a setting of the running generation and of those that follow."""
        if request.command == "log-level":
            level = str(request.arguments.get("level", ""))
            if level not in LEVELS:
                request.answer(f"{level!r} is none of {', '.join(LEVELS)}", ok=False)
                return
            log.configure(level)
            self.config = replace(self.config, log_level=level)
        self._inquiries.pass_on(request, self.children, self.machine.current, now, self._adjusted)

    def _signalled(self, answers: Answers) -> None:
        for answer in answers.values():
            if "error" in answer:
                log.warning("The number of threads stays: %s", answer["error"])
        self._adjusted(answers)

    def _adjusted(self, answers: Answers) -> None:
        for answer in answers.values():
            if "now" in answer and "error" not in answer:
                self.config = replace(self.config, threads=max(answer["now"], self.config.workers))

    def _answer(self, request: Request, now: float) -> None:
        """A command came over the control socket."""
        if request.command == "status":
            where = ", ".join(self.holdings.labels)
            request.answer(
                f"nogilserve {__version__}, pid {os.getpid()}, {title(self.config)} on {where}",
                pid=os.getpid(),
                version=__version__,
                app=self.config.app,
                addresses=self.holdings.labels,
                ready=self._is_ready(),
                drained=self._drained,
                stopping=bool(self.machine.stopping),
                **(self.holdings.admin.facts if self.holdings.admin is not None else {}),
                generations=report(self.machine, self.children, now),
            )
        elif request.command in QUESTIONS:
            self._inquiries.pass_on(request, self.children, self.machine.current, now)
        elif request.command == "stop":
            self._stop(now, 0)
            request.answer("Stopping: finishing what was accepted")
        elif self.machine.stopping:
            request.answer("the server is stopping", ok=False)
        elif request.command == "reload":
            if problem := self._follow():
                request.answer(f"no reload: {problem}", ok=False)
                return
            before = self.machine.last
            wanted = self.machine.reload("nogilserve reload", now)
            # If one is just opening, the next follows it.
            self._desk.wait_for(max(self.machine.last, before + 1), request)
            self._act(wanted)
        elif request.command == "drain":
            self._drain(request, now)
        elif request.command in ("threads", "log-level"):
            self._adjust(request, now)
        elif request.command == "upgrade":
            self._succession.begin(self.holdings.passed_on, self.events, request)
        else:
            request.answer(f"there is no command {request.command!r}", ok=False)

    def _is_ready(self) -> bool:
        """Whether new clients are welcome."""
        return bool(self.machine.current) and not self.machine.stopping and not self._drained

    def _look_for_others(self) -> None:
        """Whether nobody but the current generation accepts by now."""
        current = self.machine.current
        older = [child for number, child in self.children.items() if number < current]
        if current and not self.machine.stopping and all(child.stopped for child in older):
            text = self._desk.taken_over(current)
            if text and self.machine.generations[current].page is None:
                log.info("%s", text)

    def _stop(self, now: float, number: int) -> None:
        if not self.machine.stopping:
            systemd.sd_notify("STOPPING=1")
            self._refuse_at = now + _ACCEPTED
            self._succession.cancel()
        self._act(self.machine.stop(now, number))

    def _succeeded(self, *, ready: bool, now: float) -> None:
        """The next master serves, or has given up."""
        pid = self._succession.end(ready=ready and not self.machine.stopping)
        if pid:
            systemd.sd_notify(f"MAINPID={pid}")
            self.holdings.disown()
            self._act(self.machine.stop(now, patient=True))

    # ---- actions

    def _act(self, wanted: list[Action]) -> None:
        for action in wanted:
            self._do(action)

    def _do(self, action: actions.Action) -> None:
        match action:
            case actions.Say(level, text, detail):
                log.say(level, "%s", text, detail=detail.rstrip())
            case actions.Spawn(number, page):
                self._spawn(number, page)
            case actions.Open(number):
                self._open(number)
            case actions.Announce(number, first):
                self._announce(number, first=first)
            case actions.End():
                self._end = action
            case _ if action.number not in self.children:
                pass  # gone; the event is on its way
            case actions.Drain(number, patient):
                self.children[number].send("drain", patient=patient)
            case actions.Cut(number):
                self.children[number].send("cut")
            case actions.Kill(number, gently):
                self.children[number].kill(gently=gently)

    def _directory(self) -> str | None:
        """The working directory by the name the user gave it, so that a link that points to another
        release by now counts; None where it is not known by that name."""
        path = os.path.join(self._base, self.config.chdir)
        return path if os.path.isdir(path) else None

    def _spawn(self, number: int, page: Failure | None) -> None:
        config, directory = self.config, self._directory()
        label = f"{config.app} generation {number}"
        try:
            other = find_interpreter(config.python, config.venv, directory or "")
            child = Child(number, label, self.holdings.identity, self.events, directory, other)
        except (OSError, ConfigError) as error:
            failure = Failure(f"cannot start a process: {error}", "bind")
            if isinstance(error, ConfigError):
                failure = Failure(str(error), "config")
            why = f"generation {number} did not start: {failure.message}"
            self._desk.failed(number, why)
            self.machine.failed(number, failure, monotonic())
            self._act(self.machine.exited(number, "", monotonic()))
            return
        self.children[number] = child
        child.send(
            "serve",
            config=plain(config),
            path=sys.path if other is None else None,
            arguments=sys.argv,
            page=page and {"message": page.message, "detail": page.detail},
        )

    def _open(self, number: int) -> None:
        if not self.holdings.held:
            try:
                self.holdings.take(self.events)
            except NogilserveError as error:
                self._error = error
                self._end = actions.End()
                return
        self.children[number].give(self.holdings.listeners)

    def _announce(self, number: int, *, first: bool) -> None:
        child = self.children[number]
        if first:
            announce(log, child.served, self.holdings.labels)
            if self.holdings.admin is not None:
                self.holdings.admin.announce()
            systemd.sd_notify(
                f"READY=1\nSTATUS=Serving {child.served['app']}\nMAINPID={os.getpid()}"
            )
            self.holdings.inheritance.say_ready()
        else:
            page = self.machine.generations[number].page is not None
            what = "says why, until the next change" if page else "serves"
            log.info("Generation %d %s, pid %d", number, what, child.pid)
            self._look_for_others()

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
        serving = (State.SERVING, State.DRAINING, State.OPENING)
        return all(
            child.stopped or self.machine.generations[number].state not in serving
            for number, child in self.children.items()
        )

    def _refuse(self) -> None:
        """All is to end: clients are turned away, whoever still holds the sockets."""
        self._refuse_at = None
        self.holdings.refuse()

    # ---- signals, the end

    def _catch_signals(self) -> None:
        def note(number: int, _frame: FrameType | None) -> None:
            self.events.put(("signal", number, None))  # SimpleQueue.put is made for handlers

        hangup = getattr(signal, "SIGHUP", None)
        # With nohup the end of the terminal is not meant for us.
        ignored = hangup is not None and signal.getsignal(hangup) is signal.SIG_IGN
        self._has_terminal = not ignored and terminal_there()
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None:
                self._signals.append((number, signal.signal(number, note)))

    def _outcome(self, end: actions.End) -> int:
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
        self._succession.close()
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        self.holdings.close()
        # Last: until here a signal must not end the process half-way.
        for number, handler in self._signals:
            signal.signal(number, handler)
        self._signals.clear()
