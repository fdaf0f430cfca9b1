"""From the configuration to the event loops that serve an asynchronous application."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from nogilserve.apps import LoadedApp, gil_is_on
from nogilserve.apps.loopbound import application_modules, find_loop_bound
from nogilserve.config import Config
from nogilserve.engine.loop.core import LoopSettings
from nogilserve.messages import Limits, RequestRecord, TimeLimits
from nogilserve.runtimes.contract import Served
from nogilserve.runtimes.eventloops import loop_factory
from nogilserve.runtimes.front import async_in_front
from nogilserve.runtimes.ledger import Row
from nogilserve.runtimes.looking import observe_of
from nogilserve.runtimes.loops import LoopOptions, LoopRuntime, Mode, Scope
from nogilserve.runtimes.proxies import admission_of, proxies_of
from nogilserve.runtimes.watching import async_watched

__all__ = ["event_loops"]


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
    proxies = proxies_of(config)
    settings = LoopSettings(
        limits=limits,
        keep_alive=config.keep_alive,
        head_timeout=config.header_timeout,
        body_timeout=config.body_timeout,
        write_timeout=config.write_timeout,
        server_header=config.server_header,
        record=record,
        proxies=proxies,
        limit_concurrency=config.limit_concurrency,
        admission=admission_of(config, proxies),
        ws_max_size=config.ws_max_size,
        ws_ping_interval=config.ws_ping_interval,
        ws_ping_timeout=config.ws_ping_timeout,
        ws_deflate=config.ws_per_message_deflate,
        observe=observe_of(config),
    )
    module = loaded.name.partition(":")[0]

    def find_bound(state: Mapping[str, Any] | None) -> Sequence[object]:
        return find_loop_bound(loaded.app, application_modules(module), state, config.loop_bound)

    loop_name, make_loop = loop_factory(config.loop, config.poller)
    options = LoopOptions(
        settings=settings,
        make_loop=make_loop,
        loop_name=loop_name,
        # With the GIL on further loops would only get into each other's way.
        loops=config.loops or (1 if gil_is_on() else min(config.workers, config.threads)),
        find_bound=find_bound,
        insist=config.loops > 1,
        lifespan=cast(Mode, config.lifespan),
        lifespan_scope=cast(Scope, config.lifespan_scope),
        threads=config.threads,
        root_path=config.root_path,
        timeout=TimeLimits(config.timeout, config.timeout_routes),
        debug=config.debug,
        poller=config.poller,
        late=config.blocked_loop_timeout,
        graceful=config.graceful_timeout,
        in_front=async_watched(config, async_in_front(config)),
    )
    served = Served(loaded.name, "asgi", how, loaded.gil_enabled_by)
    return LoopRuntime(loaded.app, served, options, row)
