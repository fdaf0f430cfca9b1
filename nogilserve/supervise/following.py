"""A reload reads the configuration again: what a running server can follow, it does.

What the master holds for all generations (addresses, files of its own, who it is) stays as it is
until another master takes over: `nogilserve upgrade` does that without losing a request.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from nogilserve.config import Config, Resolved, require_app
from nogilserve.config.options import SETTINGS
from nogilserve.config.options.listening import LISTENING
from nogilserve.config.options.process import PROCESS, RELOADING
from nogilserve.config.templates import has_tenants, is_templated
from nogilserve.errors import ConfigError
from nogilserve.supervise.words import log

__all__ = ["Following"]

_HELD = {
    option.field: option.flag
    for option in SETTINGS
    if option.section in (LISTENING, PROCESS, RELOADING)
}
"""Settings of the master itself, by field."""
_COMMANDED = ("threads", "log_level")
"""Settings that commands change in a running server."""


class Following:
    """Owner: the main thread of the master."""

    def __init__(
        self, read: Callable[[], Resolved], original: Mapping[str, str], resolved: Resolved
    ) -> None:
        """`read` reads the command line, variables and the file as at the start, which gave
        `resolved`; `original`: the environment before that was taken on."""
        self._read = read
        self._original = original
        self._written = resolved.config
        self._given = _given(resolved)

    def follow(self, running: Config, accept: Callable[[Config], object]) -> Config:
        """The configuration as it is written now, in force from the next generation on.

        `accept` is who else goes by it, and may refuse. Sets the variables that the next generation
        is to have. Raises ConfigError: then nothing has changed.
        """
        resolved = self._read()
        require_app(resolved)
        written = resolved.config
        for test, what in (
            (has_tenants, "sites with processes of their own"),
            (is_templated, "placeholders in APP, --working-dir or --venv"),
        ):
            if test(written) != test(running):
                raise ConfigError(f"{what} make another kind of server: restart it")
        held = _HELD
        if has_tenants(written) and not is_templated(written):
            held = _HELD | {"chdir": "--chdir"}  # the master is there, and folders of sites below
        kept = {name: getattr(running, name) for name in held}
        config = replace(written, **kept, **self._commanded(running, written))
        accept(config)
        given = _given(resolved)
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


def _given(resolved: Resolved) -> Mapping[str, str]:
    """Variables that the master itself takes on: those of templates are each tenant's."""
    return {} if is_templated(resolved.config) else resolved.environment
