"""The master of tenants: what `supervise/master` is to one application.

It listens; its front passes connections on; tenants are started when they are asked for, and
end when nobody needs them. The main thread owns everything but the front; it is told what
happens by one queue, asks the rules (`sites/tenants/table`), and carries out what they say.
"""

import os
import queue
import signal
from collections.abc import Sequence
from copy import replace
from functools import partial
from time import monotonic, sleep
from types import FrameType
from typing import Any, Final

from nogilserve import __version__
from nogilserve.config import Config
from nogilserve.config.templates import Tenant
from nogilserve.errors import ConfigError, NogilserveError
from nogilserve.runtimes.contract import quantity
from nogilserve.sites.tenants import table as rules
from nogilserve.sites.tenants.naming import MAIN, Names, naming_of
from nogilserve.sites.tenants.place import Unknown, called, find_place, tenant_name
from nogilserve.sites.tenants.table import Do, Table
from nogilserve.supervise import systemd
from nogilserve.supervise.child import Event
from nogilserve.supervise.control import Request
from nogilserve.supervise.following import Following
from nogilserve.supervise.handover import Launch, Succession
from nogilserve.supervise.holdings import Holdings
from nogilserve.supervise.inquiries import QUESTIONS, Inquiries
from nogilserve.supervise.interrupts import wakeful
from nogilserve.supervise.tenants import adjusting
from nogilserve.supervise.tenants.bounds import Bounds, Groups, raise_files
from nogilserve.supervise.tenants.front import Front
from nogilserve.supervise.tenants.household import Household, children_of
from nogilserve.supervise.tenants.plan import check, manners_of, rules_of, served
from nogilserve.supervise.tenants.status import status
from nogilserve.supervise.words import configure_logging, log

__all__ = ["TenantMaster", "run"]

_SIGNALS: Final = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU")
_LOOK: Final = 1.0
"""Seconds between looks at tenants."""
_OF_ONE: Final = frozenset({"reload", "stop", "status", "threads", "log-level"})
"""Commands that can be for one tenant, which has to be there."""
_AGAIN: Final = 0.5
"""Seconds after an error of ours until it may come again."""
_PARTING: Final = 0.5
"""Seconds for connections that are at the front when the server is told to stop."""
_PATIENT: Final = 5.0
"""The same where another server has taken over; then those are waited for who have not said yet
what they want."""


def run(config: Config, launch: Launch, following: Following, base: str) -> int:
    """Serve tenants until a signal says stop; the exit status. Raises ConfigError, BindError.
    `following` reads the configuration again at each reload; `base`: where relative names of
    folders start."""
    configure_logging(config.log_level, form=config.log_format)
    master = TenantMaster(config, launch, following, base)
    try:
        return master.run()
    finally:
        master.close()


