"""From the configuration to what is done to an application before it is served."""

from typing import Final

from nogilserve.apps import FREE_THREADED, gil_is_on
from nogilserve.config import Config
from nogilserve.prepare import AVAILABLE, STEPS, Ask, Plan
from nogilserve.sites.places import host_with

__all__ = ["plan_of", "steps_of"]

_AUTO: Final = frozenset({"freeze", "defer"})
_SHARED: Final = frozenset({"defer", "immortal"})
"""Steps that are for threads which use the same objects at the same time."""


def plan_of(config: Config) -> Plan:
    """What the options say; `auto` is what was measured to be best."""
    steps, left = steps_of(
        config.prepare, config.threads, free_threaded=FREE_THREADED, gil=gil_is_on()
    )
    return Plan(
        steps=steps,
        asks=tuple(_ask(config, text) for text in config.warmup),
        collecting="default" if config.gc == "auto" else config.gc,
        sooner=config.gc == "auto",
        left=left,
    )


def steps_of(
    text: str, threads: int, *, free_threaded: bool, gil: bool
) -> tuple[frozenset[str], tuple[str, ...]]:
    """The steps that `--prepare` with that text takes, and those it does not, each with the
    reason. `gil`: it is on once the application is imported."""
    automatic = text == "auto"
    wanted = _AUTO if automatic else frozenset(text.split(",")) - {"none"}
    if "immortal" in wanted:
        wanted |= {"freeze"}  # what is never freed need not be looked at
    if not free_threaded:
        why = "this Python has a GIL"
    elif gil:
        why = "the GIL is on"
    elif not AVAILABLE:
        why = "it takes CPython 3.14 or later"
    elif automatic and threads == 1:
        return wanted - _SHARED, ()  # nothing to tell: nobody asked for them
    else:
        return wanted, ()
    return wanted - _SHARED, tuple(
        f"{step}: {why}" for step in STEPS if step in wanted and step in _SHARED
    )


def _ask(config: Config, text: str) -> Ask:
    host, slash, path = text.partition("/")
    path = slash + path
    return Ask(host or host_with(config, path), path)
