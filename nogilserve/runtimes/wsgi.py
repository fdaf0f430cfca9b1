"""From the configuration to the threads that serve a synchronous application."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from nogilserve.apps import LoadedApp
from nogilserve.config import Config
from nogilserve.engine.http2 import begin
from nogilserve.engine.settings import Gateway, Settings
from nogilserve.gateways.wsgi import PrefixedWsgiGateway, WsgiGateway
from nogilserve.messages import Limits, RequestRecord, TimeLimits
from nogilserve.runtimes.contract import Served, because, quantity
from nogilserve.runtimes.elsewhere import elsewhere_of
from nogilserve.runtimes.encrypting import encrypting, encryption_of
from nogilserve.runtimes.front import in_front
from nogilserve.runtimes.ledger import Row, RowShares
from nogilserve.runtimes.looking import observe_of
from nogilserve.runtimes.preparing import plan_of
from nogilserve.runtimes.proxies import admission_of, proxies_of
from nogilserve.runtimes.threads import ThreadRuntime
from nogilserve.runtimes.watching import watched

if TYPE_CHECKING:
    from nogilserve.runtimes.sites import LoadedSites

__all__ = ["site_threads", "threads"]


def threads(
    config: Config,
    loaded: LoadedApp,
    limits: Limits,
    record: Callable[[RequestRecord], None] | None,
    reason: str,
    row: Row | None = None,
) -> ThreadRuntime:
    """A runtime for a WSGI application. `reason`: why threads, for the banner; `row`: where a
    member of a crew counts its connections."""
    alone = row is None
    make = in_front(config, lambda: _gateway(config, loaded, alone=alone))
    timeout = TimeLimits(config.timeout, config.timeout_routes)
    settings = _settings(config, make, limits, timeout, record)
    return _runtime(config, settings, loaded.name, loaded.gil_enabled_by, row, reason)


def site_threads(
    config: Config,
    sites: "LoadedSites",
    limits: Limits,
    record: Callable[[RequestRecord], None] | None,
    reason: str,
    row: Row | None = None,
) -> ThreadRuntime:
    """As `threads`, for several applications, or none."""
    make = sites.threads_gateway(alone=row is None)
    settings = _settings(config, make, sites.limits(limits), sites.time_limits(), record)
    return _runtime(config, settings, sites.name, sites.gil_enabled_by, row, reason)


def _settings(
    config: Config,
    make: Callable[[], Gateway],
    limits: Limits,
    timeout: TimeLimits,
    record: Callable[[RequestRecord], None] | None,
) -> Settings:
    """What the threads' engine is told. `make` makes the gateway of a core."""
    proxies = proxies_of(config)
    return Settings(
        threads=config.threads,
        cores=min(config.workers, config.threads),
        gateway=watched(config, make),
        limits=limits,
        poller=config.poller,
        keep_alive=config.keep_alive,
        head_timeout=config.header_timeout,
        body_timeout=config.body_timeout,
        write_timeout=config.write_timeout,
        timeout=timeout,
        server_header=config.server_header,
        proxies=proxies,
        limit_concurrency=config.limit_concurrency,
        admission=admission_of(config, proxies),
        http2=None if config.http == "1" else begin,
        http1=config.http != "2",
        record=record,
        encryption=encryption_of(config),
        elsewhere=elsewhere_of(config),
        observe=observe_of(config),
    )


def _runtime(
    config: Config,
    settings: Settings,
    name: str,
    culprits: tuple[str, ...],
    row: Row | None,
    reason: str,
) -> ThreadRuntime:
    threads, cores = quantity(settings.threads, "thread"), quantity(settings.cores, "core")
    how = because(f"runtime threads, {threads} on {cores}", reason)
    served = Served(name, "wsgi", how, culprits)
    shares = None if row is None else RowShares(settings.cores, row)
    return ThreadRuntime(settings, served, shares, plan_of(config))


def _gateway(config: Config, loaded: LoadedApp, *, alone: bool) -> Gateway:
    app, name, debug = loaded.app, loaded.name, config.debug
    if config.root_path:
        return encrypting(config, PrefixedWsgiGateway)(
            app, name, config.root_path, debug=debug, multiprocess=not alone
        ).run
    return encrypting(config, WsgiGateway)(app, name, debug=debug, multiprocess=not alone).run
