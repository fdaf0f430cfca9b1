"""`all`, and its parts as commands of their own: `seed`, `peers`, `copies`, `latency`, `page`.

Each part is a process of its own, so that none begins with the processors, the garbage or the
threads of the one before.
"""

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks import compare, copies, latency, page, pinning, seed_table
from benchmarks.arguments import add_load, interpreter, names, numbers, positive
from benchmarks.asgi_servers import ASGI_SERVERS
from benchmarks.rounds import say
from benchmarks.servers import SERVERS

__all__ = ["COMMANDS"]

AddParser = Callable[..., argparse.ArgumentParser]

PATIENCE = 60.0  # seconds a part has for ending its servers
COUNTS = [1, 2, 4, 8, 16]
PEERS = (
    replace(compare.WSGI, name="peers-wsgi", title="WSGI servers on one interpreter"),
    replace(compare.ASGI, name="peers-asgi", title="ASGI servers on one interpreter", judge=None),
)
# Of each part, with its default settings on two processors.
MINUTES = {"seed": 6.5, "peers": 5.5, "copies": 8.0, "latency": 2.5}
QUICK_MINUTES = {"seed": 1.0, "peers": 2.0, "copies": 6.5, "latency": 1.5}


def _add_interpreters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gil-python",
        metavar="PATH",
        type=interpreter,
        help="a Python with the GIL, with the packages of the group rivals, for those whose best"
        " setting it is; without it they run on this one, or are left out",
    )
    pinning.add_options(parser)


def _copies(add: AddParser) -> argparse.ArgumentParser:
    parser = add("copies", help="threads of one process beside copies: speed, tail, memory")
    add_load(parser, duration=2, rounds=1)
    parser.add_argument("--counts", type=numbers, default=COUNTS, help="threads, and copies")
    known = names(copies.COPIED, or_none=True)
    parser.add_argument(
        "--workloads", type=known, default=["flask", "fastapi"], help="by speed; or none"
    )
    parser.add_argument("--memory", type=known, default=["django", "model"], help="or none")
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
    parser.add_argument("--servers", type=names(latency.SERVERS), default=latency.SERVERS)
    parser.add_argument("--quick", action="store_true", help="to see it work, not to cite")
    pinning.add_options(parser)
    parser.set_defaults(run=latency.run)
    return parser


def _run_peers(options: argparse.Namespace) -> int:
    pinning.apply(options)
    status = 0
    options.threads = [pinning.server_processors()]
    for field in PEERS:
        options.field = field
        options.servers = [name for name in field.servers if name in options.names]
        options.workloads = [name for name in field.workloads if name in options.asked]
        if options.servers and options.workloads:
            status |= compare.run(options)
    return status


def _peers(add: AddParser) -> argparse.ArgumentParser:
    parser = add("peers", help="other servers on this interpreter: plain hello and a framework")
    add_load(parser, duration=2, rounds=2)
    known = list(dict.fromkeys([*SERVERS, *ASGI_SERVERS]))
    parser.add_argument("--servers", type=names(known), default=known, dest="names")
    work = list(dict.fromkeys([*compare.WSGI.workloads, *compare.ASGI.workloads]))
    parser.add_argument(
        "--workloads", type=names(work), default=["hello", "flask", "fastapi"], dest="asked"
    )
    pinning.add_options(parser)
    parser.set_defaults(run=_run_peers)
    return parser


def _page(add: AddParser) -> argparse.ArgumentParser:
    parser = add("page", help="put the figures of the results into docs/benchmarks.md")
    parser.add_argument("--page", type=Path, default=page.PAGE, metavar="FILE")
    parser.set_defaults(run=page.run)
    return parser


def _command(part: str, options: argparse.Namespace) -> list[str]:
    """The command line of a part: what was said to all is said to it, where it knows it."""
    words = [sys.executable, "-m", "benchmarks", part, "--results", str(options.results)]
    for name in ("duration", "rounds"):
        if (value := getattr(options, name)) is not None:
            words += [f"--{name}", str(value)]
    for name in ("server_cpus", "client_cpus"):
        if found := getattr(options, name):
            words += [f"--{name.replace('_', '-')}", ",".join(map(str, sorted(found)))]
    if options.gil_python and part in ("seed", "copies"):
        words += ["--gil-python", options.gil_python]
    return words + ["--quick"] * options.quick


def _run_part(command: list[str]) -> int:
    """Its exit status. If we are interrupted, it ends its servers first."""
    with subprocess.Popen(command) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait(PATIENCE)
            raise


def _run_all(options: argparse.Namespace) -> int:
    minutes = QUICK_MINUTES if options.quick else MINUTES
    total = sum(minutes[part] for part in options.parts)
    say(f"{', '.join(options.parts)}: about {total:.0f} minutes with the default settings")
    status, began = 0, time.monotonic()
    for number, part in enumerate(options.parts, 1):
        command = _command(part, options)
        so_far = (time.monotonic() - began) / 60
        say(f"part {number} of {len(options.parts)}, {part}: about {minutes[part]} minutes")
        say(f"  after {so_far:.1f} minutes: {shlex.join(command[1:])}")
        if ended := _run_part(command):
            say(f"{part}: exit status {ended}")
            status = status or ended
    say(f"all parts took {(time.monotonic() - began) / 60:.1f} minutes")
    if options.quick:
        say("a quick run is no measurement: the page stays as it is")
        return status
    options.page = page.PAGE
    return status | page.run(options)


def _all(add: AddParser) -> argparse.ArgumentParser:
    parser = add("all", help="against everyone: seed, peers, copies, latency, and the page of them")
    parser.add_argument(
        "--parts",
        type=names(MINUTES),
        default=list(MINUTES),
        help=f"some of {', '.join(MINUTES)}, separated by commas",
    )
    parser.add_argument("--duration", type=positive, help="seconds per trial, of every part")
    parser.add_argument("--rounds", type=positive, help="trials of each kind, of every part")
    parser.add_argument("--quick", action="store_true", help="to see it work, not to cite")
    _add_interpreters(parser)
    parser.set_defaults(run=_run_all)
    return parser


COMMANDS = (_all, _seed, _peers, _copies, _latency, _page)
"""Each adds its parser."""
