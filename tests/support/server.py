"""A real server in a process of its own, as a user starts it.

Contract with the command line: once it accepts connections, the server writes one line per
address to standard error, "Listening on http://127.0.0.1:PORT" or "Listening on unix:PATH".
"""

import atexit
import contextlib
import os
import re
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.support.interruption import uninterrupted
from tests.support.waiting import Deadline
from tests.support.wire import Client

__all__ = ["MEMBERS", "RUNTIME", "Output", "Server", "children_of"]

ROOT = Path(__file__).resolve().parents[2]
# Up to the white space that follows: a port may arrive in two pieces.
LISTENING = r"""Listening on (?:(https?)://(\S+):(\d+)|unix:([^\s"]+))(?=[\s"])"""
# Which runtime serves, where a test does not say: `./dev test --all` goes through all of them. With
# a GIL it is threads by default, because most tests are about what happens inside one process.
WITH_GIL = not sysconfig.get_config_var("Py_GIL_DISABLED")
RUNTIME = os.environ.get("NOGILSERVE_TEST_RUNTIME") or ("threads" if WITH_GIL else "auto")
# One member, where a test does not say how many: applications under test keep things in memory.
MEMBERS = ("processes", "subinterpreters")
# What the server would take for its own settings; a test says what it wants by `env`.
SETTING = re.compile(
    r"NOGILSERVE_|LISTEN_(FDS|FDNAMES|PID)$|(PORT|WEB_CONCURRENCY|FORWARDED_ALLOW_IPS)$|NOTIFY_SOCKET$"
)


class Output:
    """What a process writes to one pipe, collected by a thread of its own.

    `pieces` and `ended` belong to the condition `changed`; the thread fills, tests read.
    """

    def __init__(self, pipe: IO[bytes], name: str) -> None:
        self.pipe = pipe
        self.pieces: list[str] = []
        self.ended = False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self.collect, name=name, daemon=True)
        self.thread.start()

    def collect(self) -> None:
        """Read until the last writer is gone."""
        with self.pipe:
            while piece := os.read(self.pipe.fileno(), 65536):
                with self.changed:
                    self.pieces.append(piece.decode("utf-8", "backslashreplace"))
                    self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    @property
    def text(self) -> str:
        """Everything so far."""
        with self.changed:
            return "".join(self.pieces)

    def wait(self, pattern: str, timeout: float, count: int = 1) -> re.Match[str]:
        """The `count`-th match of `pattern` in what was written, as soon as it is there.

        TimeoutError after `timeout` seconds, EOFError when nothing more can come.
        """
        deadline = Deadline(timeout)
        with self.changed:
            while True:
                text = "".join(self.pieces)
                matches = list(re.finditer(pattern, text, re.MULTILINE))
                if len(matches) >= count:
                    return matches[count - 1]
                if self.ended:
                    raise EOFError(
                        f"the process ended without writing {pattern!r}; it wrote:\n{text}"
                    )
                if not deadline.left:
                    raise TimeoutError(f"no {pattern!r} within {timeout} s; it wrote:\n{text}")
                self.changed.wait(deadline.left)


