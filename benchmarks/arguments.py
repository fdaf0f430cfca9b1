"""Arguments that several commands of the benchmarks have."""

import argparse
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.rounds import default_wrk_threads

__all__ = ["add_load", "interpreter", "names", "numbers", "positive"]


def numbers(text: str) -> list[int]:
    """Whole numbers from 1, separated by commas."""
    found = [int(part) for part in text.split(",")]
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: whole numbers from 1, separated by commas")
    return found


def names(known: Iterable[str], *, or_none: bool = False) -> Callable[[str], list[str]]:
    """Some of these names, separated by commas; with `or_none`, "none" is none of them."""
    there_are = list(known)

    def parse(text: str) -> list[str]:
        if or_none and text == "none":
            return []
        found = text.split(",")
        unknown = [name for name in found if name not in there_are]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"unknown: {', '.join(unknown)}; there are {', '.join(there_are)}"
            )
        return found

    return parse


def positive(text: str) -> int:
    """One whole number from 1."""
    return numbers(text)[0]


def interpreter(text: str) -> str:
    """The path of a program that can be run."""
    path = Path(text).absolute()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise argparse.ArgumentTypeError(f"{text!r}: no such program")
    return str(path)


def add_load(
    parser: argparse.ArgumentParser, duration: int, rounds: int, connections: int = 64
) -> None:
    """What says how much is measured."""
    parser.add_argument("--duration", type=positive, default=duration, help="seconds per trial")
    parser.add_argument("--rounds", type=positive, default=rounds, help="trials of each kind")
    parser.add_argument(
        "--connections", type=positive, default=connections, help="connections of wrk"
    )
    parser.add_argument("--wrk-threads", type=positive, default=default_wrk_threads())
    parser.add_argument(
        "--patience",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait so long in all, before trials, for foreign work on the machine to end",
    )
    parser.add_argument(
        "--quick", action="store_true", help="one round of one second: to see it work, not to cite"
    )
