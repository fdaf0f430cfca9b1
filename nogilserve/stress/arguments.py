"""The command line of `nogilserve stress`: its own options; all others are those for serving."""

import argparse
import random
from collections.abc import Sequence
from typing import Final

from nogilserve.errors import ConfigError

__all__ = ["parse"]

_USAGE: Final = "nogilserve stress APP [--requests FILE] [--seconds N] [options as for serving]"
_TOGETHER: Final = 12


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our own options, and what is left for serving. Raises ConfigError."""
    own, left = _parser().parse_known_args(argv)
    for name, least in (("seconds", 0.5), ("learn_seconds", 0.5), ("deadline", 0.1)):
        if getattr(own, name) < least:
            raise ConfigError(f"--{name.replace('_', '-')} should be {least:g} or more")
    if own.together < 2:
        raise ConfigError("--together should be 2 or more: one request cannot race")
    if own.seed is None:
        own.seed = random.SystemRandom().randrange(1_000_000)
    own.methods = {each.strip().upper() for each in own.methods.split(",") if each.strip()}
    return own, left


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nogilserve stress",
        usage=_USAGE,
        description="Find races in an application: learn what requests are answered one at a time, "
        "then send them at the same time. Exits with 1 if anything differs.",
        allow_abbrev=False,
    )
    _about_requests(parser.add_argument_group("which requests"))
    _about_the_run(parser.add_argument_group("how"))
    output = parser.add_argument_group("output")
    output.add_argument(
        "--json", metavar="FILE", default="", help="write the report as JSON, too; - for stdout"
    )
    output.add_argument(
        "--save",
        metavar="FILE.http",
        default="",
        help="write the requests of what was found, to be given to --requests",
    )
    output.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


def _about_requests(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--requests",
        action="append",
        default=[],
        metavar="FILE",
        help="a .http file, or JSON lines (.jsonl); may be repeated",
    )
    group.add_argument(
        "--openapi",
        metavar="FILE|PATH",
        default="",
        help="an OpenAPI 3 document in JSON: a file, or a path of the application (/openapi.json)",
    )
    group.add_argument(
        "--har", metavar="FILE", default="", help="an HTTP Archive that a browser has recorded"
    )
    group.add_argument(
        "--har-host",
        metavar="HOST",
        default="",
        help="replay what went to this host (default: that of the first request)",
    )
    group.add_argument(
        "--crawl",
        nargs="?",
        const="/",
        default="",
        metavar="PATH",
        help="follow the application's links and GET forms, from / or this path",
    )
    group.add_argument(
        "--pages",
        type=int,
        default=50,
        metavar="N",
        help="pages to crawl at most (default: %(default)s)",
    )
    group.add_argument(
        "--methods",
        default="",
        metavar="NAMES",
        help="replay requests of these methods only, such as GET,POST",
    )
    group.add_argument(
        "--host-header",
        default="localhost",
        metavar="NAME",
        help="Host of requests that have none (default: %(default)s)",
    )
    group.add_argument(
        "--check",
        default="",
        metavar="FILE.py",
        help="a file with setup(client), check(client), counters, masks",
    )


def _about_the_run(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--seconds",
        type=float,
        default=30.0,
        metavar="N",
        help="how long to send requests at the same time (default: %(default)g)",
    )
    group.add_argument(
        "--learn-seconds",
        type=float,
        default=30.0,
        metavar="N",
        help="when to end learning, even if it is not complete (default: %(default)g)",
    )
    group.add_argument(
        "--together",
        type=int,
        default=_TOGETHER,
        metavar="N",
        help="requests at the same time, at most (default: %(default)s, never more than --threads)",
    )
    group.add_argument(
        "--seed", type=int, metavar="N", help="repeat a run: the number it has printed"
    )
    group.add_argument(
        "--first", action="store_true", help="stop at the first finding, for quick answers"
    )
    group.add_argument(
        "--findings",
        type=int,
        default=10,
        metavar="N",
        help="stop after so many (default: %(default)s)",
    )
    group.add_argument(
        "--watch",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="make pauses in this package, too, not only in your own modules; may be repeated",
    )
    group.add_argument(
        "--deadline",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="an answer that takes longer is a hang (default: %(default)g)",
    )
    group.add_argument(
        "--import-timeout",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="how long importing the application may take (default: %(default)g)",
    )
