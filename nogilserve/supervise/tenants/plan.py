"""What the configuration says of tenants: checked, in words, and how the front is to behave."""

import os
from typing import Final

from nogilserve.config import Config
from nogilserve.config.templates import Naming, Template
from nogilserve.engine.settings import ProxyRules
from nogilserve.errors import ConfigError
from nogilserve.messages import Limits
from nogilserve.runtimes.contract import quantity
from nogilserve.runtimes.proxies import proxies_of
from nogilserve.sites.tenants import table as rules
from nogilserve.sites.tenants.naming import MAIN, Names, naming_of
from nogilserve.sites.tenants.place import Unknown, called, find_place

__all__ = ["Manners", "check", "manners_of", "rules_of", "served"]

_MOST_VISITORS: Final = 4096


class Manners:
    """How the front treats connections. Immutable."""

    def __init__(
        self,
        names: Names,
        limits: Limits,
        *,
        patience: float,
        most: int,
        tls: bool,
        proxies: ProxyRules,
        health: str = "",
        readiness: str = "",
        poller: str = "auto",
    ) -> None:
        """`names`: whose a request is; `patience`: seconds to say what one wants; `most`:
        connections at the front; `tls`: the tenants speak TLS; `health` and `readiness`: paths at
        which the server itself says that it is alive, and whether new clients are welcome, on new
        connections; "" for none."""
        self.health = health
        self.readiness = readiness
        self.names = names
        self.limits = limits
        self.patience = patience
        self.most = most
        self.tls = tls
        self.proxies = proxies
        self.poller = poller


def check(config: Config, directory: str) -> str:
    """What is served, in a sentence. Raises ConfigError where there can be no tenant at all."""
    for text in (config.chdir, config.venv):
        template = Template.of(text)
        if not template.names:
            continue
        fixed = os.path.dirname(template.pieces[0] + "-")
        path = os.path.join(directory, fixed)
        if os.path.isabs(text) and not os.path.isdir(path):
            raise ConfigError(f"there is no directory {path}, in which tenants are looked for")
    naming = naming_of(config)
    for row in naming.rows:
        if row.own and not row.names:
            tenant = (row.key,)
            try:
                find_place(config, naming, tenant, directory)
            except Unknown as error:
                raise ConfigError(f"{called(config, naming, tenant)}: {error}") from None
    return f"The configuration is valid: {served(config, naming)}."


def served(config: Config, naming: Naming) -> str:
    """What is served, in words."""
    if naming.rows:
        own = sum(row.own for row in naming.rows)
        return f"{quantity(len(naming.rows), 'site')}, {own} in processes of their own"
    return f"{config.app} for each " + " and ".join(f"{{{name}}}" for name in naming.names)


def rules_of(config: Config) -> rules.Rules:
    """Which tenants are started, and which have to go."""
    return rules.Rules(
        most=config.max_tenants,
        idle=config.tenant_idle,
        at_once=max(2, os.process_cpu_count() or 1),
        draining=max(4, config.max_tenants // 4),
        keep_alive=config.keep_alive,
        lasting=frozenset({MAIN}),
    )


def manners_of(config: Config, naming: Naming) -> Manners:
    """How the front treats connections."""
    limits = Limits(
        request_line=config.limit_request_line,
        fields=config.limit_request_fields,
        field_size=config.limit_request_field_size,
        head=config.limit_request_head,
    )
    return Manners(
        Names(naming),
        limits,
        patience=config.header_timeout,
        most=_MOST_VISITORS,
        tls=config.encrypted,
        proxies=proxies_of(config),
        health=config.health_path,
        readiness=config.readiness_path,
        poller=config.poller,
    )
