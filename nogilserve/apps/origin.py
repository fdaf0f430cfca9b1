"""Which distribution an extension module comes from, and what is known of it without a GIL.

Looks only at what is installed; asks no network.
"""

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Origin", "origin_of"]

_CLASSIFIER: Final = "Programming Language :: Python :: Free Threading"

_SINCE: Final = {
    "asyncpg": "0.31",
    "cffi": "2.0",
    "httptools": "0.9",
    "numpy": "2.1",
    "pyyaml": "6.0.3",
    "sqlalchemy": "2.0.54",
    "uvloop": "0.22.1",
}
"""Releases from which on all modules keep the GIL off, by normalised name."""
_UP_TO: Final = {
    "brotli": ("1.2.1", "brotlicffi does the same and keeps it off"),
    "hiredis": ("3.5.0", "redis works without it"),
    "lxml": ("6.1.3", "version 7 is to"),
}
"""Releases up to which some module is known to switch the GIL on, and what may help."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a module comes from. Immutable."""

    module: str
    distribution: str = ""
    """As it is called in the package index; "" when it belongs to none."""
    version: str = ""
    declares: bool = False
    """Whether its metadata says that it supports free-threaded Python; a declaration only."""

    @property
    def words(self) -> str:
        """ "lxml.etree of lxml 6.1.3"."""
        if not self.distribution:
            return self.module
        return f"{self.module} of {self.distribution} {self.version}"

    @property
    def advice(self) -> str:
        """What to do about a module that switches the GIL on, in half a sentence."""
        key = _normalised(self.distribution)
        if not key:
            return "it does not declare that it is safe without the GIL"
        since = _SINCE.get(key)
        if since and _numbers(self.version) < _numbers(since):
            return f"releases from {since} on keep it off: pip install -U {self.distribution}"
        if key in _UP_TO:
            until, help_ = _UP_TO[key]
            if _numbers(self.version) <= _numbers(until):
                return f"no release up to {until} is known to keep it off; {help_}"
        if self.declares:
            return "although it declares to support free threading; report that to its maintainers"
        return f"it does not declare to be safe without; look for a newer {self.distribution}"


def origin_of(module: str) -> Origin:
    """The distribution that an imported or importable module was installed by."""
    from importlib import metadata  # with email and zipfile: only where something is to be told

    top = module.partition(".")[0]
    found = metadata.packages_distributions().get(top, [])
    for name in sorted(set(found), key=lambda name: not _has(name, module)):
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        classifiers = distribution.metadata.get_all("Classifier") or []
        declares = any(text.startswith(_CLASSIFIER) for text in classifiers)
        return Origin(module, distribution.metadata["Name"], distribution.version, declares)
    return Origin(module)


def _has(name: str, module: str) -> bool:
    """Whether one of a distribution's files is that module: several may share a top-level name."""
    from importlib import metadata

    stem = module.replace(".", "/") + "."
    return any(str(file).startswith(stem) for file in metadata.files(name) or ())


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _numbers(version: str) -> tuple[int, ...]:
    """The numeric beginning of a version, to compare by."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
