"""Every option, declared once: a module for each group of sections, one class of them all."""

from dataclasses import dataclass
from typing import Final

from nogilserve.config.declare import Option, options_of
from nogilserve.config.options.application import APPLICATION, Application
from nogilserve.config.options.asgi import ASGI, Asgi
from nogilserve.config.options.bounds import LIMITS, TIMEOUTS, Bounds
from nogilserve.config.options.files import FILES, Files
from nogilserve.config.options.https import AUTOMATIC_HTTPS, AutomaticHttps
from nogilserve.config.options.invocation import INVOCATION, Invocation
from nogilserve.config.options.listening import LISTENING, Listening, Shorthand
from nogilserve.config.options.observing import OBSERVING, Observing
from nogilserve.config.options.output import LOGGING, RESPONSES, Output
from nogilserve.config.options.process import GENERATIONS, PROCESS, RELOADING, Process
from nogilserve.config.options.proxies import PROXIES, Proxies
from nogilserve.config.options.sites import SITES, Sites
from nogilserve.config.options.tenants import TENANTS, Tenants
from nogilserve.config.options.tls import TLS, Tls
from nogilserve.config.options.work import WORK, Work, processors

__all__ = [
    "OPTIONS",
    "SECTIONS",
    "SETTINGS",
    "Declared",
    "Invocation",
    "Shorthand",
    "processors",
]

SECTIONS: Final = (
    APPLICATION,
    SITES,
    TENANTS,
    LISTENING,
    TLS,
    AUTOMATIC_HTTPS,
    PROXIES,
    WORK,
    ASGI,
    PROCESS,
    GENERATIONS,
    RELOADING,
    TIMEOUTS,
    LIMITS,
    RESPONSES,
    FILES,
    LOGGING,
    OBSERVING,
    INVOCATION,
)
"""In the order of the help and of docs/options.md."""


@dataclass(frozen=True, eq=False, repr=False)
class Declared(
    Observing,
    Sites,
    Tenants,
    Files,
    Output,
    Bounds,
    Process,
    Asgi,
    Work,
    Proxies,
    AutomaticHttps,
    Tls,
    Listening,
    Application,
):
    """The fields of Config, with their defaults."""


def _in_order(*owners: type) -> tuple[Option, ...]:
    declared = [option for owner in owners for option in options_of(owner)]
    return tuple(sorted(declared, key=lambda item: SECTIONS.index(item.section)))


OPTIONS: Final = _in_order(Declared, Shorthand, Invocation)

SETTINGS: Final = _in_order(Declared)
"""Those of Config."""
