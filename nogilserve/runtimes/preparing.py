"""From the configuration to what is done to an application before it is served."""

from typing import Final

from nogilserve.apps import FREE_THREADED, gil_is_on
from nogilserve.config import Config
from nogilserve.prepare import Ask, Plan
from nogilserve.sites.places import host_with

__all__ = ["plan_of"]

_AUTO: Final = frozenset({"freeze"})


def plan_of(config: Config) -> Plan:
    """What the options say; `auto` is what was measured to be best."""
    return Plan(
        steps=_steps(config.prepare),
        asks=tuple(_ask(config, text) for text in config.warmup),
        collecting="default" if config.gc == "auto" else config.gc,
    )


def _steps(text: str) -> frozenset[str]:
    if text == "auto":
        return _AUTO
    steps = frozenset(text.split(",")) - {"none"}
    # With the GIL threads do not get into each other's way.
    return steps if FREE_THREADED and not gil_is_on() else steps - {"defer", "immortal"}


def _ask(config: Config, text: str) -> Ask:
    host, slash, path = text.partition("/")
    path = slash + path
    return Ask(host or host_with(config, path), path)