def children_of(parent: int) -> list[int]:
    """The process ids of a process's children in order; none where there is no /proc."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if name.isdecimal():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{name}/stat").read_text()
                if int(stat.rpartition(")")[2].split()[1]) == parent:
                    found.append(int(name))
    return sorted(found)


class Server:
    """`python -m nogilserve APP --bind 127.0.0.1:0 …`, ready when the constructor returns.

    A `--bind`, `--uds`, `--fd` or the like among `arguments` replaces the default address.
    `program` is what Python runs. With `wait_ready=False` it returns at once. Leaving it as a
    context manager stops it and insists on exit status 0, unless the test itself has waited for
    the end.
    """

    def __init__(
        self,
        app: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = ROOT,
        addresses: int = 1,
        timeout: float = 20.0,
        wait_ready: bool = True,
        pass_fds: tuple[int, ...] = (),
        program: Sequence[str] = ("-m", "nogilserve"),
    ) -> None:
        own = ("-b", "--bind", "-l", "--host", "--port", "--uds", "--fd", "--listen")
        bind = [] if any(a.split("=")[0] in own for a in arguments) else ["--bind", "127.0.0.1:0"]
        given = {argument.split("=")[0] for argument in arguments}
        runtime = [] if RUNTIME == "auto" or "--runtime" in given else ["--runtime", RUNTIME]
        if RUNTIME in MEMBERS and not given & {"--runtime", "--workers", "-w"}:
            runtime += ["--workers", "1"]
        self.command = [sys.executable, *program, app, *bind, *runtime, *arguments]
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {
            **{name: value for name, value in os.environ.items() if not SETTING.match(name)},
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONFAULTHANDLER": "1",
            "PYTHONUNBUFFERED": "1",
            **(env or {}),
        }
        self.addresses: list[tuple[str, int] | str] = []
        self.url = ""
        self.awaited = False
        with uninterrupted():
            self.process = subprocess.Popen(
                self.command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=pass_fds,
            )
            atexit.register(self.kill)  # whatever becomes of who has started it
            assert self.process.stdout is not None
            assert self.process.stderr is not None
            self.output = Output(self.process.stdout, f"stdout of {self.pid}")
            self.errors = Output(self.process.stderr, f"stderr of {self.pid}")
        if wait_ready:
            try:
                self.wait_ready(addresses, timeout)
            except BaseException:
                self.kill()
                raise

    def wait_ready(self, addresses: int = 1, timeout: float = 20.0) -> None:
        """Wait until the server has announced that many addresses."""
        self.errors.wait(LISTENING, timeout, addresses)
        self.addresses.clear()
        for match in re.finditer(LISTENING, self.errors.text):
            scheme, host, port, path = match.groups()
            self.addresses.append(path or (host.strip("[]"), int(port)))
            if scheme and not self.url:
                self.url = f"{scheme}://{host}:{port}"

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def generations(self) -> list[int]:
        """The process ids of its generations, the oldest first; itself where it has no master."""
        if "--no-master" in self.command:
            return [self.pid]
        return children_of(self.pid)

    @property
    def serving(self) -> int:
        """Process id of the newest generation, or its own where it has no master."""
        return self.generations()[-1]

    @property
    def port(self) -> int:
        """TCP port of the first address."""
        address = self.addresses[0]
        assert not isinstance(address, str), f"{address} has no port"
        return address[1]

    @property
    def log(self) -> str:
        """Standard error so far."""
        return self.errors.text

    @property
    def out(self) -> str:
        """Standard output so far."""
        return self.output.text

    def wait_log(self, pattern: str, timeout: float = 10.0, count: int = 1) -> re.Match[str]:
        """The `count`-th match of a regular expression in standard error."""
        return self.errors.wait(pattern, timeout, count)

    def wait_out(self, pattern: str, timeout: float = 10.0, count: int = 1) -> re.Match[str]:
        """The `count`-th match of a regular expression in standard output."""
        return self.output.wait(pattern, timeout, count)

    def connect(self, index: int = 0, timeout: float = 10.0) -> Client:
        """A raw client, connected to one of the addresses."""
        return Client(self.addresses[index], timeout)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = 20.0) -> int:
        """Wait for its end; the exit status, negative for a signal.

        On time-out the stacks of all its threads are part of the AssertionError.
        """
        self.awaited = True
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            for pid in (*children_of(self.pid), self.pid):
                os.kill(pid, signal.SIGABRT)  # faulthandler writes the stacks
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                pass
            self.kill()
            raise AssertionError(f"{self.pid} did not end in {timeout} s:\n{self.log}") from None
        atexit.unregister(self.kill)
        self.join_outputs()
        return status

    def stop(self, timeout: float = 20.0) -> int:
        """SIGTERM, then `wait`."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """End it at once, whatever state it is in."""
        self.awaited = True
        atexit.unregister(self.kill)
        if self.process.poll() is None:
            if hasattr(signal, "SIGSTOP"):  # it starts no further one
                self.process.send_signal(signal.SIGSTOP)
            children = children_of(self.pid)
            self.process.kill()
            self.process.wait(10)
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.join_outputs()

    def join_outputs(self) -> None:
        """Wait for the last words; they end when no process holds the pipes."""
        for output in (self.output, self.errors):
            output.thread.join(5)
            assert not output.thread.is_alive(), f"a child of {self.command} outlived it"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.kill()
            assert error is not None
            error.add_note(f"The server's standard error:\n{self.log}")
        elif not self.awaited:
            status = self.stop()
            assert status == 0, f"the server ended with status {status}:\n{self.log}"
