"""The control socket: commands for a running master, a line of JSON each way.

It is a unix socket of mode 0600 in a directory that only its user may enter. Where the system has
none (Windows) it is a port of 127.0.0.1, and a file in the user's own directory has its number and
a token that every command has to carry. Its threads put requests on the master's queue and wait
for the answers; they touch nothing else.
"""

import contextlib
import json
import os
import queue
import socket
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final

from nogilserve.config import Bind
from nogilserve.errors import BindError, ControlError

__all__ = ["Control", "Request", "ask", "default_path", "directories", "find", "refuse_live"]

_UNIX: Final = hasattr(socket, "AF_UNIX")
_PATIENCE: Final = 10.0
"""Seconds a client may take to say what it wants, and to read the answer."""
_PAUSE: Final = 1.0
_AT_ONCE: Final = 16
_LONGEST_PATH: Final = 95
"""Of a unix socket: the system takes some 104 bytes, and it is bound under a longer name first."""
_LONGEST: Final = 65536
"""Bytes of a command."""
_LONGEST_ANSWER: Final = 1 << 28
_SOON: Final = 2.0
"""Seconds in which a server that runs says who it is."""
_MORE: Final = "~"
"""Before the number of a further server whose control socket would have the same name."""

Answer = dict[str, Any]


class Request:
    """A command and where its answer goes. Made by a thread of the socket, answered once by the
    main thread."""

    def __init__(self, command: str, arguments: Mapping[str, Any] | None = None) -> None:
        self.command = command
        self.arguments = arguments or {}
        self._answer: queue.SimpleQueue[Answer] = queue.SimpleQueue()

    def answer(self, text: str, *, ok: bool = True, **more: Any) -> None:
        """The outcome, in a sentence for the user."""
        self._answer.put({"ok": ok, "text": text, **more})

    def wait(self) -> Answer:
        """Block until it is answered."""
        return self._answer.get()


