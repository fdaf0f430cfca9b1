"""The front: one thread that accepts, looks whose connection it is, and passes the socket on.

It peeks at the first bytes and leaves them where they are; the tenant reads them again,
decrypts and answers. Nothing blocks here: who has not said enough is looked at again after
a pause, until its time is over. Connections of a tenant that is not there yet are parked.
"""

import contextlib
import errno
import heapq
import logging
import math
import queue
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final, Protocol

from nogilserve.config.templates import Tenant
from nogilserve.engine.exhaustion import PAUSE, reason_for, report_refusal
from nogilserve.engine.poller import READ, make_poller
from nogilserve.errors import ProtocolError
from nogilserve.runtimes.contract import quantity
from nogilserve.runtimes.intake import Intake, Sender
from nogilserve.sites.tenants.peek import (
    ALIVE,
    INTERNAL_ERROR,
    NOT_READY,
    READY,
    UNRECOGNIZED_NAME,
    Preamble,
    Tables,
    Verdict,
    alert,
    refusal,
    verdict,
)
from nogilserve.sites.tenants.place import tenant_name
from nogilserve.sockets import Listener
from nogilserve.supervise.tenants.plan import Manners
from nogilserve.supervise.tenants.visitor import Visitor

__all__ = ["Front", "Told"]

_log = logging.getLogger("nogilserve")

_AT_ONCE: Final = 64
"""Connections accepted on one listening socket before the others get their turn."""
_FULL: Final = 0.005
"""Seconds until a tenant is offered connections again that it had no room for."""
_LINGER: Final = 2.0
_TELL: Final = 1.0
"""Seconds between two words that a tenant is used."""
_MOST_BACK: Final = 1024
"""Connections taken from one way back before the others get their turn."""
_PARKED: Final = 1024
"""Connections that may wait for one tenant."""


class Told(Protocol):
    """Where the front says what it has noticed. Any thread may be told."""

    def put(self, event: tuple[str, int, Any], /) -> None:
        """ "wanted", "used" and "closed" with a tenant, "left", "ended"."""


class Seat:
    """A tenant as the front sees it. Owner: the front's thread."""

    __slots__ = ("overfull", "parked", "senders", "told")

    def __init__(self) -> None:
        self.senders: Sequence[Sender] = ()
        """A way for each listening socket; none while it is not there."""
        self.parked: deque[Visitor] = deque()
        self.overfull = False
        """More came than may wait; said already."""
        self.told = -math.inf
        """When the master was told last that it is used."""


