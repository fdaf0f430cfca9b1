"""From the configuration to the places of the routing table. Imports no application."""

from collections.abc import Sequence
from copy import replace

from nogilserve.config import Config, Site, all_sites
from nogilserve.sites.table import Place, Router

__all__ = ["host_with", "router_of", "settings_of_sites"]


def settings_of_sites(config: Config) -> list[tuple[Site, Config]]:
    """Every row of the table, with the settings in force there; the application of the whole
    server is the last one."""
    pairs = [(site, site.config(config)) for site in all_sites(config)]
    if config.app or config.static_paths:
        whole = replace(config, mounts=(), sites=())
        pairs.append((Site(name=config.app, settings=(("app", config.app),)), whole))
    return pairs


def router_of(pairs: Sequence[tuple[Site, Config]]) -> Router:
    """The table, by the index of a pair. A proxy may leave the root path in front, or not."""
    places = []
    for index, (site, config) in enumerate(pairs):
        places.append(Place(index, site.hosts, site.path, site.exact))
        if config.root_path:
            path = (config.root_path + site.path).rstrip("/")
            places.append(Place(index, site.hosts, path, site.exact))
    return Router(places)


def host_with(config: Config, path: str) -> str:
    """A host at which something here answers for a path: for requests that nobody has sent."""
    pairs = settings_of_sites(config)
    router = router_of(pairs)
    named = [host.replace("*", "www") for site, _ in pairs for host in site.hosts]
    for host in ("localhost", *named):
        index = router.find(host, path.partition("?")[0])
        if index >= 0 and not pairs[index][0].own_process:
            return host
    return "localhost"
