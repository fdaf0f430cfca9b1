"""What a generation is told to serve: the configuration as plain data, and back."""

from dataclasses import asdict, fields
from typing import Any

from nogilserve.config import Config, Site
from nogilserve.config.templates import Identity

__all__ = ["config_of", "plain"]


def plain(config: Config) -> dict[str, Any]:
    """All settings but the addresses, which a generation gets as sockets."""
    data = {f.name: getattr(config, f.name) for f in fields(config) if f.name != "binds"}
    data["sites"] = [asdict(site) for site in config.sites]
    data["tenant"] = asdict(config.tenant) if config.tenant else None
    return data


def config_of(data: dict[str, Any]) -> Config:
    """The settings again, from what has been JSON meanwhile."""
    settings = {name: _frozen(value) for name, value in data.items() if name != "sites"}
    settings["tenant"] = settings["tenant"] and Identity.of(settings["tenant"])
    return Config(**settings, sites=tuple(_site(row) for row in data["sites"]))


def _site(row: dict[str, Any]) -> Site:
    return Site(**{name: _frozen(value) for name, value in row.items()})


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _frozen(item) for name, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
