"""`all`, and its parts as commands of their own: `seed`, `peers`, `copies`, `latency`, `page`."""

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks import copies, latency, pinning, seed_table
from benchmarks.arguments import add_load, names, numbers, positive

__all__ = ["COMMANDS"]

AddParser = Callable[..., argparse.ArgumentParser]

COUNTS = [1, 2, 4, 8, 16]


def _add_interpreters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gil-python",
        metavar="PATH",
        type=lambda text: str(Path(text).absolute()),
        help="a Python with the GIL, with the packages of the group rivals, for those whose best"
        " setting it is; without it they run on this one, or are left out",
    )
    pinning.add_options(parser)


def _copies(add: AddParser) -> argparse.ArgumentParser:
    parser = add("copies", help="threads of one process beside copies: speed, tail, memory")
    add_load(parser, duration=2, rounds=1)
    parser.add_argument("--counts", type=numbers, default=COUNTS, help="threads, and copies")
    known = names(copies.COPIED)
    parser.add_argument("--workloads", type=known, default=["flask", "fastapi"])
    parser.add_argument("--memory", type=known, default=["django", "model"])
    _add_interpreters(parser)
    parser.set_defaults(run=copies.run)
    return parser


def _seed(add: AddParser) -> argparse.ArgumentParser:
    parser = add("seed", help="the table of Caddy Snake: Flask and FastAPI behind Caddy, and here")
    add_load(parser, duration=10, rounds=2, connections=100)
    _add_interpreters(parser)
    parser.set_defaults(run=seed_table.run)
    return parser


def _latency(add: AddParser) -> argparse.ArgumentParser:
    parser = add("latency", help="beside slow requests, during a reload, beside a blocked one")
    parser.add_argument("--duration", type=positive, default=6, help="seconds per trial")
    parser.add_argument("--rounds", type=positive, default=1, help="trials of each kind")
    parser.add_argument("--rate", type=positive, default=500, help="requests per second")
    parser.add_argument("--scenes", type=names(latency.SCENES), default=list(latency.SCENES))
    parser.add_argument("--quick", action="store_true", help="to see it work, not to cite")
    _add_interpreters(parser)
    parser.set_defaults(run=latency.run)
    return parser


COMMANDS = (_seed, _copies, _latency)
"""Each adds its parser."""
