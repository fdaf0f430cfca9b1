"""What a generation is told to serve: the configuration as plain data, and back."""

from dataclasses import fields
from typing import Any

from nogilserve.config import Config

__all__ = ["config_of", "plain"]


def plain(config: Config) -> dict[str, Any]:
    """All settings but the addresses, which a generation gets as sockets."""
    return {f.name: getattr(config, f.name) for f in fields(config) if f.name != "binds"}


def config_of(data: dict[str, Any]) -> Config:
    """The settings again, from what has been JSON meanwhile."""
    return Config(**{name: _frozen(value) for name, value in data.items()})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
