"""Configuration: one declaration per option, one frozen Config.

Knows neither applications nor sockets nor logging. `declare` and `kinds` say how an option is
declared, `options` declares them, `sources` reads where they may be written, `loading` decides,
`settings` is what that gives, and `render` writes help and documentation.
"""

from typing import TYPE_CHECKING, Any

from nogilserve.config.addresses import Bind
from nogilserve.config.settings import Config
from nogilserve.config.site import Site, all_sites, title

if TYPE_CHECKING:
    from nogilserve.config.loading import (
        Resolved,
        load,
        require_app,
        resolve,
        resolve_arguments,
        to_argv,
    )
    from nogilserve.config.options import Invocation, processors
    from nogilserve.config.render import help_text, options_document, settings_document
    from nogilserve.config.sources import COMMANDS

__all__ = [
    "COMMANDS",
    "Bind",
    "Config",
    "Invocation",
    "Resolved",
    "Site",
    "all_sites",
    "help_text",
    "load",
    "options_document",
    "processors",
    "require_app",
    "resolve",
    "resolve_arguments",
    "settings_document",
    "title",
    "to_argv",
]


def __getattr__(name: str) -> Any:
    # What reads and explains a configuration: who only has one does not import it.
    if name in ("Invocation", "processors"):
        from nogilserve.config import options

        return getattr(options, name)
    if name in ("help_text", "options_document", "settings_document"):
        from nogilserve.config import render

        return getattr(render, name)
    if name == "COMMANDS":
        from nogilserve.config import sources

        return sources.COMMANDS
    if name in __all__:
        from nogilserve.config import loading

        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
