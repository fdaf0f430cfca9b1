"""The access log: a record per request, a line per record, written by one thread of its own.

Requests only append a finished record to a bounded queue. What an application or a client puts
into a line is escaped, so that a line is always one line and no terminal obeys it.
"""

import _thread
import base64
import binascii
import contextlib
import errno
import io
import json
import logging
import os
import re
import select
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from nogilserve.messages import VERSIONS, Headers, RequestRecord

__all__ = ["AccessLog", "check_writable", "compile_format", "unwritable"]

_log = logging.getLogger("nogilserve")

Formatter = Callable[[RequestRecord], str]

_NAMED: Final = {
    "common": '%h %l %u %t "%r" %>s %b',
    "combined": '%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"',
}
_ATOM: Final = re.compile(r"%(?:(%)|\{([^{}]+)\}([io])|(\{UNIQUE_ID\}e)|[<>]?([a-zA-Z]))")
_UNSAFE: Final = re.compile(r'[^\x20-\x7e]|["\\]')

_DAEMON: Final[bool] = _thread.daemon_threads_allowed()
"""Not in subinterpreters."""
_QUEUE: Final = 65536
"""Records that may wait for the writer; more are dropped and counted."""
_PIPE: Final[int] = getattr(select, "PIPE_BUF", 512)
"""Bytes that a pipe takes in one piece."""
_PAUSE: Final = 0.05
"""Seconds the writer lets records gather while there is traffic."""


