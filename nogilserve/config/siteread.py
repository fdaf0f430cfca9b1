"""From the [[site]] tables of a file to rows of the routing table, and every mistake in them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nogilserve.config.declare import Option, options_of
from nogilserve.config.options import SETTINGS
from nogilserve.config.options.sites import SITE_SETTINGS, SiteTable
from nogilserve.config.settings import Config
from nogilserve.config.site import CONTENT, Site, all_sites
from nogilserve.config.sources import FileLayer, read_table
from nogilserve.config.tomllines import Place
from nogilserve.config.values import parse
from nogilserve.errors import ConfigError

__all__ = ["SITE_ONLY", "SITE_TOO", "read_sites", "served_twice"]

SITE_ONLY: Final = options_of(SiteTable)
"""What only a [[site]] may say."""
SITE_TOO: Final = tuple(option for option in SETTINGS if option.name in SITE_SETTINGS)
"""Options of the server that a [[site]] may say otherwise."""

_MOUNT: Final = next(option for option in SETTINGS if option.name == "mount")
_KNOWN: Final = {
    name: option for option in (*SITE_ONLY, *SITE_TOO, _MOUNT) for name in option.names
}
_OF_SERVER: Final = frozenset(name for option in SETTINGS for name in option.names) - set(_KNOWN)
_OF_TABLE: Final = frozenset(option.field for option in SITE_ONLY) | {"mounts"}
_ANSWERS: Final = ("app", "redirect", "respond")


def read_sites(file: FileLayer, mistakes: list[str]) -> tuple[Site, ...]:
    """The sites of a file, the routes of each as rows of their own; what is wrong goes to
    `mistakes`."""
    tables = file.sites
    reader = _Reader(file, mistakes)
    if not isinstance(tables, Sequence) or isinstance(tables, str):
        mistakes.append(f"{file.where('site')}: a site is a table; write [[site]]")
        return ()
    for index, table in enumerate(tables):
        reader.read(table, ("site", index), _Above())
    return tuple(reader.rows)


@dataclass(frozen=True, slots=True)
class _Above:
    """What a route has from its site. Immutable."""

    name: str = ""
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ("/",)
    settings: Mapping[str, Any] = field(default_factory=dict)


class _Reader:
    """Owner: whoever made it."""

    def __init__(self, file: FileLayer, mistakes: list[str]) -> None:
        self.file = file
        self.mistakes = mistakes
        self.rows: list[Site] = []

    def read(self, table: Any, place: Place, above: _Above) -> None:
        """A site or a route, and the routes below it."""
        where = self.file.where(*place)
        kind = str(place[-2])
        if not isinstance(table, dict):
            self.mistakes.append(f"{where}: a {kind} is a table; write [[{_title(place)}]]")
            return
        routes = table.get("route", [])
        own = {key: value for key, value in table.items() if key != "route"}
        for key in [key for key in own if key.replace("_", "-") in _OF_SERVER]:
            del own[key]
            self.mistakes.append(
                f"{self.file.where(*place, key)} is a setting of the whole server; write it above "
                f"the first [[site]]"
            )
        layer, mistakes = read_table(own, _KNOWN, self.file, place)
        self.mistakes += mistakes
        values: dict[str, Any] = {}
        for name, written in layer.items():
            option = _KNOWN[name]
            try:
                values[option.field] = parse(option, written)
            except ConfigError as error:
                self.mistakes += str(error).split("\n")
        if kind == "route" and "hosts" in values:
            self.mistakes.append(f"{layer['hosts'].origin}: hosts belong to the [[site]]")
        failed = bool(mistakes) or len(values) < len(layer)
        here = self._inherit(values, above)
        self._rows(values, here, where, kind, bare=not routes, failed=failed)
        if not isinstance(routes, list):
            self.mistakes.append(f"{self.file.where(*place, 'route')}: write [[{kind}.route]]")
            return
        for index, route in enumerate(routes):
            self.read(route, (*place, "route", index), here)

    def _inherit(self, values: Mapping[str, Any], above: _Above) -> _Above:
        """What is in force in this table, and what the routes below it have from it."""
        hosts = tuple(host for host in values.get("hosts", above.hosts) if host != "*")
        if "*" in values.get("hosts", ()):
            hosts = ()
        paths = tuple(
            _joined(upper, lower) for upper in above.paths for lower in values.get("path", ("/",))
        )
        settings = {name: value for name, value in values.items() if name not in _OF_TABLE}
        kept = {name: value for name, value in above.settings.items() if name not in CONTENT}
        return _Above(values.get("name", above.name), hosts, paths, {**kept, **settings})

    def _rows(
        self,
        values: Mapping[str, Any],
        here: _Above,
        where: str,
        kind: str,
        *,
        bare: bool,
        failed: bool,
    ) -> None:
        """The rows of a table, for each of its paths and for its mounts."""
        answers = [name for name in _ANSWERS if values.get(name) not in (None, "")]
        if values.get("respond") == "":
            answers.append("respond")
        settings = dict(here.settings)
        if len(answers) > 1:
            self.mistakes.append(
                f"{where}: the {kind} has {' and '.join(answers)}; only one of them can answer"
            )
            return
        mounts = values.get("mounts", ())
        if not answers and not settings.get("static_paths"):
            if bare and not mounts and not failed:
                self.mistakes.append(
                    f"{where}: the {kind} serves nothing; give it app, static-path, redirect or "
                    f"respond, or a [[{'site.' * (kind == 'route')}{kind}.route]]"
                )
        else:
            if "app" not in answers:
                # Nothing else is at the site's own path.
                settings.setdefault("static_route", "/")
            for path in here.paths:
                self.rows.append(self._row(values, here, path, settings, where))
        kept = {name: value for name, value in settings.items() if name not in CONTENT}
        for path in here.paths:
            for route, app in mounts:
                self.rows.append(
                    self._row({}, here, _joined(path, route), {**kept, "app": app}, where)
                )

    def _row(
        self,
        values: Mapping[str, Any],
        here: _Above,
        path: str,
        settings: Mapping[str, Any],
        where: str,
    ) -> Site:
        first = here.hosts[0] if here.hosts else ""
        name = here.name or first
        if path != "/" or not name:
            name += path
        return Site(
            name=str(values.get("name", name)),
            hosts=here.hosts,
            path=path,
            exact=values.get("exact", False),
            prefix=values.get("prefix", "mount"),
            redirect=values.get("redirect", ""),
            redirect_status=values.get("redirect_status", 308),
            respond=values.get("respond"),
            respond_status=values.get("respond_status", 200),
            settings=tuple(settings.items()),
            origin=where,
        )


def served_twice(config: Config) -> Iterator[str]:
    """What is said of hosts and paths that two answer for."""
    seen: dict[tuple[str, str, bool], str] = {}
    if config.app or config.static_paths:
        seen["", "/", False] = f"the application {config.app!r}" if config.app else "--static-path"
    for row in all_sites(config):
        for host in row.hosts or ("",):
            key = (host, row.path, row.exact)
            if key in seen:
                what = f"{host}{row.path}" if host else f"{row.path} of any host"
                yield f"{row.origin}: {what} is served already, see {seen[key]}"
                break
            seen[key] = row.origin


def _joined(upper: str, lower: str) -> str:
    return (upper.rstrip("/") + lower.rstrip("/")) or "/"


def _title(place: Place) -> str:
    return ".".join(part for part in place if isinstance(part, str))


def options_in_sites() -> tuple[Option, ...]:
    """All that a [[site]] may say, for documents."""
    return (*SITE_ONLY, *SITE_TOO)
