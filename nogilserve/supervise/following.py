"""A reload reads the configuration again: what a running server can follow, it does.

What the master holds for all generations (addresses, files of its own, who it is) stays as it is
until another master takes over: `nogilserve upgrade` does that without losing a request.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace

from nogilserve.config import Config, Resolved, require_app
from nogilserve.config.options import SETTINGS
from nogilserve.config.options.listening import LISTENING
from nogilserve.config.options.process import PROCESS, RELOADING
from nogilserve.config.templates import has_tenants
from nogilserve.errors import ConfigError
from nogilserve.supervise.words import log

__all__ = ["Following"]

_HELD = {
    option.field: option.flag
    for option in SETTINGS
    if option.section in (LISTENING, PROCESS, RELOADING)
}
"""Settings of the master itself, by field."""


class Following:
    """Owner: the main thread of the master."""

    def __init__(
        self, read: Callable[[], Resolved], original: Mapping[str, str], given: Mapping[str, str]
    ) -> None:
        """`read` reads the command line, variables and the file as at the start; `original`: the
        environment before, `given`: what the configuration has added to it."""
        self._read = read
        self._original = original
        self._given = given

    def follow(self, running: Config) -> Config:
        """The configuration as it is written now, in force from the next generation on.

        Sets the variables that the next generation is to have. Raises ConfigError: then nothing
        has changed.
        """
        resolved = self._read()
        require_app(resolved)
        written = resolved.config
        if has_tenants(written) != has_tenants(running):
            raise ConfigError(
                "sites with processes of their own make another kind of server: restart it"
            )
        for name in self._given.keys() - resolved.environment.keys():
            if name in self._original:
                os.environ[name] = self._original[name]
            else:
                os.environ.pop(name, None)
        os.environ.update(resolved.environment)
        self._given = resolved.environment
        kept = {name: getattr(running, name) for name in _HELD}
        others = [flag for name, flag in _HELD.items() if getattr(written, name) != kept[name]]
        if others:
            log.warning(
                "%s changed, which only another master can follow: run nogilserve upgrade",
                ", ".join(others),
            )
        return replace(written, **kept)