def _escape(text: str) -> str:
    """Printable ASCII; everything else, quotes and backslashes as \\xhh (as Apache does)."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return _UNSAFE.sub(lambda match: "".join(f"\\x{b:02x}" for b in _bytes(match[0])), text)


def _bytes(char: str) -> bytes:
    return char.encode("latin-1") if ord(char) < 256 else char.encode("utf-8", "replace")


def _field(headers: Headers, name: str) -> str:
    """All values of a field; "-" if there is none."""
    values = [value for key, value in headers if key.lower() == name]
    return _escape(", ".join(values)) or "-"


def _user(record: RequestRecord) -> str:
    """The user of Basic credentials (RFC 7617), for %u."""
    for name, value in record.headers:
        scheme, _, credentials = value.partition(" ")
        if name == "authorization" and scheme.lower() == "basic":
            try:
                decoded = base64.b64decode(credentials.strip(), validate=True)
            except (binascii.Error, ValueError):
                return "-"
            return _escape(decoded.partition(b":")[0].decode("latin-1")) or "-"
    return "-"


def _time(seconds: float) -> str:
    local = time.localtime(seconds)
    return (
        time.strftime("[%d/", local)
        + _MONTHS[local.tm_mon - 1]
        + time.strftime("/%Y:%H:%M:%S %z]", local)
    )


# In no locale:
_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()  # noqa: SIM905


def _request_line(record: RequestRecord) -> str:
    """As the client sent it; "-" if it could not be understood."""
    return f"{record.method} {record.target} {VERSIONS[record.minor]}" if record.method else "-"


_ATOMS: Final[dict[str, Formatter]] = {
    "h": lambda r: _escape(r.client) or "-",
    "a": lambda r: _escape(r.client) or "-",
    "l": lambda _: "-",
    "u": _user,
    "t": lambda r: _time(r.started),
    "r": lambda r: _escape(_request_line(r)),
    "m": lambda r: _escape(r.method) or "-",
    "U": lambda r: _escape(r.target.partition("?")[0]) or "-",
    "q": lambda r: _escape("".join(r.target.partition("?")[1:])),
    "H": lambda r: VERSIONS[r.minor],
    "s": lambda r: str(r.status) if r.status else "-",
    "b": lambda r: str(r.sent) if r.sent else "-",
    "B": lambda r: str(r.sent),
    "f": lambda r: _field(r.headers, "referer"),
    "T": lambda r: str(int(r.seconds)),
    "M": lambda r: str(int(r.seconds * 1e3)),
    "D": lambda r: str(int(r.seconds * 1e6)),
    "L": lambda r: f"{r.seconds:.6f}",
    "p": lambda _: f"<{os.getpid()}>",
    # Apache says of a complete response whether the connection stays open; that is not known here.
    "v": lambda r: _field(r.headers, "host"),
    "X": lambda r: "+" if r.complete else "X",
    # The variable in which Apache's mod_unique_id keeps the id of a request.
    "{UNIQUE_ID}e": lambda r: _escape(r.request_id) or "-",
}
"""gunicorn's and Apache's atoms without a free name, by what stands behind the percent sign."""


def _json(record: RequestRecord, whose: dict[str, Any]) -> str:
    return json.dumps(
        {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.started))
            + f".{int(record.started % 1 * 1e6):06}Z",
            **whose,
            "id": record.request_id,
            "client": record.client,
            "method": record.method,
            "target": record.target,
            "protocol": VERSIONS[record.minor] if record.method else None,
            "status": record.status or None,
            "complete": record.complete,
            "refusal": record.refusal or None,
            "sent": record.sent,
            "received": record.received,
            "seconds": round(record.seconds, 6),
            "referer": _plain(record.headers, "referer"),
            "user_agent": _plain(record.headers, "user-agent"),
        }
    ).replace("\x7f", "\\u007f")


def _plain(headers: Headers, name: str) -> str | None:
    return next((value for key, value in headers if key == name), None)


def compile_format(text: str, generation: int = 0, tenant: str = "") -> Formatter:
    """The function that makes a line of a record: "common", "combined", "json" or atoms.
    `generation` and `tenant` are those of the process, 0 and "" for none.

    Unknown atoms are kept as they are; the configuration refuses them beforehand.
    """
    if text == "json":
        whose: dict[str, Any] = {"generation": generation} if generation else {}
        whose |= {"tenant": tenant} if tenant else {}
        return lambda record: _json(record, whose)
    text = _NAMED.get(text, text)
    parts: list[str | Formatter] = []
    position = 0
    for match in _ATOM.finditer(text):
        parts.append(text[position : match.start()])
        parts.append(_escape(tenant) if tenant and match[0] == "%v" else _atom(match))
        position = match.end()
    parts.append(text[position:])

    def line(record: RequestRecord) -> str:
        return "".join(part if isinstance(part, str) else part(record) for part in parts)

    return line


def _atom(match: re.Match[str]) -> str | Formatter:
    percent, name, side, identity, letter = match.groups()
    if percent:
        return "%"
    if name:
        key = name.lower()
        if side == "i":
            return lambda r: _field(r.headers, key)
        return lambda r: _field(r.response_headers, key)
    return _ATOMS.get(identity or letter, match[0])


def check_writable(path: str) -> None:
    """Raise OSError where `AccessLog` could not open `path`; creates and changes nothing."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        folder = os.path.dirname(path) or "."
        mode = os.stat(folder).st_mode  # the parent's absence is what to complain of
        if not stat.S_ISDIR(mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
        allowed = os.access(folder, os.W_OK | os.X_OK)
    else:
        allowed = os.access(path, os.W_OK)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not allowed:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def unwritable(path: str, error: OSError) -> str:
    """The sentence for a user whose access log cannot be opened."""
    return (
        f"--access-log {path!r} cannot be written: {error.strerror}. Name a file in "
        "a directory that exists and that this user may write to, or - for standard output."
    )


class AccessLog:
    """Queue, writer thread and file of the access log.

    `put` is for any thread and never blocks, `reopen` too; the rest belongs to the thread that
    started it, the file to the writer while that runs. The writer sleeps only after it has set
    `_asleep` and found the queue empty; `put` appends first and looks at `_asleep` afterwards: one
    of the two always sees the other (the queue's own lock orders both).
    """

    def __init__(self, path: str, form: str, generation: int = 0, tenant: str = "") -> None:
        """Open `path` for appending ("-": standard output). Raises OSError. `generation` and
        `tenant`: whose it is."""
        # Unbuffered: other processes may append to the same file, and a line must stay whole.
        self._file: io.FileIO | None = None if path == "-" else io.FileIO(path, "a")
        self._path = os.path.abspath(path)
        self._reopen = False
        self._line = compile_format(form, generation, tenant)
        self._queue: deque[RequestRecord] = deque()
        self._asleep = False
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._drops = threading.Lock()
        self.dropped = 0
        """Records lost. Any thread adds to it, under `_drops`."""
        self._reason = ""
        """Why the last of them was lost; under `_drops`."""
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=_DAEMON)

    def start(self) -> None:
        """Start the writer."""
        self._thread.start()

    def put(self, record: RequestRecord) -> None:
        """Have a record written soon, or drop it if too many wait. Any thread."""
        if len(self._queue) >= _QUEUE:
            self._lose(1, f"{_QUEUE} records were waiting for the writer")
            return
        self._queue.append(record)
        if self._asleep:
            self._asleep = False
            self._bell.set()

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, for at most `timeout` seconds, and close the file."""
        self._stopping.set()
        self._bell.set()
        self._thread.join(timeout)
        if self._file is not None and not self._thread.is_alive():
            with contextlib.suppress(OSError):  # the disk is still full
                self._file.close()
        if self.dropped:
            records = "1 record" if self.dropped == 1 else f"{self.dropped} records"
            _log.warning("the access log lost %s, the last because: %s", records, self._reason)

    def reopen(self) -> None:
        """Have the writer open the file anew, after it was moved away. Any thread."""
        self._reopen = True
        self._bell.set()

    def _open_again(self) -> None:
        if self._file is None:
            return
        try:
            new = io.FileIO(self._path, "a")
        except OSError as exc:
            _log.error("%s; going on with the file as it was", unwritable(self._path, exc))
            return
        old, self._file = self._file, new
        with contextlib.suppress(OSError):
            old.close()

    def _lose(self, count: int, reason: str) -> None:
        with self._drops:
            self.dropped += count
            self._reason = reason

    def _run(self) -> None:
        while True:
            stopping = self._stopping.is_set()
            if self._reopen:
                self._reopen = False
                self._open_again()
            if self._write_all():
                self._stopping.wait(_PAUSE)
            elif stopping:
                return
            else:
                # In this order: a late ring for an earlier record must not be wiped out together
                # with the flag that the next `put` looks at.
                self._bell.clear()
                self._asleep = True
                if not self._queue and not self._reopen and not self._stopping.is_set():
                    self._bell.wait()
                self._asleep = False

    def _write_all(self) -> bool:
        """Write what is in the queue now. False: it was empty."""
        lines: list[str] = []
        while self._queue and len(lines) < 1000:
            record = self._queue.popleft()
            try:
                lines.append(self._line(record))
            except Exception as exc:  # a record must not end the log
                lines.append(f"- a line could not be made: {type(exc).__name__}")
        if not lines:
            return False
        try:
            self._write(lines)
        except OSError as exc:  # disk full, pipe closed: serving goes on
            self._lose(len(lines), exc.strerror or str(exc))
        except ValueError as exc:  # the application closed standard output
            self._lose(len(lines), str(exc))
        return True

    def _write(self, lines: list[str]) -> None:
        """Write lines so that those of other processes do not come between their parts: to a
        file in one piece, to what may be a pipe in pieces that the system keeps whole."""
        if self._file is not None:
            data = "".join(f"{line}\n" for line in lines).encode("ascii", "backslashreplace")
            while data:
                data = data[self._file.write(data) :]
            return
        begun = 0
        size = 0
        for index, line in enumerate(lines):
            if size + len(line) >= _PIPE and index > begun:
                _print(lines[begun:index])
                begun, size = index, 0
            size += len(line) + 1
        _print(lines[begun:])


def _print(lines: list[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
