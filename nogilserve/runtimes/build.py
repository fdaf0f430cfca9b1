"""From the configuration to an application that is ready to be served."""

from collections.abc import Callable

from nogilserve.apps import LoadedApp, load_app
from nogilserve.config import Config, all_sites
from nogilserve.engine.http2 import begin
from nogilserve.engine.settings import Gateway, Settings
from nogilserve.gateways.wsgi import PrefixedWsgiGateway, WsgiGateway
from nogilserve.messages import Limits, RequestRecord, TimeLimits
from nogilserve.runtimes.choose import choose, facts_here
from nogilserve.runtimes.contract import Runtime, Served, because, quantity
from nogilserve.runtimes.encrypting import encrypting, encryption_of
from nogilserve.runtimes.front import in_front
from nogilserve.runtimes.ledger import Row, RowShares
from nogilserve.runtimes.looking import observe_of
from nogilserve.runtimes.preparing import plan_of
from nogilserve.runtimes.proxies import admission_of, proxies_of
from nogilserve.runtimes.spec import specify
from nogilserve.runtimes.tenants import elsewhere_of
from nogilserve.runtimes.threads import ThreadRuntime
from nogilserve.runtimes.watching import watched

__all__ = ["load_here", "load_runtime", "runtime_here"]

Record = Callable[[RequestRecord], None]


def load_runtime(config: Config, record: Record | None) -> Runtime:
    """Import the application and choose what serves it; nothing is started yet.

    `record` takes finished requests for the access log; members write their own. Raises
    AppImportError.
    """
    cores = min(config.workers, config.threads)
    choice = choose(config.runtime, facts_here(cores))
    # Before importing: the application may change what members are to start with.
    spec = specify(config, cores)
    culprits: tuple[str, ...] = ()
    if choice.runtime == "threads":
        runtime = load_here(config, record, reason=choice.reason)
        culprits = runtime.served.gil_enabled_by
        choice = choose(config.runtime, facts_here(cores, culprits))
        if choice.runtime == "threads":
            return runtime
    if choice.runtime == "subinterpreters":
        from nogilserve.runtimes.subinterpreters import Unsuitable, load_subinterpreters

        try:
            return load_subinterpreters(spec, choice.reason)
        except Unsuitable as exc:
            choice = choose(config.runtime, facts_here(cores, obstacle=str(exc)))
    from nogilserve.runtimes.processes import load_processes

    return load_processes(spec, choice.reason, culprits)


def load_here(
    config: Config, record: Record | None, row: Row | None = None, *, reason: str = ""
) -> Runtime:
    """Import the application into this interpreter, to be served by its threads.

    `row`: where a member of a crew counts its connections. `reason`: why threads, for the banner.
    Raises AppImportError.
    """
    if all_sites(config):
        return _several(config, record, row, reason)
    loaded = load_app(
        config.app, factory=config.factory, app_dir=config.app_dir, interface=config.interface
    )
    return runtime_here(config, loaded, record, row, reason=reason)


def runtime_here(
    config: Config,
    loaded: LoadedApp,
    record: Record | None,
    row: Row | None = None,
    *,
    reason: str = "",
) -> Runtime:
    """What serves an application that this interpreter has imported; see `load_here`."""
    if loaded.interface == "asgi":
        # asyncio and WebSockets take time and memory, which a WSGI application need not pay.
        from nogilserve.runtimes.asgi import event_loops

        how = because("runtime threads", reason)
        return event_loops(config, loaded, limits_of(config), record, how, row)
    alone = row is None
    make = in_front(config, lambda: _wsgi_gateway(config, loaded, alone=alone))
    limits = TimeLimits(config.timeout, config.timeout_routes)
    settings = _settings(config, make, limits_of(config), limits, record)
    return _threads(config, settings, loaded.name, loaded.gil_enabled_by, row, reason)


def _several(config: Config, record: Record | None, row: Row | None, reason: str) -> Runtime:
    """What serves several applications, or none."""
    from nogilserve.runtimes.sites import load_sites

    sites = load_sites(config)
    if sites.interface == "asgi":
        from nogilserve.runtimes.asgi import site_loops

        how = because("runtime threads", reason)
        return site_loops(config, sites, limits_of(config), record, how, row)
    make = sites.threads_gateway(alone=row is None)
    limits = sites.limits(limits_of(config))
    settings = _settings(config, make, limits, sites.time_limits(), record)
    return _threads(config, settings, sites.name, sites.gil_enabled_by, row, reason)


def _settings(
    config: Config,
    make: Callable[[], Gateway],
    limits: Limits,
    timeout: TimeLimits,
    record: Record | None,
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


def _threads(
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


def _wsgi_gateway(config: Config, loaded: LoadedApp, *, alone: bool) -> Gateway:
    app, name, debug = loaded.app, loaded.name, config.debug
    if config.root_path:
        return encrypting(config, PrefixedWsgiGateway)(
            app, name, config.root_path, debug=debug, multiprocess=not alone
        ).run
    return encrypting(config, WsgiGateway)(app, name, debug=debug, multiprocess=not alone).run


def limits_of(config: Config) -> Limits:
    """What a peer may send, as the protocols are told."""
    return Limits(
        request_line=config.limit_request_line,
        fields=config.limit_request_fields,
        field_size=config.limit_request_field_size,
        head=config.limit_request_head,
        body=config.limit_request_body,
        h2c=config.h2c_upgrade and config.http == "auto",
    )
