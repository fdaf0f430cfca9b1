"""What is believed of proxies."""

from typing import Final

from nogilserve.config.declare import group, option
from nogilserve.config.kinds import FLAG, choice
from nogilserve.config.networks import NETWORK

__all__ = ["PROXIES", "Proxies"]

PROXIES: Final = "Behind a proxy"

_ON_THIS_MACHINE: Final = ("127.0.0.1", "::1", "unix")


@group
class Proxies:
    """The part of Config about proxies in front of the server."""

    proxy_headers: bool = option(
        True,
        "--proxy-headers",
        FLAG,
        """Take the client's address and the scheme from the header fields of a proxy that
        --forwarded-allow-ips names.""",
        section=PROXIES,
    )
    forwarded_allow_ips: tuple[str, ...] = option(
        _ON_THIS_MACHINE,
        "--forwarded-allow-ips",
        NETWORK,
        """Proxies that are believed: addresses, networks, unix for those on a unix socket, * for
        whoever connects. Separated by commas or repeated.""",
        section=PROXIES,
        metavar="ADDRESS",
        many=True,
        commas=True,
    )
    forwarded_fields: tuple[str, ...] = option(
        ("x-forwarded-for", "x-forwarded-proto", "forwarded"),
        "--forwarded-fields",
        choice(
            "x-forwarded-for",
            "x-forwarded-proto",
            "forwarded",
            "x-forwarded-host",
            "x-forwarded-port",
        ),
        """The fields that are believed. Name only those that the proxy sets itself or removes:
        others it may pass on as a client wrote them. Forwarded counts where X-Forwarded-For and
        X-Forwarded-Proto are missing. Separated by commas or repeated.""",
        section=PROXIES,
        metavar="FIELD",
        many=True,
        commas=True,
    )
    proxy_protocol: str = option(
        "off",
        "--proxy-protocol",
        choice("off", "optional", "required"),
        """The PROXY protocol, version 1 or 2, on every address listened on. required: connections
        that do not begin with its header, or come from elsewhere than --proxy-protocol-from, are
        refused.""",
        section=PROXIES,
        metavar="MODE",
    )
    proxy_protocol_from: tuple[str, ...] = option(
        _ON_THIS_MACHINE,
        "--proxy-protocol-from --proxy-allow-from",
        NETWORK,
        """Who may send a PROXY header: addresses, networks, unix, or * for everybody. Separated by
        commas or repeated.""",
        section=PROXIES,
        metavar="ADDRESS",
        many=True,
        commas=True,
    )
