"""Giving a request of a stream to the application; as `Connection.run` does for HTTP/1."""

import logging
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from nogilserve.engine.admission import OVERLOADED
from nogilserve.engine.core import Core
from nogilserve.engine.scheduler import TICK
from nogilserve.engine.timeouts import Abandoned
from nogilserve.errors import ProtocolError

if TYPE_CHECKING:
    from nogilserve.engine.http2.exchange import StreamExchange
    from nogilserve.engine.timeouts import Turn

__all__ = ["run", "time_out"]

_log = logging.getLogger("nogilserve.engine")


def run(exchange: "StreamExchange", core: Core) -> bool:
    """Run a request. False: the core was lost meanwhile.

    The caller holds the core's lock; it is released around the call. The request may still be
    running in another thread when this returns.
    """
    exchange.inside = True
    call = core.calls + 1
    core.calls = call
    if core.limit and not _let_in(exchange, core):
        return True
    driver = core.driver
    slow = core.slow
    session = exchange.session
    kind = None
    left = False
    if slow.scores or session.slow:
        kind = _kind(exchange)
        left = slow.is_slow(kind)
        apart = left or (kind in session.slow and bool(session.queue))
        if apart and core.spares.offer(partial(_apart, exchange)):
            return True
    gateway: Any = core.gateway
    lock = core.lock
    began = monotonic()
    if left:
        core.leave()
    else:
        lock.release()
    # From here on another thread may hold the core: nothing of it may be changed.
    if core.unwatched:
        core.unwatched = False
        core.ring()
    try:
        gateway(exchange)
    except Abandoned:
        core.was_blocked(call)
        return False
    except BaseException:
        _gateway_raised(exchange)
    ended = monotonic()
    took_long = ended - began > TICK
    blocked = took_long and (left or core.was_blocked(call))
    if lock.acquire(False):
        if core.driver != driver:  # it was left, or another thread has driven meanwhile
            core.take_back(driver)
        if took_long:
            _was_long(exchange, core, blocked=blocked)
            session.flush()
        elif kind is not None:
            slow.was_short(kind)
            session.slow.discard(kind)
        after(exchange, core)
        return True
    session.flush_from(exchange)  # it was to be sent together with others, by the driver
    core.submit(partial(_take_back, exchange, took_long=took_long, blocked=blocked))
    return False


def _let_in(exchange: "StreamExchange", core: Core) -> bool:
    """Whether to run the request now, where their number is limited. It is counted already."""
    if core.crowded(0):
        core.counters.refuse(OVERLOADED)
        exchange.send_overloaded()
        after(exchange, core)
        core.counters.requests -= 1  # it was not run
        core.calls -= 1
        return False
    if core.door:
        core.leave_waiting(partial(_apart, exchange))
        return False
    return True


def _kind(exchange: "StreamExchange") -> tuple[str, str]:
    """What requests are alike in how long they take: method and first path segment."""
    request = exchange.request
    return request.method, request.path.split("/", 2)[:2][-1]


def _gateway_raised(exchange: "StreamExchange") -> None:
    # A gateway promises not to raise. If it does, one stream is lost, not a core.
    _log.critical("internal error while a request ran", exc_info=True)
    exchange.abort()


def _was_long(exchange: "StreamExchange", core: Core, *, blocked: bool) -> None:
    kind = _kind(exchange)
    if blocked:
        core.slow.was_long(kind)
    slow = exchange.session.slow
    if len(slow) < 64:  # paths come from clients, so there is a bound
        slow.add(kind)


def _apart(exchange: "StreamExchange") -> None:
    """Run a request known to be slow in a spare thread, while the driver drives on."""
    core = exchange.core
    gateway: Any = core.gateway
    exchange.hold = False
    began = monotonic()
    try:
        gateway(exchange)
    except Abandoned:
        return
    except BaseException:
        _gateway_raised(exchange)
    took_long = monotonic() - began > TICK
    core.submit(partial(_take_back, exchange, took_long=took_long, blocked=took_long))


def _take_back(exchange: "StreamExchange", core: Core, *, took_long: bool, blocked: bool) -> bool:
    """A request that ran in a thread which lost the core meanwhile, or never had it, is over."""
    if took_long:
        _was_long(exchange, core, blocked=blocked)
    else:
        kind = _kind(exchange)
        core.slow.was_short(kind)
        exchange.session.slow.discard(kind)
    after(exchange, core)
    return exchange.session.resume_anew(core)


def after(exchange: "StreamExchange", core: Core) -> None:
    """The application call is over; the exchange belongs to the core again."""
    core.counters.requests += 1
    exchange.inside = False
    exchange.session.finish_sending(core, exchange)


def time_out(exchange: "StreamExchange", turn: "Turn", core: Core) -> bool:
    """The application was given up (see `engine.timeouts`): answer in its place."""
    core.counters.requests += 1
    exchange.inside = False
    body, exchange.body = exchange.body, None
    turn.keep(body)
    exchange.session.refuse(
        core,
        exchange,
        ProtocolError(504, "the application took too long to begin its response"),
    )
    return exchange.session.resume_anew(core)
