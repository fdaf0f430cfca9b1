"""How long and how large things may be."""

from typing import Final

from nogilserve.config.declare import group, option
from nogilserve.config.kinds import integer, seconds, size
from nogilserve.config.routes import ROUTED_SECONDS

__all__ = ["LIMITS", "TIMEOUTS", "Bounds"]

TIMEOUTS: Final = "Timeouts"
LIMITS: Final = "Limits"

_DAY: Final = 86400


@group
class _Timeouts:
    keep_alive: float = option(
        5.0,
        "--keep-alive --timeout-keep-alive",
        seconds(0, _DAY),
        """Close a connection on which no request follows for this long; 0 closes after each
        response. Behind a proxy it must exceed the proxy's own.""",
        section=TIMEOUTS,
        metavar="SECONDS",
    )
    header_timeout: float = option(
        10.0,
        "--header-timeout --timeout-header",
        seconds(0.001, _DAY),
        "A request head must be complete within this time, else 408.",
        section=TIMEOUTS,
        metavar="SECONDS",
    )
    body_timeout: float = option(
        30.0,
        "--body-timeout --timeout-body",
        seconds(0.001, _DAY),
        "Give up a request body of which nothing arrives for this long.",
        section=TIMEOUTS,
        metavar="SECONDS",
    )
    timeout: float = option(
        0.0,
        "-t --timeout",
        seconds(0, _DAY),
        """The application must have begun its response within this time, else the client gets 504
        and another thread takes the place of the one that is stuck; 0 means no limit.""",
        section=TIMEOUTS,
        metavar="SECONDS",
    )
    timeout_routes: tuple[tuple[str, float], ...] = option(
        (),
        "--timeout-route",
        ROUTED_SECONDS,
        """Another --timeout for paths below a route: /upload=300. 0 means no limit there. The
        longest route decides. Repeatable.""",
        section=TIMEOUTS,
        metavar="ROUTE=SECONDS",
        many=True,
    )
    write_timeout: float = option(
        60.0,
        "--write-timeout --timeout-write",
        seconds(0.001, _DAY),
        "Give up a response of which the client takes nothing for this long.",
        section=TIMEOUTS,
        metavar="SECONDS",
    )
    graceful_timeout: float = option(
        30.0,
        "--graceful-timeout --timeout-graceful-shutdown",
        seconds(0, _DAY),
        """After SIGTERM or SIGINT, and when a generation is replaced, requests may finish for this
        long; then the process ends.""",
        section=TIMEOUTS,
        metavar="SECONDS",
    )


@group
class _Limits:
    limit_request_line: int = option(
        8190,
        "--limit-request-line",
        size(64, 16 * 1024**2),
        "Longest request line, else 414.",
        section=LIMITS,
        metavar="BYTES",
    )
    limit_request_fields: int = option(
        100,
        "--limit-request-fields",
        integer(1, 32768),
        "Most header fields of a request, else 431.",
        section=LIMITS,
        metavar="N",
    )
    limit_request_field_size: int = option(
        8190,
        "--limit-request-field-size",
        size(64, 16 * 1024**2),
        "Longest header field, name and value, else 431.",
        section=LIMITS,
        metavar="BYTES",
    )
    limit_request_head: int = option(
        65536,
        "--limit-request-head --limit-request-head-size",
        size(1024, 64 * 1024**2),
        "Longest request head, the request line and all fields together, else 431.",
        section=LIMITS,
        metavar="BYTES",
    )
    limit_request_body: int = option(
        0,
        "--limit-request-body --request-body-max-size --max-request-body-size",
        size(1, 1024**4, zero="no limit"),
        "Longest request body, else 413; 0 means no limit.",
        section=LIMITS,
        metavar="BYTES",
    )
    limit_concurrency: int = option(
        0,
        "--limit-concurrency --backpressure",
        integer(1, 1_000_000, zero="no limit"),
        """Most requests inside the application and waiting for it; further ones get 503 with
        Retry-After at once. 0 means no limit.""",
        section=LIMITS,
        metavar="N",
    )
    limit_connections: int = option(
        0,
        "--limit-connections --connection-limit",
        integer(1, 10_000_000, zero="no limit"),
        """Most connections open at once; further ones get 503 with Retry-After and are closed. 0
        means no limit.""",
        section=LIMITS,
        metavar="N",
    )
    limit_connections_per_address: int = option(
        0,
        "--limit-connections-per-address",
        integer(1, 10_000_000, zero="no limit"),
        """Most connections of one client address (of IPv6, one /64), the rest gets 503. Trusted
        proxies, by default all of this machine, are not counted: see --forwarded-allow-ips. 0
        means no limit.""",
        section=LIMITS,
        metavar="N",
    )


@group
class Bounds(_Limits, _Timeouts):
    """The part of Config about timeouts and limits."""
