"""Templates: settings with placeholders that each tenant fills with its own name. Pure text.

    /srv/apps/{host.labels.2}    shop.example.com → /srv/apps/shop

Labels are counted from the right, so that they mean the same below any number of further labels;
segments of the path from the left. A value is never more than `[a-z0-9_-]`, so that no name of
a tenant can lead anywhere else than into a folder of that name.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nogilserve.errors import ConfigError

if TYPE_CHECKING:
    from nogilserve.config.settings import Config

__all__ = [
    "Identity",
    "NamedRow",
    "Naming",
    "Template",
    "Tenant",
    "check_template",
    "check_templates",
    "has_tenants",
    "host_matches",
    "is_templated",
    "plain_host",
    "values_of",
]

_PLACEHOLDER: Final = re.compile(r"\{([a-z][a-z0-9_.]*)\}")
_HOST: Final = re.compile(r"(?:http\.request\.)?host")
_LABEL: Final = re.compile(r"(?:(?:http\.request\.)?host\.)?labels\.([0-9]{1,2})")
_SEGMENT: Final = re.compile(r"(?:http\.request\.uri\.)?path\.([0-9]{1,2})")
_VALUE: Final = re.compile(r"[a-z0-9_-]{1,63}")
_LONGEST_HOST: Final = 253

Tenant = tuple[str, ...]
"""A tenant by the values of its placeholders, in the order of their names."""


@dataclass(frozen=True, slots=True)
class NamedRow:
    """A row of the table of sites, as far as it matters whose a request is. Immutable."""

    key: str
    """What its tenants are known by, whatever rows come before it after a reload."""
    hosts: tuple[str, ...]
    path: str
    exact: bool
    own: bool
    """It is served by processes of its own."""
    names: tuple[str, ...]
    """The placeholders in it."""


@dataclass(frozen=True, slots=True)
class Naming:
    """What tells whose a request is; plain data, see `sites/tenants/naming`. Immutable."""

    names: tuple[str, ...] = ()
    """The placeholders, where there are no sites."""
    hosts: tuple[str, ...] = ()
    """Where tenants are looked for; (): everywhere."""
    rows: tuple[NamedRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """Which tenant a process serves. Immutable."""

    name: str
    tenant: Tenant
    naming: Naming

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Identity":
        """Again, from what `asdict` and JSON have made of it; lists are tuples already."""
        naming = data["naming"]
        rows = tuple(NamedRow(**row) for row in naming["rows"])
        return cls(data["name"], data["tenant"], Naming(naming["names"], naming["hosts"], rows))


@dataclass(frozen=True, slots=True)
class Template:
    """A text and its placeholders. Immutable."""

    pieces: tuple[str, ...]
    """Literal text and canonical names of placeholders in turn, beginning and ending with text."""

    @classmethod
    def of(cls, text: str) -> "Template":
        """Read a text: what is no placeholder stays as it is."""
        pieces = [""]
        for index, piece in enumerate(_PLACEHOLDER.split(text)):
            name = _canonical(piece) if index % 2 else ""
            if name:
                pieces += [name, ""]
            else:
                pieces[-1] += f"{{{piece}}}" if index % 2 else piece
        return cls(tuple(pieces))

    @property
    def names(self) -> tuple[str, ...]:
        """The placeholders in it, as they are called in full."""
        return self.pieces[1::2]

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with the values in place."""
        return "".join(
            values[piece] if index % 2 else piece for index, piece in enumerate(self.pieces)
        )


def _canonical(name: str) -> str:
    """A placeholder by its full name, "" if there is no such one."""
    if _HOST.fullmatch(name):
        return "host"
    if found := _LABEL.fullmatch(name):
        return f"host.labels.{int(found[1])}"
    if found := _SEGMENT.fullmatch(name):
        return f"path.{int(found[1])}"
    return ""


def is_templated(config: "Config") -> bool:
    """Whether the application has many tenants: a placeholder says which application, or where."""
    return any(Template.of(text).names for text in (config.app, config.chdir, config.venv))


