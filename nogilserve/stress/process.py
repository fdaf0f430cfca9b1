"""The subject as the driving process sees it: a child that serves the application, and answers."""

import base64
import contextlib
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import nogilserve
from nogilserve.config import Config
from nogilserve.errors import AppImportError, NogilserveError

__all__ = ["Launch", "Subject", "SubjectDied"]

_ANSWER: Final = 20.0
"""Seconds within which the subject answers an order, however busy it is."""
_KILLED: Final = -9
_END: Final = 5.0


class SubjectDied(NogilserveError):
    """The process of the application has ended; `said` is what it wrote before, with the stacks
    that faulthandler prints."""

    def __init__(self, how: str, said: str) -> None:
        super().__init__(how)
        self.how = how
        self.said = said


@dataclass(frozen=True, slots=True)
class Launch:
    """How subjects are started. Immutable but for the count."""

    config: Config
    environment: Mapping[str, str]
    packages: Sequence[str] = ()
    """Whose code is watched besides the application's own."""
    import_timeout: float = 120.0
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def start(self) -> "Subject":
        """A fresh process, ready. Raises AppImportError."""
        return Subject(self, next(self.numbers))


class Subject:
    """Owner: the driving process's thread."""

    def __init__(self, launch: Launch, number: int) -> None:
        self.number = number
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        root = str(Path(nogilserve.__file__).resolve().parents[1])
        variables = {**os.environ, **launch.environment}
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [variables.get("PYTHONPATH"), root]))
        # The order of sets would differ from process to process.
        variables.setdefault("PYTHONHASHSEED", "0")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nogilserve.stress.subject"],
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        try:
            config = base64.b64encode(pickle.dumps(launch.config)).decode()
            self.facts = self._ask(
                {"config": config, "packages": list(launch.packages)}, launch.import_timeout
            )
        except SubjectDied as died:
            self.end()
            raise AppImportError(
                f"the process that imported {launch.config.app} {died.how}", died.said
            ) from None
        except BaseException:
            self.end()
            raise
        if "failed" in self.facts:
            self.end()
            raise AppImportError(self.facts["failed"], self.facts["detail"])
        self.port: int = self.facts["port"]

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def ask(self, what: str, **details: Any) -> dict[str, Any]:
        """Give an order; the answer. Raises SubjectDied."""
        return self._ask({"do": what, **details}, _ANSWER)

    def _ask(self, message: dict[str, Any], timeout: float) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        # A pipe has no time-out: whoever is late is ended, and the read ends with it.
        late = threading.Timer(timeout, process.kill)
        late.daemon = True
        late.start()
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = b""
        finally:
            late.cancel()
            late.join()
        if not line:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END)
            raise SubjectDied(self.how_it_ended(timeout), self.said())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def how_it_ended(self, timeout: float = _ANSWER) -> str:
        """In words, for after "the process …"."""
        status = self._process.poll()
        if status is None or status == _KILLED:
            return f"did not answer within {timeout:g} s"
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    def said(self, most: int = 8000) -> str:
        """The end of what it wrote to standard error."""
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, self._said.tell() - most))
        text = self._said.read().decode("utf-8", "backslashreplace")
        return text.partition("Current thread's C stack trace")[0].rstrip()

    def memory(self) -> int:
        """Bytes of memory in use; 0 where that cannot be told."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def end(self) -> None:
        """Have it end, by force if need be."""
        process = self._process
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            process.wait(_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_END)
        if process.stdout is not None:
            process.stdout.close()
        self._said.close()
