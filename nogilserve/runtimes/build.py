"""From the configuration to an application that is ready to be served."""

from collections.abc import Callable

from nogilserve.apps import LoadedApp, load_app
from nogilserve.config import Config
from nogilserve.engine.settings import Gateway, Settings
from nogilserve.errors import AppImportError
from nogilserve.gateways.wsgi import PrefixedWsgiGateway, WsgiGateway
from nogilserve.messages import Limits, RequestRecord
from nogilserve.runtimes.contract import Runtime, Served, quantity
from nogilserve.runtimes.threads import ThreadRuntime

__all__ = ["load_runtime"]

Record = Callable[[RequestRecord], None]


def load_runtime(config: Config, record: Record | None) -> Runtime:
    """Import the application and choose what serves it; nothing is started yet.

    `record` takes finished requests for the access log. Raises AppImportError.
    """
    loaded = load_app(
        config.app, factory=config.factory, app_dir=config.app_dir, interface=config.interface
    )
    if loaded.interface != "wsgi":
        raise AppImportError(
            f"{loaded.name} is an ASGI application; this version serves WSGI applications. "
            "If it is a WSGI application after all, say --interface wsgi."
        )
    return _threads(config, loaded, record)


def _threads(config: Config, loaded: LoadedApp, record: Record | None) -> ThreadRuntime:
    cores = min(config.workers, config.threads)
    settings = Settings(
        threads=config.threads,
        cores=cores,
        gateway=lambda: _wsgi_gateway(config, loaded),
        limits=limits_of(config),
        poller=config.poller,
        keep_alive=config.keep_alive,
        head_timeout=config.header_timeout,
        body_timeout=config.body_timeout,
        write_timeout=config.write_timeout,
        server_header=config.server_header,
        record=record,
    )
    how = f"runtime threads, {quantity(config.threads, 'thread')} on {quantity(cores, 'core')}"
    return ThreadRuntime(settings, Served(loaded.name, "wsgi", how, loaded.gil_enabled_by))


def _wsgi_gateway(config: Config, loaded: LoadedApp) -> Gateway:
    app, name, debug = loaded.app, loaded.name, config.debug
    if config.root_path:
        return PrefixedWsgiGateway(app, name, config.root_path, debug=debug).run
    return WsgiGateway(app, name, debug=debug).run


def limits_of(config: Config) -> Limits:
    """What a peer may send, as the protocols are told."""
    return Limits(
        request_line=config.limit_request_line,
        fields=config.limit_request_fields,
        field_size=config.limit_request_field_size,
        head=config.limit_request_head,
        body=config.limit_request_body,
    )
