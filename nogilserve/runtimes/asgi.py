"""From the configuration to the event loops that serve an asynchronous application."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from nogilserve.apps import LoadedApp, gil_is_on
from nogilserve.apps.loopbound import (
    application_modules,
    explain_loop_error,
    find_loop_bound,
)
from nogilserve.config import Config
from nogilserve.engine.loop.core import AsyncGateway, LoopSettings
from nogilserve.engine.loop.http2 import begin
from nogilserve.gateways.asgi import AsgiGateway, MountedScopeMaker
from nogilserve.gateways.asgi.scope import ScopeMaker
from nogilserve.gateways.callthreads import CallThreads
from nogilserve.messages import Limits, RequestRecord, TimeLimits
from nogilserve.runtimes.contract import Served, quantity
from nogilserve.runtimes.elsewhere import elsewhere_of
from nogilserve.runtimes.encrypting import encrypting_scopes, encryption_of
from nogilserve.runtimes.eventloops import loop_factory
from nogilserve.runtimes.front import async_in_front
from nogilserve.runtimes.ledger import Row
from nogilserve.runtimes.looking import observe_of
from nogilserve.runtimes.loops import LoopApp, LoopOptions, LoopRuntime, Mode, Scope
from nogilserve.runtimes.preparing import plan_of
from nogilserve.runtimes.proxies import admission_of, proxies_of
from nogilserve.runtimes.watching import async_watched

if TYPE_CHECKING:
    from nogilserve.runtimes.sites import LoadedSites
    from nogilserve.runtimes.sites import Row as SiteRow

__all__ = ["event_loops", "site_loops"]


def event_loops(
    config: Config,
    loaded: LoadedApp,
    limits: Limits,
    record: Callable[[RequestRecord], None] | None,
    how: str,
    row: Row | None = None,
) -> LoopRuntime:
    """A runtime for an ASGI application. `how`: the runtime in words, to which it adds the number
    of loops; `row`: where a member of a crew counts its connections. Raises ConfigError for an
    event loop that cannot be had.
    """
    options = replace(
        _options(config, _settings(config, limits, record)),
        find_bound=_bound_finder(config, loaded),
        timeout=TimeLimits(config.timeout, config.timeout_routes),
        in_front=async_watched(config, async_in_front(config)),
        scopes=encrypting_scopes(config, ScopeMaker),
    )
    served = Served(loaded.name, "asgi", how, loaded.gil_enabled_by)
    return LoopRuntime(loaded.app, served, options, row)


def site_loops(
    config: Config,
    sites: "LoadedSites",
    limits: Limits,
    record: Callable[[RequestRecord], None] | None,
    how: str,
    row: Row | None = None,
) -> LoopRuntime:
    """As `event_loops`, for several applications. WSGI ones are called by `--threads` threads,
    which all loops share."""
    threads = CallThreads(config.threads)
    if any(app.interface == "wsgi" for app in sites.apps):
        how = f"{how}, {quantity(config.threads, 'thread')} for WSGI"
    options = replace(
        _options(config, _settings(config, sites.limits(limits), record)),
        apps=tuple(_loop_app(config, app, rows) for app, rows in sites.asgi_rows),
        join=lambda gateways, loop: sites.loops_gateway(gateways, loop, threads, alone=row is None),
        in_front=async_watched(config, lambda gateway: gateway),
        stuck=threads.replaced,
        ended=threads.close,
    )
    served = Served(sites.name, "asgi", how, sites.gil_enabled_by)
    return LoopRuntime(None, served, options, row)


def _loop_app(config: Config, loaded: LoadedApp, rows: "Sequence[SiteRow]") -> LoopApp:
    """An application with all the places where it answers."""

    def make(loop: asyncio.AbstractEventLoop, state: dict[str, Any] | None) -> list[AsyncGateway]:
        return [
            AsgiGateway(
                loaded.app,
                loaded.name,
                loop,
                debug=row.config.debug,
                timeout=TimeLimits(row.config.timeout, row.config.timeout_routes),
                explain=explain_loop_error,
                scopes=encrypting_scopes(config, MountedScopeMaker)(
                    state,
                    root_path=row.config.root_path,
                    path=row.site.path,
                    prefix=row.site.prefix,
                    debug=row.config.debug,
                ),
            )
            for row in rows
        ]

    own = rows[0].config
    return LoopApp(
        loaded.app,
        loaded.name,
        make,
        _bound_finder(config, loaded),
        cast(Mode, own.lifespan),
        cast(Scope, own.lifespan_scope),
    )


def _bound_finder(
    config: Config, loaded: LoadedApp
) -> Callable[[Mapping[str, Any] | None], Sequence[object]]:
    module = loaded.name.partition(":")[0]

    def find_bound(state: Mapping[str, Any] | None) -> Sequence[object]:
        return find_loop_bound(loaded.app, application_modules(module), state, config.loop_bound)

    return find_bound


def _settings(
    config: Config, limits: Limits, record: Callable[[RequestRecord], None] | None
) -> LoopSettings:
    """What the engine is told."""
    proxies = proxies_of(config)
    return LoopSettings(
        limits=limits,
        keep_alive=config.keep_alive,
        head_timeout=config.header_timeout,
        body_timeout=config.body_timeout,
        write_timeout=config.write_timeout,
        server_header=config.server_header,
        http2=None if config.http == "1" else begin,
        http1=config.http != "2",
        record=record,
        proxies=proxies,
        limit_concurrency=config.limit_concurrency,
        admission=admission_of(config, proxies),
        ws_max_size=config.ws_max_size,
        ws_ping_interval=config.ws_ping_interval,
        ws_ping_timeout=config.ws_ping_timeout,
        ws_deflate=config.ws_per_message_deflate,
        encryption=encryption_of(config),
        elsewhere=elsewhere_of(config),
        observe=observe_of(config),
    )


def _options(config: Config, settings: LoopSettings) -> LoopOptions:
    """How many loops there are, and what is the same for every application."""
    loop_name, make_loop = loop_factory(config.loop, config.poller)
    return LoopOptions(
        settings=settings,
        make_loop=make_loop,
        loop_name=loop_name,
        # With the GIL on further loops would only get into each other's way.
        loops=config.loops or (1 if gil_is_on() else min(config.workers, config.threads)),
        find_bound=lambda _: (),
        insist=config.loops > 1,
        lifespan=cast(Mode, config.lifespan),
        lifespan_scope=cast(Scope, config.lifespan_scope),
        threads=config.threads,
        root_path=config.root_path,
        debug=config.debug,
        poller=config.poller,
        late=config.blocked_loop_timeout,
        graceful=config.graceful_timeout,
        plan=plan_of(config),
    )
