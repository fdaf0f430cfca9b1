"""Where and with what the figures were made: without this a figure means nothing."""

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks import pinning, wrk
from benchmarks.servers import SERVERS, Server, version_of

__all__ = ["conditions"]

ROOT = Path(__file__).parent.parent


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "?")


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _build() -> dict[str, object]:
    """What of the interpreter's build decides its speed."""
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return {
        "version": platform.python_version(),
        "compiler": platform.python_compiler(),
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "pgo": "--enable-optimizations" in arguments,
        "lto": "--with-lto" in arguments,
        "debug": bool(sysconfig.get_config_var("Py_DEBUG")),
    }


def conditions(servers: Iterable[Server] = SERVERS.values()) -> dict[str, object]:
    """The machine, the versions, the commit, the command line and the load right now."""
    try:
        generator = wrk.version()
    except wrk.WrkError:
        generator = ""
    versions: dict[str, str] = {}
    for server in servers:
        versions |= server.versions()
    versions |= {name: found for name in ("fastapi", "flask") if (found := version_of(name))}
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--", "nogilserve")),
        "machine": {
            "system": f"{platform.system()} {platform.release()}",
            "processor": _processor(),
            "processors": os.process_cpu_count(),
            "server_processors": pinning.named(),
            "memory_bytes": _memory_bytes(),
        },
        "python": _build(),
        "versions": versions,
        "wrk": generator,
        "load_average": os.getloadavg(),
    }
