"""Scopes of connections that speak TLS (ASGI's `tls` extension)."""

from functools import cache

from nogilserve.gateways.asgi.calls import Scope
from nogilserve.gateways.asgi.scope import ScopeMaker
from nogilserve.gateways.encrypted import tls_extension
from nogilserve.messages import AsyncExchange

__all__ = ["secured_scopes"]


@cache
def secured_scopes[T: ScopeMaker](kind: type[T]) -> type[T]:
    """A class of makers of scopes which also say what TLS has agreed on."""

    class Secured(kind):  # type: ignore[valid-type, misc]
        """Owner: one event loop."""

        def http(self, exchange: AsyncExchange) -> Scope:
            scope: Scope = kind.http(self, exchange)
            if exchange.tls is not None:
                scope["extensions"]["tls"] = tls_extension(exchange.tls)
            return scope

        def websocket(self, exchange: AsyncExchange, subprotocols: tuple[str, ...]) -> Scope:
            scope: Scope = kind.websocket(self, exchange, subprotocols)
            if exchange.tls is not None:
                scope["extensions"]["tls"] = tls_extension(exchange.tls)
            return scope

    return Secured
