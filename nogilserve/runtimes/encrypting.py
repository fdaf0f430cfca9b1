"""From the configuration to what engines and gateways are told of TLS, where it is spoken."""

from typing import TYPE_CHECKING

from nogilserve.config import Config

if TYPE_CHECKING:  # nobody needs all of them
    from nogilserve.engine.encryption import Encryption
    from nogilserve.gateways.asgi.scope import ScopeMaker
    from nogilserve.gateways.wsgi import WsgiGateway

__all__ = ["encrypting", "encrypting_scopes", "encryption_of"]


def encryption_of(config: Config) -> "Encryption | None":
    """What the engines are told, None where TLS is not spoken. Raises ConfigError for certificates
    that cannot be used."""
    if not config.encrypted:
        return None
    from nogilserve.runtimes.certificates import make_encryption

    return make_encryption(config)


def encrypting[T: "WsgiGateway"](config: Config, kind: type[T]) -> type[T]:
    """The class of gateways to be made: one that tells of TLS where that is spoken."""
    if not config.encrypted:
        return kind
    from nogilserve.gateways.encrypted import secured

    return secured(kind)  # type: ignore[arg-type]


def encrypting_scopes[T: "ScopeMaker"](config: Config, kind: type[T]) -> type[T]:
    """As `encrypting`, for what makes the scopes of ASGI."""
    if not config.encrypted:
        return kind
    from nogilserve.gateways.asgi.encrypted import secured_scopes

    return secured_scopes(kind)  # type: ignore[arg-type]
