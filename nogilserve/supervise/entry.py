"""How the master comes to life: the process that has read the configuration becomes it.

Whoever reads a configuration has all options in memory, with their help and checks, and much of
the standard library; that would stay there as long as the server runs. So the process starts
over: the same process id, descriptors, variables and directory, but a new interpreter, that
is told what was read and imports what a master needs. Where the system cannot do that (Windows),
the process goes on as it is.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from nogilserve.supervise.following import Following
from nogilserve.supervise.handover import Launch
from nogilserve.supervise.interpreter import ROOT
from nogilserve.supervise.outcome import exit_status
from nogilserve.supervise.reading import read_anew, reading_of
from nogilserve.supervise.spec import config_of

if TYPE_CHECKING:
    from nogilserve.config import Resolved

__all__ = ["become_master", "main"]

_CODE: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); import nogilserve; del sys.path[0]; "
    "from nogilserve.supervise.entry import main; sys.exit(main())"
)
_PURGE: Final = "MIMALLOC_PURGE_DELAY"
"""Milliseconds for which the interpreter keeps memory that it has freed. A master idles once it has
started, and what was freed last would stay with it."""
_NAME: Final = "/proc/self/comm"
"""By what name `ps` and `pkill` know the process (Linux)."""

Order = dict[str, Any]
"""`reading`: what was read, see there; `argv`, `base`: from which command line, in which
directory; `folder`: where relative names of tenants' folders start; `launch`: how to start it
again, see `handover`."""


def become_master(
    resolved: "Resolved", argv: Sequence[str], launch: Launch, base: str, folder: str
) -> int:
    """Go on as the master; where the process stays as it is, until that ends: the exit status."""
    order: Order = {
        "reading": reading_of(resolved),
        "argv": list(argv),
        "launch": {name: getattr(launch, name) for name in launch.__match_args__},
        "base": base,
        "folder": folder,
    }
    return _run(order) if os.name == "nt" else _start_over(order)


def _start_over(order: Order) -> NoReturn:
    import signal
    import subprocess

    order |= {"arguments": sys.argv, "path": sys.path, "purge": os.environ.get(_PURGE)}
    order["name"] = _name()
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    read = _descriptor(json.dumps(order).encode())
    # Until there is somebody to say "interrupted".
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    command = [sys.executable, *flags, "-P", "-c", _CODE, ROOT, str(read), "nogilserve"]
    os.execve(sys.executable, [*command, *order["argv"]], {**os.environ, _PURGE: "0"})


def _descriptor(text: bytes) -> int:
    """Where a next program can read it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("nogilserve", 0)
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(text)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.set_inheritable(descriptor, True)
    return descriptor


def _name() -> str:
    try:
        with open(_NAME) as file:
            return file.read().strip()
    except OSError:
        return ""


def main() -> int:
    """`python -c … ROOT DESCRIPTOR nogilserve ARGUMENTS`: the master; the exit status."""
    return exit_status(_begin)


def _begin() -> int:
    import signal

    with os.fdopen(int(sys.argv[2]), "rb") as file:
        order = json.load(file)
    sys.argv[:] = order["arguments"]
    sys.path[:] = order["path"]
    if order["purge"] is None:
        os.environ.pop(_PURGE, None)
    else:
        os.environ[_PURGE] = order["purge"]
    if order["name"] != _name():
        with open(_NAME, "w") as file:
            file.write(order["name"])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    return _run(order)


def _run(order: Order) -> int:
    """Be the master; the exit status. Raises ConfigError, BindError, AppImportError."""
    reading, argv, base = order["reading"], order["argv"], order["base"]
    launch = Launch(**order["launch"])
    written = launch.environment
    following = Following(lambda: read_anew(argv, written, base), written, reading)
    config = config_of(reading["config"])
    if reading["tenants"]:
        from nogilserve.supervise.tenants import master as tenants

        return tenants.run(config, launch, following, order["folder"])
    from nogilserve.supervise import master

    return master.run(config, launch, following)
