"""Static files in front of the application. Imported only where the configuration asks for them."""

from nogilserve.config import Config
from nogilserve.engine.loop.core import AsyncGateway
from nogilserve.engine.settings import Gateway
from nogilserve.gateways.static import AsyncStaticGateway, Site, StaticGateway, StaticRules

__all__ = ["async_statics", "statics"]


def statics(config: Config, gateway: Gateway, below: str = "") -> Gateway:
    """`gateway` of one core, with the files in front of it. Call it in the core's thread: what
    only one thread touches is quicker. `below`: the path at which their routes begin."""
    return StaticGateway(_site(config, below), gateway).run


def async_statics(config: Config, gateway: AsyncGateway, below: str = "") -> AsyncGateway:
    """As `statics`, for the gateway of an event loop."""
    return AsyncStaticGateway(_site(config, below), gateway)


def _site(config: Config, below: str) -> Site:
    rules = StaticRules(
        folders=tuple((route or config.static_route, path) for route, path in config.static_paths),
        excepted=config.static_except,
        fallthrough=config.static_fallthrough,
        spa=config.static_spa,
        listing=config.static_listing,
        indexes=config.static_indexes,
        cache="" if config.static_cache == "none" else config.static_cache,
        immutable=config.static_immutable,
        precompressed=config.static_precompressed,
        follow=config.static_symlinks,
        root_path=config.root_path,
        below=below.rstrip("/"),
    )
    return Site(rules)
