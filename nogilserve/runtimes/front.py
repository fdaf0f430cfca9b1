"""What stands in front of an application: answers some requests, or changes responses.

Imported are only those that the configuration asks for.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from nogilserve.config import Config
from nogilserve.engine.settings import Gateway

if TYPE_CHECKING:  # asyncio takes time and memory, which a WSGI application need not pay
    from nogilserve.engine.loop.core import AsyncGateway

__all__ = ["async_in_front", "in_front"]


def in_front(config: Config, make: Callable[[], Gateway], below: str = "") -> Callable[[], Gateway]:
    """`make`, with what stands in front. `below`: the path of a site, where routes of files
    begin."""
    front: list[Callable[[Gateway], Gateway]] = []
    if config.compress != "off":
        from nogilserve.runtimes.compressing import check_coding, compressing

        check_coding(config.compress)
        front.append(lambda gateway: compressing(config.compress, gateway))
    if config.static_paths:
        from nogilserve.runtimes.statics import statics

        front.append(lambda gateway: statics(config, gateway, below))
    if config.headers:
        from nogilserve.gateways.fields import Edits, FieldsGateway

        edits = Edits(config.headers)
        front.append(lambda gateway: FieldsGateway(edits, gateway).run)
    if not front:
        return make

    def made() -> Gateway:
        gateway = make()
        for before in front:
            gateway = before(gateway)
        return gateway

    return made


def async_in_front(config: Config, below: str = "") -> "Callable[[AsyncGateway], AsyncGateway]":
    """As `in_front`, for the gateways of event loops."""
    front: list[Callable[[AsyncGateway], AsyncGateway]] = []
    if config.compress != "off":
        from nogilserve.runtimes.compressing import async_compressing, check_coding

        check_coding(config.compress)
        front.append(lambda gateway: async_compressing(config.compress, gateway))
    if config.static_paths:
        from nogilserve.runtimes.statics import async_statics

        front.append(lambda gateway: async_statics(config, gateway, below))
    if config.headers:
        from nogilserve.gateways.fields import AsyncFieldsGateway, Edits

        edits = Edits(config.headers)
        front.append(lambda gateway: AsyncFieldsGateway(edits, gateway))

    def put(gateway: "AsyncGateway") -> "AsyncGateway":
        for before in front:
            gateway = before(gateway)
        return gateway

    return put
