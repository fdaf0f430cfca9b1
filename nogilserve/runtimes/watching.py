"""What stands before everything else where somebody watches: answers for probes, request ids,
traces. Imported are only those that the configuration asks for.
"""

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from nogilserve.config import Config
from nogilserve.engine.settings import Gateway
from nogilserve.errors import ConfigError
from nogilserve.gateways.health import Readiness

if TYPE_CHECKING:  # asyncio takes time and memory, which a WSGI application need not pay
    from nogilserve.engine.loop.core import AsyncGateway

__all__ = ["READINESS", "async_watched", "watched"]

READINESS: Final = Readiness()
"""That of this interpreter, which has one application to serve."""


def check_tracing() -> None:
    """Raise ConfigError where spans cannot be made."""
    if importlib.util.find_spec("opentelemetry") is None:
        raise ConfigError(
            "option --trace: the package opentelemetry-api is not installed: "
            "pip install 'nogilserve[otel]'"
        )


def watched(config: Config, make: Callable[[], Gateway]) -> Callable[[], Gateway]:
    """`make`, with what stands before it."""
    front: list[Callable[[Gateway], Gateway]] = []
    if config.health_path or config.readiness_path:
        from nogilserve.gateways.health import HealthGateway, Probes

        probes = Probes(config.health_path, config.readiness_path, READINESS)
        front.append(lambda gateway: HealthGateway(probes, gateway).run)
    if config.tenant:
        from nogilserve.gateways.misdirected import OnlyFor
        from nogilserve.runtimes.tenants import by_host, mine_of

        mine, hosts = mine_of(config), by_host(config)
        front.append(lambda gateway: OnlyFor(mine, by_host=hosts, inner=gateway).run)
    if config.redirect_http:
        from nogilserve.gateways.redirect import RedirectGateway
        from nogilserve.runtimes.httpsport import HTTPS

        HTTPS.port = config.https_port
        answers = _challenges(config)
        front.append(lambda gateway: RedirectGateway(HTTPS, gateway, answers).run)
    if config.trace:
        check_tracing()
        from nogilserve.gateways.tracing import TracingGateway

        front.insert(0, lambda gateway: TracingGateway(gateway).run)
    if config.request_id:
        from nogilserve.gateways.requestid import RequestIdGateway

        front.append(lambda gateway: RequestIdGateway(gateway).run)
    if not front:
        return make

    def made() -> Gateway:
        gateway = make()
        for before in front:
            gateway = before(gateway)
        return gateway

    return made


def async_watched(
    config: Config, put: "Callable[[AsyncGateway], AsyncGateway]"
) -> "Callable[[AsyncGateway], AsyncGateway]":
    """As `watched`, for the gateways of event loops; `put` is what comes first."""
    front = [put]
    if config.health_path or config.readiness_path:
        from nogilserve.gateways.health import AsyncHealthGateway, Probes

        probes = Probes(config.health_path, config.readiness_path, READINESS)
        front.append(lambda gateway: AsyncHealthGateway(probes, gateway))
    if config.trace:
        check_tracing()
        from nogilserve.gateways.tracing import AsyncTracingGateway

        front.insert(1, AsyncTracingGateway)
    if config.request_id:
        from nogilserve.gateways.requestid import AsyncRequestIdGateway

        front.append(AsyncRequestIdGateway)
    if config.tenant:
        from nogilserve.gateways.misdirected import AsyncOnlyFor
        from nogilserve.runtimes.tenants import by_host, mine_of

        mine, hosts = mine_of(config), by_host(config)
        front.append(lambda gateway: AsyncOnlyFor(mine, by_host=hosts, inner=gateway))

    if config.redirect_http:
        from nogilserve.gateways.redirect import AsyncRedirectGateway
        from nogilserve.runtimes.httpsport import HTTPS

        HTTPS.port = config.https_port
        answers = _challenges(config)
        front.append(lambda gateway: AsyncRedirectGateway(HTTPS, gateway, answers))

    def made(gateway: "AsyncGateway") -> "AsyncGateway":
        for before in front:
            gateway = before(gateway)
        return gateway

    return made


def _challenges(config: Config) -> Callable[[str], bytes | None] | None:
    """What a certificate authority is to find at a path, where certificates are obtained."""
    if not config.automatic_https:
        return None
    from nogilserve.tls.managed import http_answers

    return http_answers()
