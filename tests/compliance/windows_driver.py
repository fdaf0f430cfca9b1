"""Starts servers on Windows, asks them things, and stops them as a console does.

Run by windows_smoke.py with a Python for Windows; needs only the standard library there.
"""

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 60.0
WSGI = "tests.apps.members:app"
ASGI = "tests.apps.members:asgi"


RUN = """\
import signal, sys, threading
from nogilserve.cli import main

def wait_for_break():
    sys.stdin.read()
    signal.raise_signal(signal.SIGBREAK)

threading.Thread(target=wait_for_break, daemon=True).start()
sys.exit(main())
"""
"""A server that gets CTRL_BREAK when its standard input is closed. Sending one needs a console,
which Wine does not give to a process without a display."""


class Served:
    """A server in a process group of its own. Owner: the main thread; a reader fills `lines`."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, *arguments, "--bind", "127.0.0.1:0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.port = int(self.wait_line(r"Listening on http://127\.0\.0\.1:(\d+)")[1])

    def read(self) -> None:
        """Collect what it writes, until its end."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def wait_line(self, pattern: str) -> re.Match[str]:
        """The first line that matches."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if match := re.search(pattern, line):
                    return match
            if self.process.poll() is not None and not self.reader.is_alive():
                break
            threading.Event().wait(0.05)
        raise AssertionError(f"no {pattern!r} in:\n{''.join(self.lines)}")

    def get(self, target: str) -> tuple[http.client.HTTPConnection, str]:
        """The answer, and the connection, still open."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        connection.request("GET", target)
        response = connection.getresponse()
        assert response.status == 200, response.status
        return connection, response.read().decode()

    def copies(self, connections: int) -> list[int]:
        """How many of some connections each copy of the application serves."""
        opened = [self.get("/copy") for _ in range(connections)]
        for connection, _ in opened:
            connection.close()
        names = [name for _, name in opened]
        return sorted(names.count(name) for name in set(names))

    def stop(self) -> None:
        """SIGBREAK, and a clean end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        status = self.process.wait(SECONDS)
        self.reader.join(SECONDS)
        output = "".join(self.lines)
        assert status == 0, f"ended with status {status}:\n{output}"
        assert "Stopped after" in output, output
        assert "Traceback" not in output, output


@contextmanager
def serving(*arguments: str) -> Iterator[Served]:
    """A server that is stopped cleanly at the end."""
    served = Served(*arguments)
    try:
        yield served
        served.stop()
    finally:
        if served.process.poll() is None:
            served.process.kill()


def main() -> int:
    """All cases; 0 if each went well."""
    print(sys.version, sys.platform, flush=True)
    for app in (WSGI, ASGI):
        for master in ("--no-master", "--master"):
            with serving(app, "--runtime", "threads", master) as served:
                assert served.copies(8) == [8]
                print("ok", app, "threads", master, flush=True)
            with serving(app, "--runtime", "processes", "--workers", "2", master) as served:
                assert served.copies(64) == [32, 32]
                print("ok", app, "two processes, 32 connections each", master, flush=True)
    with serving(WSGI, "--runtime", "processes", "--workers", "2", "--no-master") as served:
        connection, pid = served.get("/pid")
        connection.close()
        os.kill(int(pid), signal.SIGTERM)  # TerminateProcess
        served.wait_line(r"process \d+ ended with status \d+; another one is started")
        deadline = time.monotonic() + SECONDS
        while served.copies(8) != [4, 4]:
            assert time.monotonic() < deadline, served.copies(8)
        print("ok dead process replaced", flush=True)
    print("all is well", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