class Control:
    """The listening side. Owner: the main thread of the master; its threads only use the queue."""

    def __init__(
        self,
        path: str,
        events: "queue.SimpleQueue[tuple[str, int, Any]]",
        *,
        loopback: bool = not _UNIX,
    ) -> None:
        """Listen at `path`, in place of whatever was there (see `refuse_live`); `loopback`: at a
        port that the file `path` tells. Raises OSError."""
        self.path = path
        self._events = events
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        self._waiting: set[Request] = set()
        """Requests not answered yet; single operations of a set are atomic."""
        self._closing = threading.Event()
        self._token = os.urandom(16).hex() if loopback else ""
        self._socket = _listen_here(path, self._token) if loopback else _listen(path)
        found = os.lstat(path)
        self._file = found.st_dev, found.st_ino
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer who waits, then stop listening and remove the file if it is still ours."""
        for request in list(self._waiting):
            request.answer("the server has ended", ok=False)
        self._closing.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._token:  # there, nothing but a connection ends the wait for one
            with (
                contextlib.suppress(OSError),
                socket.create_connection(self._socket.getsockname(), 1),
            ):
                pass
        self._thread.join()
        self._socket.close()
        with contextlib.suppress(OSError):
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == self._file:
                os.unlink(self.path)
        for _ in range(_AT_ONCE):  # until every answer has been sent
            if not self._free.acquire(timeout=1.0):
                break

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                # Closed, or out of descriptors.
                if self._closing.wait(_PAUSE):
                    return
                continue
            if self._closing.is_set():
                sock.close()
                return
            self._free.acquire()
            threading.Thread(
                target=self._talk, args=(sock,), name="control-client", daemon=True
            ).start()

    def _talk(self, sock: socket.socket) -> None:
        try:
            with sock, contextlib.suppress(OSError, ValueError):
                sock.settimeout(_PATIENCE)
                asked = json.loads(_line(sock))
                if self._token and not _same(str(asked.get("token", "")), self._token):
                    return
                arguments = asked.get("arguments")
                request = Request(
                    str(asked.get("command", "")), arguments if isinstance(arguments, dict) else {}
                )
                self._waiting.add(request)
                self._events.put(("control", 0, request))
                answer = request.wait()
                self._waiting.discard(request)
                sock.sendall(json.dumps(answer).encode() + b"\n")
        finally:
            self._free.release()


def _same(given: str, token: str) -> bool:
    import hmac  # not in the master where there are unix sockets

    return hmac.compare_digest(given.encode(), token.encode())


def _line(sock: socket.socket, longest: int = _LONGEST) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n") and len(received) < longest:
        piece = sock.recv(65536)
        if not piece:
            break
        received += piece
    return bytes(received)


def _listen_here(path: str, token: str) -> socket.socket:
    """Listen at a port of this machine, and write it and the token into a file of the user's."""
    sock = socket.create_server(("127.0.0.1", 0))
    beside = f"{path}.{os.getpid()}"
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(fd, "w", encoding="ascii") as file:
            json.dump({"port": sock.getsockname()[1], "token": token}, file)
        os.replace(beside, path)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect(path: str, seconds: float) -> tuple[socket.socket, str]:
    """A connection to the server at `path`, and the token it wants. Raises OSError."""
    if _UNIX and not os.path.isfile(path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(seconds)
            sock.connect(path)
        except BaseException:
            sock.close()
            raise
        return sock, ""
    with open(path, encoding="ascii") as file:
        try:
            place = json.load(file)
            address = ("127.0.0.1", int(place["port"]))
        except (ValueError, KeyError, TypeError):
            raise OSError(f"{path} does not say where the server is") from None
    return socket.create_connection(address, seconds), str(place.get("token", ""))


def _listen(path: str) -> socket.socket:
    """Bind beside the path and move it there: no other process ever sees it half made."""
    beside = f"{path}.{os.getpid()}"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(beside)
        sock.listen(128)
        os.rename(beside, path)
    except BaseException:
        sock.close()
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    finally:
        os.umask(before)
    return sock


def refuse_live(path: str) -> None:
    """Raise BindError unless `path` is free or has what a dead server left there.

    Two servers that ask at the same moment may both find it free; the later one gets it.
    """
    refused = f"option --control-socket: cannot listen on {path!r}: "
    try:
        found = os.lstat(path)
    except OSError:
        return  # nothing there; whether it can be made is seen when it is
    if _UNIX:
        if not stat.S_ISSOCK(found.st_mode):
            raise BindError(f"{refused}something that is no socket is there, and is left alone")
        try:
            _connect(path, 1)[0].close()
        except (FileNotFoundError, ConnectionRefusedError):
            return
        except OSError as error:
            raise BindError(
                f"{refused}cannot tell whether the socket there is in use "
                f"({error.strerror or error})"
            ) from None
    pid = _status(path).get("pid")
    held = f" (process {pid})" if pid else ""
    # A port that a dead server has told may be another program's by now.
    if held or _UNIX:
        raise BindError(
            f"{refused}another server is listening there{held}. Stop it, or choose another path"
        )


# ---- where it is


def directories() -> Iterator[str]:
    """Where control sockets are kept, the best place first; not made yet."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime:
        yield os.path.join(runtime, "nogilserve")
    if os.environ.get("LOCALAPPDATA") and not _UNIX:
        yield os.path.join(os.environ["LOCALAPPDATA"], "nogilserve")
    if hasattr(os, "getuid"):
        yield os.path.join(os.environ.get("TMPDIR") or "/tmp", f"nogilserve-{os.getuid()}")


def is_private(folder: str) -> bool:
    """Whether a directory is this user's, no link, and closed to everybody else."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    if not hasattr(os, "getuid"):  # in the user's profile, which others may not read
        return stat.S_ISDIR(found.st_mode)
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.getuid()
        and not stat.S_IMODE(found.st_mode) & 0o077
    )


