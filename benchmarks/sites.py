"""What sites and mounts cost, in processor time per request.

    python -m benchmarks.sites [--seconds 5] [--rounds 3] [--connections 32]

The same hello, one kept connection after another in turn, in every round:

- `alone`: a WSGI application by itself, on the threads' engine;
- `mount`: the same below --mount, beside another one;
- `hosts`: the same as one of 100 [[site]] tables, each with three routes;
- `asgi alone`, `asgi mount`: an ASGI application by itself, and below a mount;
- `bridged`: the WSGI application beside an ASGI one, called by threads for the event loops.

Needs wrk and Linux.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import procs, wrk

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[1]
WSGI, ASGI = "benchmarks.apps.hello:wsgi", "benchmarks.apps.hello:asgi"
CASES = {
    "alone": ([WSGI], "/"),
    "mount": ([WSGI, f"--mount=/m={WSGI}"], "/m"),
    "hosts": (["--config=HOSTS"], "/m"),
    "asgi alone": ([ASGI], "/"),
    "asgi mount": ([ASGI, f"--mount=/m={ASGI}"], "/m"),
    "bridged": ([ASGI, f"--mount=/m={WSGI}"], "/m"),
}


def hosts() -> str:
    """A hundred sites; the last one has 127.0.0.1, which wrk asks for."""
    names = [f"s{number}.example.com" for number in range(99)] + ["127.0.0.1"]
    return "".join(
        f'[[site]]\nhosts = ["{name}"]\napp = "{WSGI}"\n'
        + "".join(f'[[site.route]]\npath = "/{path}"\napp = "{WSGI}"\n' for path in "klm")
        for name in names
    )


@contextlib.contextmanager
def served(arguments: list[str], port: int) -> Iterator[int]:
    """The process id of a server on that port."""
    command = [sys.executable, "-m", "nogilserve", *arguments, f"--bind=127.0.0.1:{port}"]
    process = subprocess.Popen(
        [*command, "--threads=16"], cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 30
        while port not in procs.listening_ports(procs.tree(process.pid)):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"does not start: {' '.join(command)}")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def measure(name: str, config: Path, options: argparse.Namespace) -> tuple[float, float]:
    """Requests per second, and processor time per request in microseconds."""
    arguments, path = CASES[name]
    port = 20_000 + list(CASES).index(name)
    with served([text.replace("HOSTS", str(config)) for text in arguments], port) as pid:
        url = f"http://127.0.0.1:{port}{path}"
        wrk.run(wrk.Load(url, options.connections, 1))
        pids = procs.tree(pid)
        before = procs.cpu_seconds(pids)
        result = wrk.run(wrk.Load(url, options.connections, options.seconds))
        spent = procs.cpu_seconds(pids) - before
    if result.bad_status or result.socket_errors:
        raise SystemExit(f"{name}: {result.bad_status} bad answers")
    return result.requests / result.duration, spent / result.requests * 1e6


def main() -> int:
    """Measure, and print a table of medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "hosts.toml"
        config.write_text(hosts())
        for _ in range(options.rounds):
            for name in CASES:
                found[name].append(measure(name, config, options))
    print("| | req/s | CPU µs per request |\n|---|---|---|")
    for name, figures in found.items():
        rate, cost = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"| {name} | {rate:,.0f} | {cost:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