class Front:
    """Owner: its thread, from `start` on; the methods up to `close` are for any thread."""

    def __init__(self, listeners: Sequence[Listener], manners: Manners, told: Told) -> None:
        self._doors = [listener.socket for listener in listeners]
        self._secure = [manners.tls and listener.role == "tls" for listener in listeners]
        self._manners = manners
        self._told = told
        self._tables = Tables()
        self._poller = make_poller(manners.poller)
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._visitors: dict[int, Visitor] = {}
        """Those that have not said what they want, or were turned away, by descriptor."""
        self._watched: set[int] = set()
        self._later: list[tuple[float, int, Visitor]] = []
        """When to look at which again; a visitor may stand there several times."""
        self._seats: dict[Tenant, Seat] = {}
        self._backs: dict[int, tuple[Intake, Tenant]] = {}
        """Ends at which tenants give connections back, by descriptor."""
        self._accepting = False
        self._resume_at = 0.0
        self._stopping = False
        self._empties = False
        """Somebody wants to know when nobody is left."""
        self._ended = False
        self._full: set[Tenant] = set()
        self._drained = False
        """New clients are not welcome, and served."""
        self._changing = False
        """Tenants may still go by other names than the front."""
        self.counts: dict[str, int] = {"accepted": 0, "passed": 0, "turned away": 0}
        """Written by the front's thread, read by any."""
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._poller.register(self._reader.fileno(), READ)
        self._thread.start()

    def open(self, tenant: Tenant, senders: Sequence[Sender]) -> None:
        """It takes connections."""
        self._order(lambda: self._open(tenant, senders))

    def park(self, tenant: Tenant) -> None:
        """Send it no more: said back with "closed"."""
        self._order(lambda: self._park(tenant))

    def refuse(self, tenant: Tenant, status: int, why: str, retry_after: int = 0) -> None:
        """Turn away those who wait for it."""
        self._order(lambda: self._refuse(tenant, status, why, retry_after))

    def watch(self, back: socket.socket, tenant: Tenant) -> None:
        """Connections of this tenant that are for others come back here."""
        self._order(lambda: self._watch_back(back, tenant))

    def forget(self, back: socket.socket, then: Callable[[], None]) -> None:
        """Take what has come back, watch no more, and call `then` in the front's thread."""
        self._order(lambda: self._forget_back(back, then))

    def again(self, sock: socket.socket, address: Any, door: int) -> None:
        """A connection that no process has taken."""
        unread = address[2] if isinstance(address, tuple) and len(address) == 3 else b""
        self._order(lambda: self._return(sock, address, door, unread, ()))

    def follow(self, manners: Manners) -> None:
        """Behave like this from now on. Until `settled`, tenants may still go by the names that
        were before."""
        self._order(lambda: self._follow(manners))

    def settled(self) -> None:
        """Every tenant goes by the present names."""
        self._order(self._settle)

    def drain(self, *, drained: bool) -> None:
        """Whether probes say that new clients are not welcome."""
        self._order(lambda: self._drain(drained=drained))

    def stop(self) -> None:
        """Accept no more; who is here is still served."""
        self._order(self._stop)

    def empty(self) -> None:
        """After `stop`: say "left" as soon as everybody was passed on or has lost patience."""
        self._order(self._empty)

    def close(self) -> None:
        """Turn away who is left, and end."""
        self._order(self._end)
        if self._thread.ident is not None:
            self._thread.join()
        self._reader.close()
        self._writer.close()
        self._poller.close()

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.put(order)
        with contextlib.suppress(OSError):  # full: it wakes up anyway
            self._writer.send(b"!")

    # ---- the front's thread

    def _run(self) -> None:
        while not self._ended:
            try:
                self._turn()
            except Exception:  # an error of ours must not end the service
                _log.critical("internal error at the front", exc_info=True)
        self._told.put(("ended", 0, None))

    def _turn(self) -> None:
        now = monotonic()
        self._accept_again(now)
        for fd, _ in self._poller.poll(self._timeout(now)):
            if fd == self._reader.fileno():
                self._obey()
            elif fd in self._backs:
                self._come_back(*self._backs[fd])
            elif (visitor := self._visitors.get(fd)) is not None:
                self._look(visitor, monotonic())
            else:
                self._accept(fd)
        now = monotonic()
        while self._later and self._later[0][0] <= now:
            _, fd, visitor = heapq.heappop(self._later)
            if self._visitors.get(fd) is visitor and visitor.at <= now:
                self._look(visitor, now)
        for tenant in list(self._full):
            self._pass_parked(tenant)
        parked = (seat.parked for seat in self._seats.values())
        if self._empties and not self._visitors and not any(parked):
            self._empties = False
            self._told.put(("left", 0, None))

    def _timeout(self, now: float) -> float:
        moments = [self._later[0][0]] if self._later else []
        if self._full:
            moments.append(now + _FULL)
        if not self._accepting and not self._stopping:
            moments.append(self._resume_at)
        return max(min(moments) - now, 0) if moments else -1.0

    def _obey(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)
        while True:
            try:
                order = self._orders.get_nowait()
            except queue.Empty:
                return
            try:
                order()
            except Exception:  # the next one is not to wait until somebody gives another
                _log.critical("internal error at the front", exc_info=True)

    # ---- accepting

    def _accept_again(self, now: float) -> None:
        """Accept, unless the system has refused just now, or all is to end."""
        wanted = not self._stopping and now >= self._resume_at
        if wanted == self._accepting:
            return
        self._accepting = wanted
        for door in self._doors:
            if wanted:
                self._poller.register_listener(door.fileno())
            else:
                self._poller.unregister(door.fileno())

    def _accept(self, fd: int) -> bool:
        """Accept some. False: nobody waits any more."""
        index = next((i for i, door in enumerate(self._doors) if door.fileno() == fd), -1)
        if index < 0:
            return False
        for _ in range(_AT_ONCE):
            try:
                sock, address = self._doors[index].accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return False
            except OSError as exc:
                if exc.errno != errno.EINVAL and report_refusal(exc):
                    self.counts[reason_for(exc)] = self.counts.get(reason_for(exc), 0) + 1
                    self._resume_at = monotonic() + PAUSE
                return False
            self.counts["accepted"] += 1
            sock.setblocking(False)
            now = monotonic()
            visitor = Visitor(sock, address, index, now + self._manners.patience)
            self._make_room()
            self._visitors[sock.fileno()] = visitor
            self._look(visitor, now)
        return True

    def _make_room(self) -> None:
        """The one that has taken its time for longest goes."""
        if len(self._visitors) >= self._manners.most:
            self._drop(next(iter(self._visitors.values())))

    # ---- looking

    def _look(self, visitor: Visitor, now: float) -> None:
        """See what a visitor has sent."""
        if visitor.answered:
            if now >= visitor.deadline or not visitor.discard():
                self._drop(visitor)
            else:
                self._await(visitor, visitor.deadline)
            return
        try:
            data = visitor.peek()
        except BlockingIOError:
            if now >= visitor.deadline:
                self._drop(visitor)  # it has said nothing: no answer either
            else:
                self._await(visitor, visitor.deadline)
            return
        if data is None:
            self._drop(visitor)
            return
        limits = self._manners.limits
        try:
            found = verdict(data, limits, self._preamble(visitor), self._tables)
        except ProtocolError as exc:  # who may not connect
            self._unwatch(visitor)
            self._answer(visitor, exc)
            return
        if found.kind == "more":
            if now < visitor.deadline:
                self._unwatch(visitor)
                visitor.wait(now)
                heapq.heappush(self._later, (visitor.at, visitor.sock.fileno(), visitor))
            else:
                self._answer(visitor, ProtocolError(408, "the request head took too long"))
            return
        self._unwatch(visitor)
        self._judge(visitor, found)

    def _preamble(self, visitor: Visitor) -> Preamble | None:
        """What reads the PROXY header of a load balancer; the tenant reads it again."""
        rules = self._manners.proxies
        if not rules.preambles or visitor.unread:
            return None
        address = visitor.address
        tcp = isinstance(address, tuple)
        return rules.preamble((address[0], str(address[1])) if tcp else None)

    def _judge(self, visitor: Visitor, found: Verdict) -> None:
        """It has said what it wants."""
        if found.kind == "bad":
            self._turn_away(visitor, found.answer)
            return
        if found.kind == "tls" and not self._secure[visitor.door]:
            self._answer(visitor, ProtocolError(400, "this port speaks HTTP without TLS"))
            return
        if found.path and found.path == self._manners.health:
            self._turn_away(visitor, ALIVE)
            return
        if found.path and found.path == self._manners.readiness:
            self._turn_away(visitor, NOT_READY if self._drained else READY)
            return
        # Of TLS the path is not known; there it does not matter.
        tenant = self._manners.names.find(found.authority, found.path or "/")
        if tenant is None:
            self._unknown(visitor)
            return
        if tenant == visitor.origin:  # which has not found it to be its own
            if self._changing:  # it goes by the table before; the next process will not
                visitor.wait_longest(monotonic())
                heapq.heappush(self._later, (visitor.at, visitor.sock.fileno(), visitor))
            else:
                self._answer(visitor, ProtocolError(421, "this host has no application here"))
            return
        del self._visitors[visitor.sock.fileno()]
        self._give(tenant, visitor)

    def _unknown(self, visitor: Visitor) -> None:
        self._answer(visitor, ProtocolError(404, "there is no such application here"))

    def _answer(self, visitor: Visitor, exc: ProtocolError) -> None:
        """Turn it away in its own language."""
        try:
            begins = (visitor.peek() or b"")[:1]
        except BlockingIOError:
            begins = b""
        if begins == b"\x16" and self._secure[visitor.door]:
            self._turn_away(
                visitor, alert(UNRECOGNIZED_NAME if exc.status == 404 else INTERNAL_ERROR)
            )
        else:
            self._turn_away(visitor, refusal(exc))

    def _turn_away(self, visitor: Visitor, answer: bytes) -> None:
        self.counts["turned away"] += 1
        self._visitors[visitor.sock.fileno()] = visitor
        visitor.unread = b""
        if visitor.turn_away(answer, monotonic() + _LINGER):
            self._await(visitor, visitor.deadline)
        else:
            self._drop(visitor)

    def _await(self, visitor: Visitor, until: float) -> None:
        """Look again when it sends something, at the latest then."""
        fd = visitor.sock.fileno()
        if fd not in self._watched:
            try:
                self._poller.register(fd, READ)
            except OSError:
                self._drop(visitor)
                return
            self._watched.add(fd)
        visitor.at = until
        heapq.heappush(self._later, (until, fd, visitor))

    def _unwatch(self, visitor: Visitor) -> None:
        fd = visitor.sock.fileno()
        if fd in self._watched:
            self._watched.remove(fd)
            self._poller.unregister(fd)

    def _drop(self, visitor: Visitor) -> None:
        self._unwatch(visitor)
        self._visitors.pop(visitor.sock.fileno(), None)
        visitor.close()

    def _come_back(self, intake: Intake, tenant: Tenant) -> None:
        """Take connections that a tenant gives back: more at once do not fit on the way."""
        for _ in range(_MOST_BACK):
            try:
                sock, back = intake.accept()
            except BlockingIOError:
                # It has shut it: that would be reported for ever, unless it is forgotten already.
                if intake.ended and self._backs.pop(intake.fileno(), None) is not None:
                    self._poller.unregister(intake.fileno())
                return
            except OSError as exc:
                report_refusal(exc)
                return
            if len(back) != 3:  # what a tenant sends may be anything
                sock.close()
                continue
            door, _, unread = back
            index = int(door) if door.isdecimal() and int(door) < len(self._doors) else 0
            family = self._doors[index].family
            if sock.family != family:  # the way does not say which it is
                sock = socket.socket(family, socket.SOCK_STREAM, fileno=sock.detach())
            try:
                address = sock.getpeername()
            except OSError:
                sock.close()
                continue
            self.counts["come back"] = self.counts.get("come back", 0) + 1
            self._return(sock, address, index, unread, tenant)

    def _return(
        self, sock: socket.socket, address: Any, door: int, unread: bytes, origin: Tenant
    ) -> None:
        """A connection is here again, with what was read of it."""
        deadline = monotonic() + self._manners.patience
        sock.setblocking(False)
        visitor = Visitor(sock, address, door, deadline, unread, origin)
        self._make_room()
        self._visitors[sock.fileno()] = visitor
        self._look(visitor, monotonic())

    # ---- passing on

    def _give(self, tenant: Tenant, visitor: Visitor) -> None:
        """To the tenant, or to those who wait for it."""
        seat = self._seats.get(tenant)
        if seat is None:
            seat = self._seats[tenant] = Seat()
        if seat.senders and not seat.parked and self._send(seat, visitor):
            self._tell(tenant, seat, "used")
            return
        if len(seat.parked) >= _PARKED:
            self._say_full(tenant, seat)
            self._answer(visitor, _busy("too many wait for this application", 1))
            return
        seat.parked.append(visitor)
        if seat.senders:
            self._full.add(tenant)  # it does not keep up, or has stopped
        else:
            self._tell(tenant, seat, "wanted")

    @staticmethod
    def _say_full(tenant: Tenant, seat: Seat) -> None:
        """Once while it is so."""
        if not seat.overfull:
            seat.overfull = True
            _log.warning(
                "%s: %d connections wait for it to %s, further ones are answered 503",
                tenant_name(tenant),
                _PARKED,
                "take them" if seat.senders else "start",
            )

    def _tell(self, tenant: Tenant, seat: Seat, what: str) -> None:
        now = monotonic()
        if now - seat.told >= _TELL or (what == "wanted" and len(seat.parked) == 1):
            seat.told = now
            self._told.put((what, 0, tenant))

    def _send(self, seat: Seat, visitor: Visitor) -> bool:
        """False: there is no room on the way."""
        try:
            address = visitor.address
            if visitor.unread:
                host, port = address[:2] if isinstance(address, tuple) else ("", 0)
                address = (host, port, visitor.unread)
            if not seat.senders[visitor.door].send(visitor.sock, address):
                return False
        except OSError as exc:
            _log.error("a connection cannot be given to a tenant: %s", exc)
        else:
            self.counts["passed"] += 1
        visitor.close()
        return True

    def _pass_parked(self, tenant: Tenant) -> None:
        seat = self._seats.get(tenant)
        while seat is not None and seat.senders and seat.parked:
            if not self._send(seat, seat.parked[0]):
                self._full.add(tenant)
                return
            seat.parked.popleft()
        if seat is not None and not seat.parked:
            seat.overfull = False
        self._full.discard(tenant)

    # ---- orders

    def _open(self, tenant: Tenant, senders: Sequence[Sender]) -> None:
        seat = self._seats.setdefault(tenant, Seat())
        seat.senders = senders
        seat.overfull = False
        self._pass_parked(tenant)

    def _park(self, tenant: Tenant) -> None:
        seat = self._seats.get(tenant)
        if seat is not None:
            seat.senders = ()
            self._full.discard(tenant)
            if seat.parked:
                self._told.put(("wanted", 0, tenant))
            else:
                del self._seats[tenant]
        self._told.put(("closed", 0, tenant))

    def _refuse(self, tenant: Tenant, status: int, why: str, retry_after: int) -> None:
        seat = self._seats.pop(tenant, None)
        self._full.discard(tenant)
        for visitor in seat.parked if seat is not None else ():
            fields = (("Retry-After", str(retry_after)),) if retry_after else ()
            visitor.answered = False
            self._answer(visitor, ProtocolError(status, why, headers=fields))

    def _follow(self, manners: Manners) -> None:
        self._manners = manners
        self._changing = True

    def _settle(self) -> None:
        # What has come back from processes that are gone is still by the names before.
        for intake, tenant in list(self._backs.values()):
            self._come_back(intake, tenant)
        self._changing = False

    def _drain(self, *, drained: bool) -> None:
        self._drained = drained

    def _watch_back(self, back: socket.socket, tenant: Tenant) -> None:
        intake = Intake(back, socket.AF_INET, ("", ""), None, returning=True)
        self._backs[back.fileno()] = (intake, tenant)
        self._poller.register(back.fileno(), READ)

    def _forget_back(self, back: socket.socket, then: Callable[[], None]) -> None:
        found = self._backs.pop(back.fileno(), None)
        if found is not None:
            self._poller.unregister(back.fileno())
            self._come_back(*found)
        then()

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        doors = [door.fileno() for door in self._doors]
        self._accept_again(monotonic())
        for fd in doors:
            while self._accept(fd):
                pass

    def _empty(self) -> None:
        self._empties = True
        if self._visitors:
            some = quantity(len(self._visitors), "client")
            _log.info("Waiting for %s to say whose application is meant", some)

    def _end(self) -> None:
        self._stop()
        for tenant in list(self._seats):
            self._refuse(tenant, 503, "the server is stopping", 1)
        for visitor in list(self._visitors.values()):
            self._drop(visitor)
        self._ended = True


def _busy(why: str, retry_after: int) -> ProtocolError:
    return ProtocolError(503, why, headers=(("Retry-After", str(retry_after)),))
