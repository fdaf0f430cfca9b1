"""Whose a request is: from host and path to a tenant. Pure; the same in every process.

Without `[[site]]` tables the placeholders alone decide. With them a row of the table is found
first: those that need a process of their own are tenants (one for each name, where they have
placeholders), all others are served together by one process more, MAIN.
"""

from typing import Final

from nogilserve.config import Config, Site
from nogilserve.config.templates import (
    NamedRow,
    Naming,
    Template,
    Tenant,
    host_matches,
    is_templated,
    plain_host,
    values_of,
)
from nogilserve.sites.places import settings_of_sites
from nogilserve.sites.table import Place, Router

__all__ = ["MAIN", "Names", "names_in", "naming_of"]

MAIN: Final[Tenant] = ("-",)
"""Not a name that a client could send: keys of rows have a slash."""


def names_in(config: Config) -> tuple[str, ...]:
    """The placeholders that tell tenants apart, each once, in the order of the options."""
    texts = [config.app, config.chdir, config.app_dir, config.venv, config.python]
    texts += [config.root_path, config.access_log, *config.env_files]
    texts += [*config.certfiles, *config.keyfiles]
    texts += [text for _, text in config.env]
    return tuple(dict.fromkeys(name for text in texts for name in Template.of(text).names))


def naming_of(config: Config) -> Naming:
    """What decides, as plain data."""
    if not config.sites and not config.mounts:
        return Naming(names_in(config), config.tenant_hosts)
    rows = []
    for site, own in settings_of_sites(config):
        separate = site.own_process or is_templated(own)
        names = names_in(own) if separate else ()
        key = _key(site, names)
        rows.append(NamedRow(key, site.hosts, site.path, site.exact, separate, names))
    return Naming((), config.tenant_hosts, tuple(rows))


def _key(site: Site, names: tuple[str, ...]) -> str:
    """No two rows answer for the same host and path. With other placeholders the values mean
    something else."""
    place = (site.hosts[0] if site.hosts else "") + site.path
    return " ".join((place, *(["exact"] if site.exact else []), *names))


class Names:
    """Immutable; any thread."""

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        rows = naming.rows
        self._router = Router(
            Place(index, row.hosts, row.path, row.exact) for index, row in enumerate(rows)
        )
        by_path = [name for row in rows for name in row.names if name.startswith("path.")]
        by_path += [name for name in naming.names if name.startswith("path.")]
        self.by_host = not by_path and all(row.path == "/" and not row.exact for row in rows)
        """The host alone decides."""
        self._own = {row.key: index for index, row in enumerate(rows) if row.own}
        self.shared = any(not row.own for row in rows)
        """There is a process for all rows without one of their own."""

    def find(self, authority: str, path: str) -> Tenant | None:
        """Whose it is, None: nobody's. `path`: still percent-encoded."""
        naming = self._naming
        if not naming.rows:
            return self._named(naming.names, authority, path)
        index = self._router.find(authority, path)
        if index < 0 or not naming.rows[index].own:
            return MAIN  # which also says that there is nothing
        found = self._named(naming.rows[index].names, authority, path)
        return None if found is None else (naming.rows[index].key, *found)

    def row_of(self, tenant: Tenant) -> int:
        """The row of the table that a tenant belongs to; -1: there is none with its own processes,
        or there are no rows."""
        return self._own.get(tenant[0], -1)

    def knows(self, tenant: Tenant) -> bool:
        """Whether such a tenant can be found at all."""
        return not self._naming.rows or tenant == MAIN or self.row_of(tenant) >= 0

    def _named(self, names: tuple[str, ...], authority: str, path: str) -> Tenant | None:
        host = plain_host(authority)
        if not host or not host_matches(host, self._naming.hosts):
            return None
        return values_of(names, host, path)
