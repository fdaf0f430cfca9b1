"""The command line: `python -m benchmarks COMMAND`."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    atomics,
    compare,
    contention,
    everyone,
    guard,
    http2,
    idle,
    micro,
    pinning,
    runtimes,
    scaling,
    sharing,
    static,
    targets,
    tls,
    wrk,
)
from benchmarks.arguments import add_load as _add_load
from benchmarks.arguments import names as _names
from benchmarks.arguments import numbers as _numbers
from benchmarks.arguments import positive as _positive
from benchmarks.asgi_servers import ASGI_SERVERS
from benchmarks.micro_operations import OPERATIONS
from benchmarks.report import RESULTS
from benchmarks.servers import SERVERS
from benchmarks.steps import STEPS
from benchmarks.workloads import ASGI_WORKLOADS, WORKLOADS

__all__ = ["main"]

AddParser = Callable[..., argparse.ArgumentParser]
Command = Callable[[argparse.Namespace], int]


def _compare(options: argparse.Namespace) -> int:
    pinning.apply(options)
    if not options.threads:
        options.threads = [*options.fewest, max(2, pinning.server_processors())]
    return compare.run(options)


def _wsgi(add: AddParser) -> argparse.ArgumentParser:
    parser = add("wsgi", help="nogilserve and its peers on every workload")
    _add_load(parser, duration=2, rounds=3)
    parser.add_argument(
        "--threads",
        type=_numbers,
        help="threads of every server; several, separated by commas, are several contestants; "
        "by default one for each processor",
    )
    parser.add_argument("--servers", type=_names({**SERVERS}), default=list(SERVERS))
    parser.add_argument("--workloads", type=_names({**WORKLOADS}), default=list(WORKLOADS))
    pinning.add_options(parser)
    parser.set_defaults(run=_compare, field=compare.WSGI, fewest=[])
    return parser


def _asgi(add: AddParser) -> argparse.ArgumentParser:
    parser = add("asgi", help="the same for ASGI, with WebSockets")
    _add_load(parser, duration=2, rounds=3)
    parser.add_argument(
        "--threads",
        type=_numbers,
        help="event loops of every server, in threads or processes as it has them; "
        "by default one, and one for each processor",
    )
    parser.add_argument("--servers", type=_names({**ASGI_SERVERS}), default=list(ASGI_SERVERS))
    parser.add_argument(
        "--workloads", type=_names({**ASGI_WORKLOADS}), default=list(ASGI_WORKLOADS)
    )
    pinning.add_options(parser)
    parser.set_defaults(run=_compare, field=compare.ASGI, fewest=[1])
    return parser


def _servers(parser: argparse.ArgumentParser, servers: list[str], threads: list[int]) -> None:
    parser.add_argument("--threads", type=_numbers, default=threads, help="threads of each server")
    parser.add_argument("--servers", type=_names({**SERVERS}), default=servers)


def _idle(add: AddParser) -> argparse.ArgumentParser:
    parser = add("idle", help="wake-ups and processor time without any request")
    parser.add_argument("--duration", type=_positive, default=10, help="seconds of watching each")
    _servers(parser, list(SERVERS), [2, 16])
    parser.set_defaults(run=idle.run_idle)
    return parser


def _memory(add: AddParser) -> argparse.ArgumentParser:
    parser = add("memory", help="what idle keep-alive connections cost")
    parser.add_argument("--duration", type=_positive, default=2, help="seconds per trial of hello")
    parser.add_argument("--rounds", type=_positive, default=1)
    parser.add_argument("--idle-connections", type=_positive, default=targets.IDLE_CONNECTIONS)
    _servers(parser, ["nogilserve"], [16])
    parser.set_defaults(run=idle.run_memory)
    return parser


def _targets(add: AddParser) -> argparse.ArgumentParser:
    parser = add("targets", help="what the project set out to reach, judged")
    _add_load(parser, duration=3, rounds=5)
    parser.add_argument("--idle-seconds", type=_positive, default=10)
    parser.add_argument("--idle-connections", type=_positive, default=targets.IDLE_CONNECTIONS)
    pinning.add_options(parser)
    parser.set_defaults(run=targets.run)
    return parser


def _scaling(add: AddParser) -> argparse.ArgumentParser:
    parser = add("scaling", help="more and more threads, and what they contend for")
    _add_load(parser, duration=2, rounds=3)
    parser.add_argument("--threads", type=_numbers, default=scaling.default_threads())
    parser.add_argument("--server", choices=list(SERVERS), default="nogilserve")
    parser.add_argument("--workload", choices=list(WORKLOADS), default="hello")
    parser.set_defaults(run=scaling.run)
    return parser


def _sharing(add: AddParser) -> argparse.ArgumentParser:
    parser = add("sharing", help="one copy of an application on N threads, beside N copies")
    parser.add_argument("--apps", type=_names({**sharing.APPS}), default=list(sharing.APPS))
    parser.add_argument("--threads", type=_numbers, default=[1, 2], help="threads, and copies")
    parser.add_argument("--steps", type=_names({**STEPS}), default=["none"])
    parser.add_argument("--duration", type=float, default=1, help="seconds per sample")
    parser.add_argument("--turns", type=_positive, default=5, help="samples of each start")
    parser.add_argument("--rounds", type=_positive, default=1, help="starts of everything")
    parser.add_argument("--connections", type=_positive, default=64, help="connections in all")
    parser.add_argument("--no-sockets", action="store_true", help="call in a loop, no server")
    pinning.add_options(parser)
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    parser.set_defaults(run=sharing.run)
    return parser


def _contention(add: AddParser) -> argparse.ArgumentParser:
    parser = add("contention", help="where an application loses time on several threads")
    parser.add_argument("--apps", type=_names({**sharing.APPS}), default=list(sharing.APPS))
    parser.add_argument("--threads", type=_positive, default=2, help="or copies")
    parser.add_argument("--step", choices=list(STEPS), default="freeze")
    parser.add_argument("--duration", type=float, default=3, help="seconds of each look")
    pinning.add_options(parser)
    parser.set_defaults(run=contention.run)
    return parser


def _atomics(add: AddParser) -> argparse.ArgumentParser:
    parser = add("atomics", help="the shared counts and locks that one request touches")
    parser.add_argument("--apps", type=_names({**sharing.APPS}), default=list(sharing.APPS))
    parser.add_argument("--steps", type=_names({**STEPS}), default=["freeze"])
    parser.set_defaults(run=atomics.run)
    return parser


def _runtimes(add: AddParser) -> argparse.ArgumentParser:
    parser = add("runtimes", help="threads, subinterpreters and processes: speed and memory")
    _add_load(parser, duration=2, rounds=3)
    parser.add_argument("--cores", type=_positive, default=max(2, os.process_cpu_count() or 1))
    parser.add_argument("--threads", type=_positive, default=16, help="of all cores together")
    parser.add_argument("--workloads", type=_names({**WORKLOADS}), default=["hello", "flask"])
    parser.add_argument(
        "--pythons",
        type=lambda text: text.split(","),
        metavar="PATHS",
        help="interpreters with nogilserve's and the workloads' dependencies, by default this one",
    )
    parser.set_defaults(run=runtimes.run)
    return parser


def _http2(add: AddParser) -> argparse.ArgumentParser:
    parser = add("http2", help="HTTP/2 by h2load: hello and a page of 10 KB")
    parser.add_argument("--duration", type=_positive, default=3, help="seconds per trial")
    parser.add_argument("--rounds", type=_positive, default=3, help="trials of each kind")
    parser.add_argument("--connections", type=_positive, default=10)
    parser.add_argument("--streams", type=_positive, default=10, help="of each connection")
    parser.add_argument("--threads", type=_positive, default=max(2, os.process_cpu_count() or 1))
    names: dict[str, object] = {**http2.HTTP2_SERVERS}
    parser.add_argument("--servers", type=_names(names), default=list(names))
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    parser.set_defaults(run=http2.run)
    return parser


def _tls(add: AddParser) -> argparse.ArgumentParser:
    parser = add("tls", help="what TLS adds to requests, and full handshakes")
    _add_load(parser, duration=3, rounds=3)
    parser.add_argument("--threads", type=_positive, default=max(2, os.process_cpu_count() or 1))
    parser.add_argument(
        "--servers", type=_names({**tls.TLS_SERVERS}), default=list(tls.TLS_SERVERS)
    )
    parser.set_defaults(run=tls.run)
    return parser


def _static(add: AddParser) -> argparse.ArgumentParser:
    parser = add("static", help="files of 1 KiB and 1 MiB, beside nginx, Caddy and others")
    _add_load(parser, duration=3, rounds=3)
    parser.add_argument("--threads", type=_positive, default=max(2, os.process_cpu_count() or 1))
    names: dict[str, object] = {**static.STATIC_SERVERS}
    parser.add_argument("--servers", type=_names(names), default=list(names))
    parser.set_defaults(run=static.run)
    return parser


def _micro(add: AddParser) -> argparse.ArgumentParser:
    parser = add("micro", help="the server's own path without sockets, nanoseconds per operation")
    names: dict[str, object] = {**OPERATIONS}
    parser.add_argument("--operations", type=_names(names), default=list(names))
    parser.add_argument("--threads", type=_numbers, default=[1, 2])
    parser.add_argument("--rounds", type=_positive, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.set_defaults(run=micro.run)
    return parser


def _guard(add: AddParser) -> argparse.ArgumentParser:
    parser = add("guard", help="whether the working tree is slower than the commit it came from")
    parser.add_argument("--base", default="", metavar="REVISION", help="instead of the merge base")
    names: dict[str, object] = {**OPERATIONS}
    parser.add_argument("--operations", type=_names(names), default=list(names))
    parser.set_defaults(run=guard.run)
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only look at the arguments")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for define in (
        _wsgi,
        _asgi,
        _targets,
        _scaling,
        _sharing,
        _contention,
        _atomics,
        _runtimes,
        _http2,
        _tls,
        _static,
        _idle,
        _memory,
        _micro,
        _guard,
        *everyone.COMMANDS,
    ):
        define(commands.add_parser).add_argument(
            "--results",
            type=Path,
            default=RESULTS,
            metavar="FOLDER",
            help="where files are written",
        )
    return parser


def _terminate(signum: int, frame: object) -> None:
    # As an exception, so that the servers that run now are stopped on the way out.
    raise KeyboardInterrupt


def main() -> int:
    """Run a command; its exit status."""
    signal.signal(signal.SIGTERM, _terminate)
    options = _parser().parse_args()
    if options.check:
        return 0
    if getattr(options, "quick", False):
        options.duration = options.rounds = options.turns = 1
    try:
        run: Command = options.run
        return run(options)
    except (wrk.WrkError, guard.GuardError) as exc:
        print(exc, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
