"""A reload reads the configuration again: what a running server can follow, it does.

What the master holds for all generations (addresses, files of its own, who it is) stays as it is
until another master takes over: `nogilserve upgrade` does that without losing a request.
"""

import os
from collections.abc import Callable, Mapping
from copy import replace
from typing import Any

from nogilserve.config import Config
from nogilserve.errors import ConfigError
from nogilserve.supervise.plainlog import log
from nogilserve.supervise.reading import Reading
from nogilserve.supervise.spec import config_of

__all__ = ["Following"]

_COMMANDED = ("threads", "log_level")
"""Settings that commands change in a running server."""
_KINDS = (
    ("tenants", "sites with processes of their own"),
    ("templated", "placeholders in APP, --working-dir or --venv"),
)
"""What makes another kind of server."""


class Following:
    """Owner: the main thread of the master."""

    def __init__(
        self, read: Callable[[], Reading], original: Mapping[str, str], reading: Reading
    ) -> None:
        """`read` reads the command line, variables and the file as at the start, which gave
        `reading`; `original`: the environment before that was taken on."""
        self._read = read
        self._original = original
        self._written = config_of(reading["config"])
        self._given: dict[str, str] = reading["given"]
        self._kinds = [reading[kind] for kind, _ in _KINDS]

    def follow(self, running: Config, accept: Callable[[Config], object]) -> Config:
        """The configuration as it is written now, in force from the next generation on.

        `accept` is who else goes by it, and may refuse. Sets the variables that the next generation
        is to have. Raises ConfigError: then nothing has changed.
        """
        reading = self._read()
        written = config_of(reading["config"])
        for (kind, what), before in zip(_KINDS, self._kinds, strict=True):
            if reading[kind] != before:
                raise ConfigError(f"{what} make another kind of server: restart it")
        held: dict[str, str] = reading["held"]
        kept = {name: getattr(running, name) for name in held}
        config = replace(written, **kept, **self._commanded(running, written))
        accept(config)
        given: dict[str, str] = reading["given"]
        for name in self._given.keys() - given.keys():
            if name in self._original:
                os.environ[name] = self._original[name]
            else:
                os.environ.pop(name, None)
        os.environ.update(given)
        self._given = given
        self._written = written
        others = [flag for name, flag in held.items() if getattr(written, name) != kept[name]]
        if others:
            log.warning(
                "%s changed, which only another master can follow: run nogilserve upgrade",
                ", ".join(others),
            )
        return config

    def _commanded(self, running: Config, written: Config) -> dict[str, Any]:
        """What a command has changed holds until something else is written there."""
        return {
            name: getattr(running, name)
            for name in _COMMANDED
            if getattr(written, name) == getattr(self._written, name)
        }
