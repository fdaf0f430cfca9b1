"""What a process is told to serve: the configuration as plain data, and back."""

from typing import Any

from nogilserve.config import Bind, Config, Site

__all__ = ["config_of", "plain"]


def plain(config: Config, *, addresses: bool = False) -> dict[str, Any]:
    """All settings; the addresses only on request, for a generation gets them as sockets."""
    data = dict(vars(config))
    data["binds"] = [_row(bind) for bind in config.binds] if addresses else []
    data["sites"] = [_row(site) for site in config.sites]
    if config.tenant is not None:
        from dataclasses import asdict

        data["tenant"] = asdict(config.tenant)
    return data


def _row(item: Bind | Site) -> dict[str, Any]:
    return {name: getattr(item, name) for name in item.__match_args__}


def config_of(data: dict[str, Any]) -> Config:
    """The settings again, from what has been JSON meanwhile."""
    settings = {name: _frozen(value) for name, value in data.items()}
    settings["binds"] = tuple(Bind(**row) for row in settings["binds"])
    settings["sites"] = tuple(Site(**row) for row in settings["sites"])
    if settings["tenant"] is not None:
        from nogilserve.config.templates import Identity

        settings["tenant"] = Identity.of(settings["tenant"])
    return Config.of(settings)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _frozen(item) for name, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
