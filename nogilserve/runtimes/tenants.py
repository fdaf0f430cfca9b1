"""A tenant's process answers for that tenant alone. Imported only where there are tenants."""

from nogilserve.config import Config
from nogilserve.config.templates import host_matches, plain_host, values_of
from nogilserve.gateways.misdirected import Mine
from nogilserve.messages import Request

__all__ = ["by_host", "mine_of"]


def by_host(config: Config) -> bool:
    """Whether the host alone tells tenants apart."""
    return not any(name.startswith("path.") for name in config.tenant[1]) if config.tenant else True


def mine_of(config: Config) -> Mine:
    """Whether a request is for the tenant that this process serves."""
    assert config.tenant
    _, names, tenant, hosts = config.tenant

    def mine(request: Request) -> bool:
        host = plain_host(request.authority)
        if not host or not host_matches(host, hosts):
            return False
        return values_of(names, host, request.path) == tenant

    return mine
