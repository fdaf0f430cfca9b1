"""What a serving process asks the keeper, over a unix socket whose path is in its environment.

The answers are in `nogilserve.tls.acme.questions`. A keeper that is being started again answers a
moment later: the socket is held by who starts it.
"""

import _thread
import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

__all__ = ["DAEMONS", "ENVIRONMENT", "Changes", "Inquiry"]

ENVIRONMENT: Final = "_NOGILSERVE_KEEPER"
"""The variable with the path."""

DAEMONS: Final[bool] = _thread.daemon_threads_allowed()
"""Not in subinterpreters."""

_LONGEST: Final = 1 << 20
_SHORT: Final = 1.0
"""Seconds for an answer that other connections may wait for."""
_PATIENCE: Final = 10.0
"""Seconds for an answer that the keeper finds in its storage."""
_LONG_PATIENCE: Final = 120.0
"""Seconds for a certificate that has to be obtained."""
_PAUSE: Final = 1.0
"""Seconds before the keeper is called again when it is gone."""


class Inquiry:
    """Any thread: each question has a connection of its own. Immutable."""

    def __init__(self, path: str) -> None:
        self._path = path

    @classmethod
    def from_environment(cls) -> "Inquiry | None":
        """Of the keeper of this server; None where there is none."""
        path = os.environ.get(ENVIRONMENT, "")
        return cls(path) if path else None

    def http_answer(self, token: str) -> str | None:
        """What to answer to HTTP-01 for a token (RFC 8555 §8.3), None if it is not ours. Blocks,
        usually for a millisecond."""
        found = self._ask(_SHORT, ask="http", token=token)
        return found if isinstance(found, str) else None

    def tls_answer(self, name: str) -> str | None:
        """Certificate and key, PEM, that answer TLS-ALPN-01 for a name (RFC 8737), None if there
        is no such challenge. Blocks, usually for a millisecond."""
        found = self._ask(_PATIENCE, ask="tls", name=name)
        return found if isinstance(found, str) else None

    def certificate(self, name: str) -> str:
        """Have a certificate obtained for a name: "" once it is there, else why it is not. Blocks
        until it is there or cannot be had."""
        found = self._ask(_LONG_PATIENCE, ask="certificate", name=name)
        return found if isinstance(found, str) else "the keeper does not answer"

    def report(self) -> list[dict[str, Any]]:
        """The names that the keeper looks after: "name", "not_after" in seconds since the epoch (0:
        there is no certificate), "failing". Blocks for a moment."""
        found = self._ask(_SHORT, ask="report")
        return found if isinstance(found, list) else []

    def connect(self, timeout: float | None) -> socket.socket:
        """A connection. Raises OSError."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(timeout)
            sock.connect(self._path)
        except BaseException:
            sock.close()
            raise
        return sock

    def _ask(self, timeout: float, **question: Any) -> Any:
        """The answer, None if there is none."""
        try:
            with self.connect(timeout) as sock, sock.makefile("rb") as answers:
                sock.sendall(json.dumps(question).encode() + b"\n")
                return json.loads(answers.readline(_LONGEST))["answer"]
        except (OSError, ValueError, KeyError, TypeError):
            return None


class Changes:
    """Tells when certificates have changed. Its thread calls `changed`, also once at the beginning
    and whenever the keeper was away; `close` ends it. Owner: who made it."""

    def __init__(self, inquiry: Inquiry, changed: Callable[[], None]) -> None:
        self._inquiry = inquiry
        self._changed = changed
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        """Under the lock."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="certificates", daemon=DAEMONS)
        if not DAEMONS:
            # The interpreter waits for threads at its end, and nobody else ends this one.
            register: Any = getattr(threading, "_register_atexit")  # noqa: B009 - private
            register(self.close)
        self._thread.start()

    def close(self) -> None:
        """End it. Not from its own thread."""
        self._ended.set()
        with self._lock:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError):
                self._listen()
            self._ended.wait(_PAUSE)

    def _listen(self) -> None:
        with self._inquiry.connect(None) as sock:
            with self._lock:
                self._socket = sock
            try:
                if self._ended.is_set():
                    return
                sock.sendall(b'{"ask": "changes"}\n')
                with sock.makefile("rb") as lines:
                    while lines.readline(_LONGEST) and not self._ended.is_set():
                        self._changed()
            finally:
                with self._lock:
                    self._socket = None
