"""Settings that a program gives as keyword arguments: `serve(app, bind="…", threads=4)`."""

import os
from collections.abc import Iterable, Mapping
from typing import Any, Final

from nogilserve.config.options import OPTIONS
from nogilserve.config.sources import Layer, Written, unknown
from nogilserve.errors import ConfigError

__all__ = ["from_arguments"]

_NOT_HERE: Final = {
    "config": "give its settings as arguments",
    "chdir": "change the directory before the call (os.chdir)",
    "env": "set variables before the call (os.environ)",
    "env-file": "set variables before the call (os.environ)",
    "python": "start the program with that Python",
    "venv": "start the program with the Python of that environment",
}


def from_arguments(arguments: Mapping[str, Any]) -> Layer:
    """A layer of settings from keyword arguments, named like options with underscores.

    Values are what a configuration file may hold: text, numbers, booleans, and lists or tuples of
    them for options that may be repeated; a path counts as text, None as not given. Raises
    ConfigError.
    """
    known = {
        name: option
        for option in OPTIONS
        if option.scope in ("all", "no env", "no file")
        for name in option.names
    }
    layer: Layer = {}
    for argument, value in arguments.items():
        name = argument.replace("_", "-")
        option = known.get(name)
        if option is None:
            names = {each: each.replace("-", "_") for each in known}
            raise unknown("argument", repr(argument), name, names)
        if why := _NOT_HERE.get(option.name):
            raise ConfigError(f"argument {argument!r} is not for a server in a program: {why}")
        if option.name in layer:
            raise ConfigError(f"{argument!r} and {layer[option.name].origin} say the same")
        if value is None:
            continue
        several = option.many and isinstance(value, Iterable) and not isinstance(value, str)
        texts = tuple(_text(argument, item) for item in (value if several else (value,)))
        layer[option.name] = Written(
            texts if option.many else texts[0], f"the argument {argument!r}"
        )
    return layer


def _text(argument: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, os.PathLike):
        return str(value)
    raise ConfigError(f"argument {argument!r}: {value!r} is neither text nor a number")
