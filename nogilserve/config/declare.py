"""How an option is declared: once, as a field of a dataclass.

From that one declaration come the command line, the environment variable, the TOML key, the
check, the help text and docs/options.md.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Final, dataclass_transform

from nogilserve.config.kinds import FLAG, Kind

__all__ = ["SECRET", "Option", "computed", "group", "option", "options_of"]

SECRET: Final = frozenset({"acme_eab_hmac_key", "admin_token", "ssl_keyfile_password", "storage"})
"""Settings that nobody is to read over somebody's shoulder; a storage's URL may have a password."""


@dataclass(frozen=True, slots=True)
class Option:
    """What is known of an option besides its default. Immutable."""

    field: str
    """Its field in the dataclass."""
    flags: tuple[str, ...]
    kind: Kind[Any]
    help: str
    section: str
    metavar: str
    default: object
    default_text: str
    """The default in words where it depends on the machine or on other options, else ""."""
    many: bool
    """Repeatable: the value is a tuple."""
    commas: bool
    """Repeatable, and one text may hold several values, separated by commas."""
    bare: str
    """The value when the flag is given without one; "" if it needs one."""
    scope: str
    """ "all"; "argv": command line only; "no env": command line and file; "site": [[site]]."""

    @property
    def name(self) -> str:
        """The TOML key: the first long flag without its dashes."""
        return self.flag[2:]

    @property
    def flag(self) -> str:
        """The first long flag, by which messages call the option."""
        return next(flag for flag in self.flags if flag.startswith("--"))

    @property
    def called(self) -> str:
        """What messages call it."""
        return self.name if self.scope == "site" else self.flag

    @property
    def names(self) -> tuple[str, ...]:
        """Every long spelling, without the dashes."""
        return tuple(flag[2:] for flag in self.flags if flag.startswith("--"))

    @property
    def is_flag(self) -> bool:
        """Whether it is on or off and takes no value on the command line."""
        return self.kind is FLAG

    @property
    def default_words(self) -> str:
        """The default for readers, "" when there is none."""
        if self.default_text:
            return self.default_text
        if self.is_flag:
            return "on" if self.default else "off"
        return ", ".join(self.shown(self.default)) if self.default not in ("", (), -1, None) else ""

    def shown(self, value: Any) -> list[str]:
        """The value as the texts a user would write: one, or one for each of several.

        None is what a setting that is not set is: no text.
        """
        if value is None:
            return []
        return [self.kind.show(item) for item in (value if self.many else (value,))]


@dataclass(frozen=True, slots=True)
class _Computed:
    make: Callable[[], Any]


def computed[T](make: Callable[[], T]) -> T:
    """A default that depends on the machine, made for each instance."""
    made: Any = _Computed(make)
    result: T = made
    return result


def option[T](
    default: T,
    flags: str,
    kind: Kind[Any],
    explain: str,
    *,
    section: str,
    metavar: str = "",
    default_text: str = "",
    many: bool = False,
    commas: bool = False,
    bare: str = "",
    scope: str = "all",
) -> T:
    """Declare an option as a dataclass field."""
    details = {
        "flags": tuple(flags.split()),
        "kind": kind,
        "help": re.sub(r"\s+", " ", explain).strip(),
        "section": section,
        "metavar": metavar,
        "default_text": default_text,
        "many": many,
        "commas": commas,
        "bare": bare,
        "scope": scope,
    }
    result: Any = (
        field(default_factory=default.make, metadata=details)
        if isinstance(default, _Computed)
        else field(default=default, metadata=details)
    )
    made: T = result
    return made


@dataclass_transform(frozen_default=True)
def group[T](owner: type[T]) -> type[T]:
    """Fields of Config: a dataclass that nobody makes by itself. Without a constructor, a text and
    a comparison of its own, which would take half a millisecond of every start."""
    return dataclass(frozen=True, init=False, repr=False, eq=False, match_args=False)(owner)


def options_of(owner: Any) -> tuple[Option, ...]:
    """The options declared in a dataclass, in order."""
    declared = [f for f in fields(owner) if f.metadata]
    return tuple(Option(field=f.name, default=f.default, **f.metadata) for f in declared)
