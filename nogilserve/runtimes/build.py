"""From the configuration to an application that is ready to be served."""

from collections.abc import Callable

from nogilserve.apps import LoadedApp, load_app
from nogilserve.config import Config, all_sites
from nogilserve.messages import Limits, RequestRecord
from nogilserve.runtimes.choose import choose, facts_here
from nogilserve.runtimes.contract import Runtime, because
from nogilserve.runtimes.ledger import Row
from nogilserve.runtimes.spec import specify

# The two engines take time and memory: only the one that serves is imported.

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
        from nogilserve.runtimes.asgi import event_loops

        how = because("runtime threads", reason)
        return event_loops(config, loaded, limits_of(config), record, how, row)
    from nogilserve.runtimes.wsgi import threads

    return threads(config, loaded, limits_of(config), record, reason, row)


def _several(config: Config, record: Record | None, row: Row | None, reason: str) -> Runtime:
    """What serves several applications, or none."""
    from nogilserve.runtimes.sites import load_sites

    sites = load_sites(config)
    if sites.interface == "asgi":
        from nogilserve.runtimes.asgi import site_loops

        how = because("runtime threads", reason)
        return site_loops(config, sites, limits_of(config), record, how, row)
    from nogilserve.runtimes.wsgi import site_threads

    return site_threads(config, sites, limits_of(config), record, reason, row)


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