def default_path(addresses: Iterable[str], mine: str) -> tuple[str, str]:
    """A path for a server that listens on these, in a directory made now, and the usual one where
    another server has that and goes on, else "". `mine` is nobody else's. Raises OSError.

    Two may be called the same: one that stops and its successor, or unix sockets of like names.
    Two that ask at the same moment may get the same path, as with `refuse_live`.
    """
    name = _name(next(iter(addresses), "server"))
    for folder in directories():
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
        except OSError:
            continue
        if not is_private(folder):
            continue
        path = usual = os.path.abspath(os.path.join(folder, f"{name}.sock"))
        for number in count(2):
            if len(os.fsencode(path)) >= _LONGEST_PATH:
                break
            if path == mine or not _is_live(path):
                beside = path != usual and not _status(usual).get("stopping")
                return path, usual if beside else ""
            path = usual.removesuffix(".sock") + f"{_MORE}{number}.sock"
    tried = ", ".join(directories())
    raise OSError(f"no directory can be made or trusted for it (tried: {tried})")


def _name(address: str) -> str:
    """An address as the name of a file."""
    plain = address.rpartition("//")[2]
    name = "".join(c if c.isalnum() or c == "." else "-" for c in plain).strip("-.")
    if len(name) <= 30:
        return name
    from zlib import crc32  # rarely: a master stays small without

    return f"{crc32(name.encode()):08x}-{name[-20:]}"


def find(given: str, binds: Sequence[Bind], *, insist: bool) -> str:
    """The control socket of the server that is meant. Raises ControlError.

    `given`: `--control-socket`. Else that of a server on these addresses; else, unless these were
    asked for (`insist`), the only one. Of several it is the only one that is not stopping.
    """
    if given:
        return os.path.abspath(given)
    live = [
        path
        for folder in directories()
        if is_private(folder)
        for name in sorted(os.listdir(folder))
        if name.endswith(".sock") and _is_live(path := os.path.join(folder, name))
    ]
    wanted = {_name(f"unix:{os.path.abspath(b.path)}" if b.path else str(b)) for b in binds}
    named = [path for path in live if _stem(path) in wanted]
    meant = named or ([] if insist else live)
    told: dict[str, Answer] = {}
    if len(meant) > 1:
        told = {path: _status(path) for path in meant}
        meant = [path for path in meant if not told[path].get("stopping")] or meant
    if len(meant) == 1:
        return meant[0]
    if insist and live and not named:
        raise ControlError(
            f"no running server of this user listens on {', '.join(map(str, binds))}"
        )
    if not live:
        raise ControlError(
            "no running server of this user was found; say --control-socket PATH as the server was "
            "told"
        )
    by_address = "" if named else "--bind, the address of the one that is meant, or "
    known = "".join(f"\n  {path}: {told[path].get('text', 'no answer')}" for path in meant)
    raise ControlError(
        f"several servers are running: say {by_address}--control-socket, one of these:{known}"
    )


def _stem(path: str) -> str:
    """What was made of the address in the name of a control socket."""
    return os.path.basename(path).removesuffix(".sock").partition(_MORE)[0]


def _status(path: str) -> Answer:
    """What the server at `path` says of itself, nothing where it does not."""
    with contextlib.suppress(ControlError):
        return ask(path, "status", _SOON)
    return {}


def _is_live(path: str) -> bool:
    try:
        sock, _ = _connect(path, 1)
    except (TimeoutError, BlockingIOError):
        return True  # it has not looked after its clients for long, but it is there
    except OSError:
        return False
    sock.close()
    return True


def ask(
    path: str, command: str, timeout: float, arguments: Mapping[str, Any] | None = None
) -> Answer:
    """Give a command to the server at `path`, and return what it answers. Raises ControlError."""
    try:
        sock, token = _connect(path, _PATIENCE)
    except (FileNotFoundError, ConnectionRefusedError):
        raise ControlError(f"no server runs with the control socket {path}") from None
    except OSError as error:
        raise ControlError(f"{path}: {error.strerror or error}") from None
    with sock:
        try:
            asked = {"command": command, "arguments": dict(arguments or {}), "token": token}
            sock.sendall(json.dumps(asked).encode() + b"\n")
            sock.settimeout(timeout or None)
            answer = json.loads(_line(sock, _LONGEST_ANSWER) or b"{}")
        except TimeoutError:
            raise ControlError(f"{path}: no answer within {timeout:g} s") from None
        except OSError as error:
            raise ControlError(f"{path}: {error.strerror or error}") from None
    if not isinstance(answer, dict) or "ok" not in answer:
        raise ControlError(f"{path}: the connection ended without an answer")
    return answer
