"""From the configuration to what the engines are told of proxies and of the number of clients."""

from nogilserve.config import Config
from nogilserve.engine.admission import Admission
from nogilserve.engine.settings import ProxyRules

__all__ = ["admission_of", "proxies_of"]


def proxies_of(config: Config) -> ProxyRules:
    """Whom to believe whom requests come from."""
    return ProxyRules(
        headers_from=config.forwarded_allow_ips if config.proxy_headers else (),
        fields=config.forwarded_fields,
        protocol_from=config.proxy_protocol_from if config.proxy_protocol != "off" else (),
        protocol_required=config.proxy_protocol == "required",
    )


def admission_of(config: Config, rules: ProxyRules) -> Admission | None:
    """What counts connections, None where their number is not limited."""
    if not config.limit_connections and not config.limit_connections_per_address:
        return None
    return Admission(config.limit_connections, config.limit_connections_per_address, rules)
