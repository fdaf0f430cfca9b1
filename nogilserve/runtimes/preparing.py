"""From the configuration to what is done to an application before it is served."""

from typing import Final

from nogilserve.apps import FREE_THREADED, gil_is_on
from nogilserve.apps.interpreter import IN_SUBINTERPRETER
from nogilserve.config import Config
from nogilserve.prepare import AVAILABLE, IMMORTAL, STEPS, Ask, Plan

__all__ = ["plan_of", "steps_of"]

_AUTO: Final = frozenset({"freeze", "defer", "immortal"} if IMMORTAL else {"freeze", "defer"})
_SHARED: Final = frozenset({"defer", "immortal"})
"""Steps that are for threads which use what another one has made."""


def plan_of(config: Config) -> Plan:
    """What the options say; `auto` is what was measured to be best."""
    steps, left = steps_of(
        config.prepare,
        free_threaded=FREE_THREADED,
        gil=gil_is_on(),
        subinterpreter=IN_SUBINTERPRETER,
    )
    return Plan(
        steps=steps,
        asks=tuple(_ask(config, text) for text in config.warmup),
        collecting="default" if config.gc == "auto" else config.gc,
        sooner=config.gc == "auto",
        left=left,
    )


def steps_of(
    text: str, *, free_threaded: bool, gil: bool, subinterpreter: bool = False
) -> tuple[frozenset[str], tuple[str, ...]]:
    """The steps that `--prepare` with that text takes, and those it does not, each with the
    reason. `gil`: it is on once the application is imported."""
    wanted = _AUTO if text == "auto" else frozenset(text.split(",")) - {"none"}
    if "immortal" in wanted:
        wanted |= {"freeze"}  # what is never freed need not be looked at
    if not free_threaded:
        refused, why = _SHARED, "this Python has a GIL"
    elif gil:
        refused, why = _SHARED, "the GIL is on"
    elif not AVAILABLE:
        refused, why = _SHARED, "it takes CPython 3.14 or later"
    elif subinterpreter:
        # It would not come to its end.
        refused, why = (
            frozenset({"immortal"}),
            "a subinterpreter frees all that it has when it ends",
        )
    else:
        return wanted, ()
    return wanted - refused, tuple(
        f"{step}: {why}" for step in STEPS if step in wanted and step in refused
    )


def _ask(config: Config, text: str) -> Ask:
    host, slash, path = text.partition("/")
    path = slash + path
    if not host:
        from nogilserve.sites.places import host_with

        host = host_with(config, path)
    return Ask(host, path)
