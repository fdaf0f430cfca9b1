"""From configuration and application to what the engine is told."""

from collections.abc import Callable

from nogilserve.apps import LoadedApp
from nogilserve.config import Config
from nogilserve.engine.settings import Settings
from nogilserve.errors import AppImportError
from nogilserve.gateways.wsgi import WsgiGateway
from nogilserve.messages import Limits, RequestRecord

__all__ = ["build_settings"]


def build_settings(
    config: Config, loaded: LoadedApp, record: Callable[[RequestRecord], None] | None
) -> Settings:
    """The engine's settings. Raises AppImportError for an application that is not WSGI."""
    if loaded.interface != "wsgi":
        raise AppImportError(
            f"{loaded.name} is an ASGI application; this version serves WSGI applications. "
            "If it is a WSGI application after all, say --interface wsgi."
        )
    app, name, debug = loaded.app, loaded.name, config.debug
    return Settings(
        threads=config.threads,
        cores=min(config.workers, config.threads),
        gateway=lambda: WsgiGateway(app, name, debug=debug).run,
        limits=Limits(
            request_line=config.limit_request_line,
            fields=config.limit_request_fields,
            field_size=config.limit_request_field_size,
            head=config.limit_request_head,
            body=config.limit_request_body,
        ),
        poller=config.poller,
        keep_alive=config.keep_alive,
        head_timeout=config.header_timeout,
        body_timeout=config.body_timeout,
        write_timeout=config.write_timeout,
        server_header=config.server_header,
        record=record,
    )
