"""Which processors servers and load generators run on.

A server that has to share its processors with the load generator is measured together with it.
Where a machine has enough of them, each gets its own: `--server-cpus 0-7 --client-cpus 8-15`.
Nothing is needed for it but the scheduler's own call: a child begins on the processors of the
thread that starts it.
"""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["add_options", "apply", "cpu_set", "for_servers", "named", "server_processors"]

_servers: list[frozenset[int]] = []
"""The processors of servers, if they were named. Owner: the main thread."""


def cpu_set(text: str) -> frozenset[int]:
    """The numbers in a list such as "0-3,8", as Linux writes them."""
    numbers: set[int] = set()
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            numbers |= set(range(int(first), int(last or first) + 1))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: processors, such as 0-3,8") from None
    if not numbers:
        raise argparse.ArgumentTypeError(f"{text!r}: no processor")
    return frozenset(numbers)


def add_options(parser: argparse.ArgumentParser) -> None:
    """--server-cpus and --client-cpus."""
    parser.add_argument(
        "--server-cpus", type=cpu_set, metavar="LIST", help="processors of servers, such as 0-7"
    )
    parser.add_argument(
        "--client-cpus", type=cpu_set, metavar="LIST", help="processors of load generators"
    )


def apply(options: argparse.Namespace) -> None:
    """Go to the processors of the client, where load generators will start, too."""
    if options.server_cpus:
        _servers[:] = [options.server_cpus]
    elif options.client_cpus:
        _servers[:] = [frozenset(os.sched_getaffinity(0))]
    if options.client_cpus:
        os.sched_setaffinity(0, options.client_cpus)


@contextmanager
def for_servers() -> Iterator[None]:
    """Children that are started in the block run on the processors of servers."""
    if not _servers:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _servers[0])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def named() -> int:
    """How many processors servers have by name; 0: they share those of load generators."""
    return len(_servers[0]) if _servers else 0


def server_processors() -> int:
    """How many processors servers may use."""
    return named() or os.process_cpu_count() or 1