class TenantMaster:
    """Owner: the main thread. `events` is filled by others."""

    def __init__(self, config: Config, launch: Launch, following: Following, base: str) -> None:
        if os.name == "nt":
            raise ConfigError("placeholders in the name of an application: not on this system")
        self.config = config
        self.naming = naming_of(config)
        self._following = following
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.holdings = Holdings(config, launch.handover)
        self.table = Table(rules_of(config))
        self.households: dict[Tenant, Household] = {}
        """Those in the table that have been started."""
        self.leaving: dict[int, Household] = {}
        """Those that end, by their numbers."""
        self._base = base
        self._succession = Succession(launch)
        self._files = raise_files()
        self.inquiries = Inquiries()
        self._groups = Groups.find(wanted=_is_bounded(config))
        self.front: Front | None = None
        self._count = 0
        self._reloads: list[Tenant] = []
        """Told to reload, and waiting for their turn."""
        self._names = Names(self.naming)
        self._settling = False
        """The front goes by names that not every tenant goes by yet."""
        self._before: set[int] = set()
        """Processes that go by the names before, by the numbers of all tenants."""
        self.drained = False
        """It was told to be given no new clients, and serves on."""
        self._signals: list[tuple[signal.Signals, Any]] = []
        self._look_at = 0.0
        self.stopping = 0
        self._part_at: float | None = None
        self._part_latest = 0.0
        self._patient = False
        self._over = False

    def run(self) -> int:
        """Serve until all is over."""
        if self.config.umask is not None:
            os.umask(self.config.umask)
        self._catch_signals()
        self.holdings.keep_from_children()
        self.holdings.take(self.events)
        manners = manners_of(self.config, self.naming)
        self.front = Front(self.holdings.listeners, manners, self.events)
        self.front.start()
        self._announce()
        self._want_shared(monotonic())
        watchdog = systemd.watchdog_interval()
        next_ping = monotonic() + watchdog if watchdog else None
        while not self._over:
            now = monotonic()
            due = min(self._moments(next_ping), default=None)
            try:
                wait = None if due is None else max(due - now, 0.0)
                self._handle(self.events.get(timeout=wakeful(wait)))
            except queue.Empty:
                pass
            except Exception:  # an error of ours must not end the service
                log.critical("internal error in the master", exc_info=True)
            try:
                self._tick(monotonic())
            except Exception:  # as above; not again at once
                log.critical("internal error in the master", exc_info=True)
                sleep(_AGAIN)
            if next_ping is not None and watchdog and monotonic() >= next_ping:
                next_ping = monotonic() + watchdog
                systemd.sd_notify("WATCHDOG=1")
        return 0

    def _want_shared(self, now: float) -> None:
        """The process of all sites without one of their own is there before anybody asks."""
        if self._names.shared:
            self._carry_out(self.table.wanted(MAIN, now), now)

    def _moments(self, next_ping: float | None) -> list[float]:
        moments = [self._part_at, next_ping, self.table.deadline, self.inquiries.deadline]
        if self.holdings.admin is not None:
            moments.append(self.holdings.admin.deadline)
        moments += [house.machine.deadline for house in self._all()]
        if self.households:
            moments.append(self._look_at)
        return [max(moment, 0.0) for moment in moments if moment is not None]

    def _announce(self) -> None:
        log.info("nogilserve %s, pid %d", __version__, os.getpid())
        log.info(
            "Serving %s, at most %d at once",
            served(self.config, self.naming),
            self.config.max_tenants,
        )
        for label in self.holdings.labels:
            log.info("Listening on %s", label)
        if self.holdings.admin is not None:
            self.holdings.admin.announce()
        systemd.sd_notify(f"READY=1\nSTATUS=Serving {self.config.app}\nMAINPID={os.getpid()}")
        self.holdings.inheritance.say_ready()

    def _all(self) -> list[Household]:
        return [*self.households.values(), *self.leaving.values()]

    # ---- events

    def _handle(self, event: Event) -> None:
        kind, number, more = event
        now = monotonic()
        if kind == "tenant":
            house = self._house(number)
            if house is not None:
                self._note(house, more)
                self._heard(house, house.handle(more, now), now)
        elif kind == "wanted":
            self._carry_out(self.table.wanted(more, now), now)
        elif kind == "used":
            self.table.used(more, now)
        elif kind == "forgotten":
            self._forgotten(number)
        elif kind == "closed":
            self._carry_out(self.table.closed(more, now), now)
        elif kind == "left" and self._part_at is not None:
            self._part(now)
        elif kind == "signal":
            self._obey(number, now)
        elif kind == "control":
            try:
                self._answer(more, now)
            except Exception:
                more.answer("an error of the server's own: see its log", ok=False)
                raise
        elif kind == "successor":
            self._succeeded(ready=bool(number), now=now)
        elif kind == "admin" and self.holdings.admin is not None:
            self.holdings.admin.ended(number, now)
        elif kind == "changed":
            self._changed(number, more, now)

    def _note(self, house: Household, event: Event) -> None:
        """What processes say of themselves to whoever has asked."""
        kind, number, more = event
        key = house.key(number)
        if kind == "exited":
            self.inquiries.lost(key)
        elif kind == "message" and more["name"] == "ready" and self.drained:
            if number in house.children:
                adjusting.tell_readiness(self, {key: house.children[number]})
        elif kind == "message" and more["name"] == "answer":
            self.inquiries.heard(key, more)
        elif kind == "message" and more["name"] == "totals":
            self.inquiries.counted(key, more["totals"])

    def _ask(self, request: Request, houses: Sequence[Household], now: float) -> None:
        """Have the processes of these answer; what is for one process is for the last."""
        children = children_of(houses)
        self.inquiries.pass_on(request, children, max(children, default=0), now)

    def _house(self, number: int) -> Household | None:
        return next((house for house in self._all() if house.number == number), None)

    def _heard(self, house: Household, news: Sequence[str], now: float) -> None:
        """What has become of a tenant's processes."""
        tenant = house.tenant
        mine = self.households.get(tenant) is house
        for word in news:
            if word == "ready" and mine:
                self._carry_out(self.table.ready(tenant, now), now)
            elif word == "down" and mine:
                self._carry_out(self.table.down(tenant, now), now)
            elif word == "failed" and mine:
                self._leave(house)
                self._failed(house, now)
            elif word == "gone":
                self._gone(house, now)

    def _failed(self, house: Household, now: float) -> None:
        failure = house.failure
        log.error(
            "%s: not served: %s%s",
            house.name,
            failure.message if failure else "its process has ended",
            f"\n{failure.detail.rstrip()}" if failure and failure.detail else "",
        )
        self._carry_out(self.table.failed(house.tenant, "the application cannot start", now), now)

    def _leave(self, house: Household) -> None:
        """It has no place in the table any more."""
        if self.households.get(house.tenant) is house:
            del self.households[house.tenant]
        self.leaving[house.number] = house

    def _gone(self, house: Household, now: float) -> None:
        """The last of its processes has ended."""
        if self.households.get(house.tenant) is house:
            self._leave(house)
            self._carry_out(self.table.failed(house.tenant, "the application has ended", now), now)
        self._leave(house)
        front = self.front
        for door, sock, address in house.left_behind():
            if front is None:
                sock.close()
            else:
                front.again(sock, address, door)
        if front is None:
            self._forgotten(house.number)
        else:
            # The front may be reading from it.
            front.forget(house.back, partial(self.events.put, ("forgotten", house.number, None)))
        if house.counted:
            self._carry_out(self.table.gone(now), now)
        if not self.stopping:
            log.info("%s: ended", house.name)

    def _forgotten(self, number: int) -> None:
        """Nobody has anything to do with it any more."""
        house = self.leaving.pop(number, None)
        if house is not None:
            house.close()

    # ---- what the rules say

    def _carry_out(self, wanted: Sequence[Do], now: float) -> None:
        front = self.front
        if front is None:
            return
        for do in wanted:
            match do:
                case rules.Start(tenant):
                    self._start(tenant, now)
                case rules.Open(tenant):
                    if tenant in self.households:
                        front.open(tenant, self.households[tenant].senders)
                case rules.Close(tenant):
                    front.park(tenant)
                case rules.Stop(tenant, reason):
                    self._stop_one(tenant, reason, now)
                case rules.Refuse(tenant, why, retry_after):
                    front.refuse(tenant, 503, why, retry_after)

    def _start(self, tenant: Tenant, now: float) -> None:
        front = self.front
        assert front is not None
        if self.stopping and not (self._patient and self.front is not None):
            self._carry_out(self.table.failed(tenant, "the server is stopping", now), now)
            return
        self._count += 1
        name = called(self.config, self.naming, tenant)
        bounds = Bounds(self._groups, tenant_name(tenant), self._count, self._files)
        try:
            house = Household(
                self._count,
                tenant,
                lambda: find_place(self.config, self.naming, tenant, self._base),
                self.holdings.listeners,
                self.events,
                bounds,
            )
        except Unknown as error:
            log.info("There is no tenant %s: %s", name, error)
            # Forgotten at once: it costs little to look, and it may be made any moment.
            front.refuse(tenant, 404, "there is no such application here")
            self._carry_out(self.table.failed(tenant, "", now), now)
            self.table.forgiven(tenant)
            return
        except (NogilserveError, OSError) as error:
            log.error("%s: not served: %s", name, error)
            self._carry_out(self.table.failed(tenant, "the application cannot start", now), now)
            return
        self.households[tenant] = house
        front.watch(house.back, tenant)
        if self.config.reload:
            self._watch(house)
        log.info("%s: starting, in %s", name, house.directory)
        self._heard(house, house.start(now), now)

    def _watch(self, house: Household) -> None:
        """Start it anew when a file of its folder changes."""
        from nogilserve.supervise.watch import Watcher  # third-party code, for developers

        folders = replace(house.config, reload_dir=(house.directory,))
        number, events = house.number, self.events
        house.watcher = Watcher(folders, lambda text: events.put(("changed", number, text)))
        house.watcher.start()

    def _stop_one(self, tenant: Tenant, reason: str, now: float) -> None:
        house = self.households.get(tenant)
        if house is None:
            self._carry_out(self.table.gone(now), now)
            return
        log.info("%s: ending: %s", house.name, reason)
        house.counted = True
        self._leave(house)
        self._heard(house, house.stop(now, patient=True), now)

    # ---- by the clock

    def _tick(self, now: float) -> None:
        self._carry_out(self.table.tick(now), now)
        self.inquiries.tick(now)
        if self.holdings.admin is not None:
            self.holdings.admin.tick(now)
        for house in self._all():
            deadline = house.machine.deadline
            if deadline is not None and now >= deadline:
                self._heard(house, house.tick(now), now)
        if now >= self._look_at:
            self._look_at = now + _LOOK
            for tenant, house in list(self.households.items()):
                self.table.seen(tenant, house.look(now), now)
                if not self._names.knows(tenant):
                    self._carry_out(self.table.evict(tenant, "its site is no more", now), now)
        if self._reloads:
            self._reload_some(now)
        elif self._settling and not self._awaits_others():
            self._settling = False
            if self.front is not None:
                self.front.settled()
        if self._part_at is not None and now >= self._part_at:
            if self._part_at < self._part_latest and self.front is not None:
                self._part_at = self._part_latest
                self.front.empty()
            else:
                self._part(now)
        if self.stopping and self._part_at is None and not self._all():
            self._over = True

    def _awaits_others(self) -> bool:
        """Whether a process that goes by the names before will end, as others take its place: until
        then it gives back what is for them. One whose tenant could not reload stays."""
        houses = self.households.values()
        staying = {house.key(house.machine.current) for house in houses if not house.changing}
        self._before &= children_of(self._all()).keys()
        return not self._before <= staying

    def _reload_some(self, now: float) -> None:
        """Some at a time: importing takes a processor each."""
        while self._reloads:
            changing = sum(house.changing for house in self._all())
            if changing >= self.table.rules.at_once:
                return
            house = self.households.get(self._reloads.pop(0))
            if house is not None:
                self._heard(house, house.reload("told to reload", now), now)

    # ---- signals and commands

    def _obey(self, number: int, now: float) -> None:
        name = signal.Signals(number).name
        if name in ("SIGTERM", "SIGINT"):
            self._stop(now)
        elif name == "SIGHUP":
            self._reload_all(now)
        elif name == "SIGUSR1":
            for house in self._all():
                house.tell("logs")
        elif name == "SIGUSR2":
            self._succession.begin(self.holdings.passed_on, self.events, None)
        elif name in ("SIGTTIN", "SIGTTOU"):
            change = 1 if name == "SIGTTIN" else -1
            adjusting.change_threads(self, change)

    def _reload_all(self, now: float) -> str:
        """Read the configuration again, and start every tenant anew; what is wrong, if it is."""
        if self.stopping:
            return "the server is stopping"
        try:
            self._follow(now)
        except ConfigError as error:
            log.error("No reload, the configuration in force stays: %s", error)
            return f"no reload: {error}"
        self.table.forgive_all()
        self._reloads = [tenant for tenant in self.households if self._names.knows(tenant)]
        return ""

    def _follow(self, now: float) -> None:
        """Go on with the configuration as it is written now. Raises ConfigError, which leaves all
        as it is."""
        config = self._following.follow(self.config, self._accept)
        if _is_bounded(config) and not self._groups.there:
            self._groups = Groups.find(wanted=True)
        self.config, self.naming = config, naming_of(config)
        self._names = Names(self.naming)
        configure_logging(config.log_level)
        self.table.rules = rules_of(config)
        if self.front is not None:
            self.front.follow(manners_of(config, self.naming))
            self._settling = True
            self._before = set(children_of(self._all()))
        self._want_shared(now)

    def _accept(self, config: Config) -> None:
        """Refuse what cannot be followed. Raises ConfigError."""
        naming = naming_of(config)
        if naming.names != self.naming.names or bool(naming.rows) != bool(self.naming.rows):
            raise ConfigError(
                "other placeholders make another kind of server: run nogilserve upgrade"
            )
        check(config, self._base)
        self.holdings.follow(config)

    def _answer(self, request: Request, now: float) -> None:
        name = str(request.arguments.get("tenant", ""))
        found = [house for house in self.households.values() if house.name == name]
        if self.stopping and request.command in ("reload", "upgrade"):
            request.answer("the server is stopping", ok=False)
        elif request.command in _OF_ONE and name and not found:
            request.answer(f"there is no tenant {name!r} at work", ok=False)
        elif request.command == "status":
            where = ", ".join(self.holdings.labels)
            request.answer(
                f"nogilserve {__version__}, pid {os.getpid()}, {self.config.app} on {where}: "
                f"{len(self.households)} of {self.config.max_tenants} tenants",
                **status(self, found or list(self.households.values()), now),
            )
        elif request.command in QUESTIONS:
            self._ask(request, found or self._all(), now)
        elif request.command == "stop" and found:
            self._carry_out(self.table.evict(found[0].tenant, "told to", now), now)
            request.answer(f"Ending {name}: finishing what was accepted")
        elif request.command == "stop":
            self._stop(now)
            request.answer("Stopping: finishing what was accepted")
        elif request.command == "reload" and found:
            house = found[0]
            before = house.machine.last
            news = house.reload("nogilserve reload", now)
            house.desk.wait_for(max(house.machine.last, before + 1), request)
            self._heard(house, news, now)
        elif request.command == "reload":
            problem = self._reload_all(now)
            said = problem or f"Reloading {quantity(len(self._reloads), 'tenant')}"
            request.answer(said, ok=not problem)
        elif request.command == "drain":
            adjusting.drain(self, request)
        elif request.command == "threads":
            adjusting.set_threads(self, request, found, now)
        elif request.command == "log-level":
            adjusting.set_level(self, request, found, now)
        elif request.command == "upgrade":
            self._succession.begin(self.holdings.passed_on, self.events, request)
        else:
            request.answer(f"there is no command {request.command!r}", ok=False)

    def _changed(self, number: int, text: str, now: float) -> None:
        house = self._house(number)
        if house is not None and not self.stopping:
            self._heard(house, house.reload(text, now), now)

    # ---- the end

    def _stop(self, now: float, *, patient: bool = False) -> None:
        """Accept what has come, then have every tenant finish; told again, end at once."""
        self.stopping += 1
        self._patient = patient
        if self.stopping > 1:
            self._part(now)
            return
        systemd.sd_notify("STOPPING=1")
        log.info("Stopping: finishing what was accepted")
        self._succession.cancel()
        if self.front is not None:
            self.front.stop()
        self._part_at = now + (_PATIENT if patient else _PARTING)
        self._part_latest = now + self.config.graceful_timeout if patient else 0.0

    def _part(self, now: float) -> None:
        """Nobody is accepted any more: the front ends, then the tenants."""
        self._part_at = None
        if self.front is not None:
            self.front.close()
            self.front = None
        if self._patient:
            self.holdings.disown()
        else:
            self.holdings.refuse()
        for house in self._all():
            house.take_nothing_back()
            if not house.machine.stopping or self.stopping > 1:
                self._heard(house, house.stop(now, patient=self._patient), now)

    def _succeeded(self, *, ready: bool, now: float) -> None:
        """The next master serves, or has given up."""
        pid = self._succession.end(ready=ready and not self.stopping)
        if pid:
            systemd.sd_notify(f"MAINPID={pid}")
            self._stop(now, patient=True)

    def close(self) -> None:
        """Leave nothing behind; may be repeated."""
        if self.front is not None:
            self.front.close()
            self.front = None
        for house in self._all():
            house.close()
        self.households.clear()
        self.leaving.clear()
        self._succession.close()
        self._groups.close()
        self.holdings.close()
        for number, handler in self._signals:
            signal.signal(number, handler)
        self._signals.clear()

    def _catch_signals(self) -> None:
        def note(number: int, _frame: FrameType | None) -> None:
            self.events.put(("signal", number, None))  # SimpleQueue.put is made for handlers

        for name in _SIGNALS:
            number = getattr(signal, name)
            self._signals.append((number, signal.signal(number, note)))


def _is_bounded(config: Config) -> bool:
    return bool(config.tenant_memory or config.tenant_cpu)
