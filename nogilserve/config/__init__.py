"""Configuration: one declaration per option, one frozen Config.

Knows neither applications nor sockets nor logging. `declare` and `kinds` say how an option is
declared, `options` declares them, `sources` reads where they may be written, `load` decides, and
`render` writes help and documentation.
"""

from nogilserve.config.addresses import Bind
from nogilserve.config.load import (
    Resolved,
    load,
    require_app,
    resolve,
    resolve_arguments,
    to_argv,
)
from nogilserve.config.options import Config, Invocation, processors
from nogilserve.config.render import help_text, options_document, settings_document
from nogilserve.config.site import Site, all_sites, title
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
