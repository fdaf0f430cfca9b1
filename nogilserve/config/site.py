"""A site: one row of the routing table, with the settings that are different there."""

from copy import replace
from typing import TYPE_CHECKING, Any, Final, Literal

from nogilserve.values import Value

if TYPE_CHECKING:
    from nogilserve.config.settings import Config

__all__ = ["CONTENT", "OWN_PROCESS", "Prefix", "Site", "all_sites", "title"]

type Prefix = Literal["mount", "keep", "strip"]

CONTENT: Final[dict[str, Any]] = {
    "app": "",
    "factory": False,
    "static_paths": (),
    "static_except": (),
    "static_fallthrough": False,
    "static_spa": "",
    "mounts": (),
    "sites": (),
}
"""Settings that say what is served: no site has them from another one, or from the top level."""

OWN_PROCESS: Final = frozenset({"chdir", "venv", "python", "env", "env_files"})
"""Settings that a process has only once."""


class Site(Value):
    """Hosts and a path, and what answers there. Immutable.

    Exactly one of `app` (among the settings), `redirect` and `respond` answers; the files of
    `static_paths` come before it, or stand alone.
    """

    name: str = ""
    """For messages and the status, such as "example.com/api"."""
    hosts: tuple[str, ...] = ()
    """Lower case, ASCII, without ports; "*.example.com" is any one label. (): every host that no
    other site names."""
    path: str = "/"
    """Decoded; what is below it too, unless `exact`. Ends with no slash but "/"."""
    exact: bool = False
    prefix: Prefix = "mount"
    """What becomes of `path`: told to the application (SCRIPT_NAME, root_path), kept in its paths,
    or cut off without a word."""
    redirect: str = ""
    """Where to, with placeholders; "" for none."""
    redirect_status: int = 308
    respond: str | None = None
    """The body of a fixed response; None for none."""
    respond_status: int = 200
    settings: tuple[tuple[str, Any], ...] = ()
    """Fields of Config that are different here."""
    origin: str = ""
    """Where it is written, for messages: "nogilserve.toml, line 12"."""

    def config(self, config: "Config") -> "Config":
        """The settings that are in force here, below those of the whole server."""
        return replace(config, **(CONTENT | dict(self.settings)))

    @property
    def app(self) -> str:
        """The application, "" where there is none."""
        return str(dict(self.settings).get("app", ""))

    @property
    def own_process(self) -> bool:
        """Whether its application needs a process of its own, or one for each name a template
        makes."""
        settings = dict(self.settings)
        return bool("{" in self.app or OWN_PROCESS & settings.keys())


def all_sites(config: "Config") -> tuple[Site, ...]:
    """The sites of the file, and a row for each `--mount`. Empty: one application serves all."""
    mounts = tuple(
        Site(name=route, path=route, settings=(("app", app),), origin="--mount")
        for route, app in config.mounts
    )
    return (*config.sites, *mounts)


def title(config: "Config") -> str:
    """What is served, in a few words."""
    sites = all_sites(config)
    if not sites:
        return config.app
    names = [config.app] * bool(config.app) + [site.name for site in sites]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
