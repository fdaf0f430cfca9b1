"""The process runtime: one process for each core, each with a copy of the application.

Children are started afresh, never forked: the parent has threads.
"""

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import nogilserve
from nogilserve.lend import lines_to_borrow
from nogilserve.runtimes.channel import Channel
from nogilserve.runtimes.crew import Crew
from nogilserve.runtimes.ledger import Ledger
from nogilserve.runtimes.members import Failure, Launch
from nogilserve.runtimes.spec import Spec

__all__ = ["load_processes"]

_ROOT: Final = str(Path(nogilserve.__file__).resolve().parents[1])
_BODY: Final = (
    "import sys; sys.path.append({root!r}); {lent}"
    "from nogilserve.supervise.worker import main; sys.exit(main({reference!r}))"
)
"""What a child runs. The rest of the path to import from comes with the specification."""


class ProcessHandle:
    """A child process. Owner: the crew's keeper; `kill`, `name` and `pid` are for any thread."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.pid = process.pid
        self.name = f"process {process.pid}"

    def ended(self, timeout: float = 0) -> str | None:
        """How it ended; None: it has not, in that many seconds."""
        try:
            return described(self._process.wait(timeout))
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """SIGKILL; on Windows its equal."""
        self._process.kill()


def described(status: int) -> str:
    """An exit status in words, for behind "ended"."""
    if status >= 0:
        return f"with status {status}"
    try:
        return f"by {signal.Signals(-status).name}"
    except ValueError:
        return f"by signal {-status}"


def load_processes(spec: Spec, reason: str, culprits: tuple[str, ...] = ()) -> Crew:
    """Start the children and have them import the application; see `Crew.load`.

    Raises AppImportError.
    """
    crew = Crew(spec, process_launcher(spec))
    try:
        crew.load("processes", reason, culprits)
    except Failure as failure:
        failure.raised()
    return crew


def process_launcher(spec: Spec) -> Launch:
    """What starts the children of a crew."""

    def launch(index: int, ledger: Ledger) -> tuple[ProcessHandle, Channel]:
        ours, theirs = socket.socketpair()
        channel = Channel(ours)
        try:
            process = _spawn(theirs, ledger)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        channel.bind_peer(process.pid)
        try:
            channel.send("spec", spec.for_member(index, ledger.reference))
        except OSError:
            pass  # it has ended already; that shows by its channel
        return ProcessHandle(process), channel

    return launch


def _spawn(end: socket.socket, ledger: Ledger) -> "subprocess.Popen[bytes]":
    if sys.platform == "win32":
        # The child's number is needed to share a socket with it: it is told through its stdin.
        process = subprocess.Popen(
            _command(None), stdin=subprocess.PIPE, creationflags=subprocess.CREATE_NEW_PROCESS_GROUP
        )
        assert process.stdin is not None
        with process.stdin as pipe:
            pipe.write(end.share(process.pid))
        return process
    assert isinstance(ledger.reference, int)
    return subprocess.Popen(
        _command(end.fileno()),
        stdin=subprocess.DEVNULL,
        pass_fds=(end.fileno(), ledger.reference),
    )


def _command(reference: int | None) -> list[str]:
    """This interpreter with its options, and what to run."""
    options = [f"-X{name}" if value is True else f"-X{name}={value}" for name, value in _x()]
    options += [f"-W{text}" for text in sys.warnoptions]
    if sys.flags.optimize:
        options.append("-" + "O" * sys.flags.optimize)
    for flag, letter in (("ignore_environment", "E"), ("no_user_site", "s"), ("isolated", "I")):
        if getattr(sys.flags, flag):
            options.append(f"-{letter}")
    if not sys.flags.isolated:
        options.append("-P")  # a glob.py of the user's would else stand in for the standard one
    body = _BODY.format(root=_ROOT, reference=reference, lent=lines_to_borrow())
    return [sys.executable, *options, "-c", body]


def _x() -> list[tuple[str, str | bool]]:
    return list(getattr(sys, "_xoptions", {}).items())
