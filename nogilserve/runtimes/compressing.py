"""Compression of responses. Imported only where the configuration asks for it."""

from nogilserve.engine.loop.core import AsyncGateway
from nogilserve.engine.settings import Gateway
from nogilserve.errors import ConfigError
from nogilserve.gateways.compression import (
    AsyncCompressingGateway,
    CompressingGateway,
    codings,
)

__all__ = ["async_compressing", "check_coding", "compressing"]

_MISSING = {
    "zstd": "it comes with Python 3.14",
    "br": "install the package brotli",
}


def check_coding(name: str) -> None:
    """Raise ConfigError for a coding that cannot be had here."""
    try:
        codings(name)
    except ImportError as exc:
        raise ConfigError(
            f"option --compress: {name!r} is not there: {_MISSING.get(name, exc)}"
        ) from exc


def compressing(name: str, gateway: Gateway) -> Gateway:
    """`gateway` of one core, with what the application sends compressed."""
    return CompressingGateway(codings(name), gateway).run


def async_compressing(name: str, gateway: AsyncGateway) -> AsyncGateway:
    """As `compressing`, for the gateway of an event loop."""
    return AsyncCompressingGateway(codings(name), gateway)