def has_tenants(config: "Config") -> bool:
    """Whether there are processes of several applications: placeholders, or a site that wants a
    directory, an environment or variables of its own."""
    return is_templated(config) or any(site.own_process for site in config.sites)


def check_templates(config: "Config") -> None:
    """Raise ConfigError for placeholders that nobody could fill, or that cannot be used here."""
    tenants = has_tenants(config)
    texts = [("APP", config.app), ("--working-dir", config.chdir), ("--venv", config.venv)]
    for site in config.sites:
        found = dict(site.settings)
        texts += [
            (f"{name} of {site.origin}", found.get(name, "")) for name in ("app", "chdir", "venv")
        ]
    for flag, text in texts:
        check_template(flag, text)
    if tenants and not config.master:
        raise ConfigError(
            "option --no-master: an application with placeholders, or a site with a process of its "
            "own, needs the process that listens for all"
        )
    paths = [name for _, text in texts for name in _paths_in(text)]
    if tenants and paths and config.encrypted:
        raise ConfigError(
            f"{{{paths[0]}}} cannot tell tenants apart where TLS is spoken: the path is known only "
            "when the tenant has decrypted it; use {host.labels.N}"
        )
    if tenants and config.encrypted:
        _check_hosts(config)
    if tenants and config.tenant_user and config.user:
        raise ConfigError(
            "options --user and --tenant-user: the server has to stay root to become each tenant's "
            "user; leave one of them out"
        )


def check_template(flag: str, text: str) -> None:
    """Raise ConfigError for a placeholder that there is not."""
    rest = Template.of(text).pieces[::2]
    found = re.search(r"\{[a-z.]*[0-9]*\}", "\0".join(rest))
    if found:
        raise ConfigError(
            f"option {flag}: there is no placeholder {found[0]}; there are {{host}}, "
            "{host.labels.N} (from the right, 0 is the last) and {path.N}"
        )
    if ".." in text.partition("{")[2].split("/"):
        raise ConfigError(f"option {flag}: no .. can stand behind a placeholder: {text!r}")


def _check_hosts(config: "Config") -> None:
    """Of a TLS connection only the host is known before it is decrypted."""
    for site in config.sites:
        others = [
            other
            for other in config.sites
            if other is not site and (set(other.hosts) & set(site.hosts) or not site.hosts)
        ]
        if site.own_process and (site.path != "/" or others):
            raise ConfigError(
                f"{site.origin}: a site with a process of its own has its hosts for itself where "
                "TLS is spoken: give it other hosts, without a path"
            )


def _paths_in(text: str) -> list[str]:
    return [name for name in Template.of(text).names if name.startswith("path.")]


def plain_host(authority: str) -> str:
    """The host of "host[:port]" in lower case without a final dot; "" where a tenant cannot have
    such a name."""
    host, colon, port = authority.partition(":")
    if colon and not (port.isascii() and port.isdigit()) and port:
        return ""
    host = host.lower().removesuffix(".")
    if len(host) > _LONGEST_HOST or not all(_VALUE.fullmatch(part) for part in host.split(".")):
        return ""
    return host


def host_matches(host: str, patterns: Sequence[str]) -> bool:
    """Whether a plain host is one of these; "*." stands for one label. Without any, every one."""
    if not patterns:
        return True
    return any(
        host == pattern
        or (pattern.startswith("*.") and host.partition(".")[2] == pattern[2:] != "")
        for pattern in patterns
    )


def values_of(names: Sequence[str], host: str, path: str) -> Tenant | None:
    """The values of these placeholders; None where one has none, or one that is no name.

    `host`: as of `plain_host`; `path`: still percent-encoded.
    """
    values = []
    for name in names:
        kind, _, number = name.rpartition(".")
        if name == "host":
            value = host
        elif kind == "path":
            segments = path.split("/")[1:]
            value = segments[int(number)] if int(number) < len(segments) else ""
        else:
            labels = host.split(".")
            value = labels[-1 - int(number)] if int(number) < len(labels) else ""
        if not value or (name != "host" and not _VALUE.fullmatch(value)):
            return None
        values.append(value)
    return tuple(values)
