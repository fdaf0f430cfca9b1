"""Commands that change settings of running tenants: of one, or of the whole server.

What a command has changed holds for the generations that follow, too, until something else is
written in the configuration.
"""

from collections.abc import Mapping, Sequence
from copy import replace
from time import monotonic
from typing import TYPE_CHECKING, Final

from nogilserve.supervise.child import Child
from nogilserve.supervise.control import Request
from nogilserve.supervise.inquiries import Answers
from nogilserve.supervise.plainlog import LEVELS
from nogilserve.supervise.tenants.household import Household, children_of
from nogilserve.supervise.words import configure_logging, log

if TYPE_CHECKING:
    from nogilserve.supervise.tenants.master import TenantMaster

_MOST_THREADS: Final = 4096

__all__ = ["change_threads", "drain", "set_level", "set_threads", "tell_readiness"]


def drain(master: "TenantMaster", request: Request) -> None:
    """Tell load balancers to send no new clients, or to send them again."""
    master.drained = not request.arguments.get("off")
    if master.front is not None:
        master.front.drain(drained=master.drained)
    tell_readiness(master, children_of(master.households.values()))
    text = (
        "Not ready for new clients from now on; what comes is served"
        if master.drained
        else "Ready for new clients again"
    )
    log.info("%s", text)
    request.answer(text)


def tell_readiness(master: "TenantMaster", children: Mapping[int, Child]) -> None:
    """For probes on connections that a tenant has."""
    arguments = {"ready": not master.drained}
    master.inquiries.begin("readiness", arguments, children, monotonic(), lambda _: None)


def set_level(
    master: "TenantMaster", request: Request, found: Sequence[Household], now: float
) -> None:
    """What is logged, by one tenant or by all and the server itself."""
    level = str(request.arguments.get("level", ""))
    if level not in LEVELS:
        request.answer(f"{level!r} is none of {', '.join(LEVELS)}", ok=False)
        return
    for house in found:
        house.order(log_level=level)
    if not found:
        configure_logging(level)
        master.config = replace(master.config, log_level=level)
    children = children_of(found or master.households.values())
    master.inquiries.pass_on(request, children, 0, now)


def set_threads(
    master: "TenantMaster", request: Request, found: Sequence[Household], now: float
) -> None:
    """How many requests may be inside one tenant at once, or inside each."""
    houses = found or list(master.households.values())

    def then(answers: Answers) -> None:
        counts = {answer.get("now") for answer in answers.values()}
        if not found and "to" in request.arguments and counts == {request.arguments["to"]}:
            master.config = replace(master.config, threads=request.arguments["to"])
        _adjusted(master, answers)

    children = children_of(houses, current=True)
    master.inquiries.pass_on(request, children, 0, now, then, every=True)


def change_threads(master: "TenantMaster", change: int) -> None:
    """The same by a signal: one more, or fewer, in each."""
    children = children_of(master.households.values(), current=True)
    arguments = {"change": change}
    master.inquiries.begin(
        "threads", arguments, children, monotonic(), lambda answers: _adjusted(master, answers)
    )


def _adjusted(master: "TenantMaster", answers: Answers) -> None:
    houses = {house.number: house for house in master.households.values()}
    for key, answer in answers.items():
        house = houses.get(Household.number_of(key))
        now = answer.get("now")
        if house is None:
            continue
        # What a tenant answers may be anything.
        if type(now) is int and 0 < now <= _MOST_THREADS and "error" not in answer:
            house.order(threads=now)
        else:
            log.warning(
                "%s: the number of threads stays: %s", house.name, answer.get("error", "no answer")
            )
