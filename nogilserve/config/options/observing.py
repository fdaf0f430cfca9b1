"""Watching the server while it runs."""

from typing import Final

from nogilserve.config.declare import group, option
from nogilserve.config.kinds import ABSOLUTE_PATH, FLAG, choice, seconds, text
from nogilserve.config.observing import ADMIN, STATSD, TOKEN
from nogilserve.config.options.output import LOGGING
from nogilserve.config.routes import ROUTE

__all__ = ["OBSERVING", "Observing"]

OBSERVING: Final = "Watching it"


@group
class Observing:
    """The part of Config about watching the server while it runs."""

    log_format: str = option(
        "text",
        "--log-format",
        choice("text", "json"),
        """How messages are written: lines of text, or an object of JSON a line; then the access log
        is JSON too, unless --access-log-format says otherwise.""",
        section=LOGGING,
        metavar="FORMAT",
    )
    request_id: bool = option(
        False,
        "--request-id",
        FLAG,
        """Send every response with its request's id, which is in the logs too, as X-Request-ID. One
        that a trusted proxy (--forwarded-allow-ips) sends is kept.""",
        section=LOGGING,
    )
    admin: str = option(
        "",
        "--admin",
        ADMIN,
        """Serve the status page, /metrics, /healthz and /readyz here; a port alone is one of
        127.0.0.1. An address that other machines reach needs --admin-token.""",
        section=OBSERVING,
        metavar="[HOST:]PORT",
        default_text="off",
    )
    admin_token: str = option(
        "",
        "--admin-token",
        TOKEN,
        """What has to be known to change something by the status page, or to see more of requests
        than their paths. Better set as NOGILSERVE_ADMIN_TOKEN: other users see command
        lines.""",
        section=OBSERVING,
        metavar="TOKEN",
        default_text="made at each start; nogilserve status tells it",
    )
    metrics_route: tuple[str, ...] = option(
        (),
        "--metrics-route",
        ROUTE,
        """Count requests for this path and all below it apart, under the label route. Repeatable;
        the longest that fits counts.""",
        section=OBSERVING,
        metavar="ROUTE",
        many=True,
    )
    health_path: str = option(
        "",
        "--health-path",
        ABSOLUTE_PATH,
        """Answer GET for this path on the main addresses with 200, before the application: the
        process lives. The admin address has it as /healthz.""",
        section=OBSERVING,
        metavar="PATH",
        default_text="none",
    )
    readiness_path: str = option(
        "",
        "--readiness-path",
        ABSOLUTE_PATH,
        """The same with 503 while the server drains or stops: send no new clients. The
        admin address has it as /readyz.""",
        section=OBSERVING,
        metavar="PATH",
        default_text="none",
    )
    slow: float = option(
        0.0,
        "--slow",
        seconds(0, 86400),
        """Log a request that is inside the application for this long, with what its thread was
        doing meanwhile; 0: none.""",
        section=OBSERVING,
        metavar="SECONDS",
    )
    statsd: str = option(
        "",
        "--statsd --statsd-host",
        STATSD,
        "Send counters to this statsd server, by UDP, every 10 seconds.",
        section=OBSERVING,
        metavar="HOST:PORT",
        default_text="off",
    )
    statsd_prefix: str = option(
        "nogilserve",
        "--statsd-prefix",
        text(),
        "What the names of these counters begin with.",
        section=OBSERVING,
        metavar="TEXT",
    )
    trace: bool = option(
        False,
        "--trace",
        FLAG,
        """Make an OpenTelemetry span of each call of the application, below the one that the
        request's traceparent names. Needs opentelemetry-api; what is exported where is up to the
        SDK that the application sets up.""",
        section=OBSERVING,
    )
