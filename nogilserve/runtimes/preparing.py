"""From the configuration to what is done to an application before it is served."""

from typing import Final

from nogilserve.apps import FREE_THREADED, gil_is_on
from nogilserve.config import Config
from nogilserve.prepare import Ask, Plan
from nogilserve.sites.places import host_with

__all__ = ["plan_of"]

_AUTO: Final = frozenset({"freeze", "defer"})
_SHARED: Final = frozenset({"defer", "immortal"})
"""Steps that are for threads which use the same objects at the same time."""


def plan_of(config: Config) -> Plan:
    """What the options say; `auto` is what was measured to be best."""
    return Plan(
        steps=_steps(config),
        asks=tuple(_ask(config, text) for text in config.warmup),
        collecting="default" if config.gc == "auto" else config.gc,
    )


def _steps(config: Config) -> frozenset[str]:
    text = config.prepare
    steps = _AUTO if text == "auto" else frozenset(text.split(",")) - {"none"}
    alone = text == "auto" and config.threads == 1
    return steps - _SHARED if alone or not FREE_THREADED or gil_is_on() else steps


def _ask(config: Config, text: str) -> Ask:
    host, slash, path = text.partition("/")
    path = slash + path
    return Ask(host or host_with(config, path), path)
