"""From the configuration to what the engines are told of proxies."""

from nogilserve.config import Config
from nogilserve.engine.settings import ProxyRules

__all__ = ["proxies_of"]


def proxies_of(config: Config) -> ProxyRules:
    """Whom to believe whom requests come from."""
    return ProxyRules(
        headers_from=config.forwarded_allow_ips if config.proxy_headers else (),
        fields=config.forwarded_fields,
        protocol_from=config.proxy_protocol_from if config.proxy_protocol != "off" else (),
        protocol_required=config.proxy_protocol == "required",
    )
