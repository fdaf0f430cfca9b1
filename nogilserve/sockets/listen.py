"""Opening listeners, all or none.

Runs at start on the main thread. Knows no protocol, no application, and does not accept. Windows
has neither AF_UNIX nor inherited descriptors here; asking for them is a BindError.
"""

import errno
import os
import socket
import stat
import sys
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from typing import Any, Final

from nogilserve.config import Bind
from nogilserve.errors import BindError
from nogilserve.sockets.portowner import holders_of_port, holders_of_unix_socket

__all__ = ["PASSED_BY_SYSTEMD", "Listener", "open_listeners"]

_SAME_PORT_TRIES: Final = 16
PASSED_BY_SYSTEMD: Final = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
"""Variables that are not for child processes."""


class Listener:
    """A listening, non-blocking socket that child processes do not inherit.

    Its fields do not change, so any thread may read them and accept; `close` belongs to whoever
    opened it.
    """

    __slots__ = ("_file", "_inherited", "label", "role", "server", "socket")

    def __init__(
        self,
        sock: socket.socket,
        label: str,
        server: tuple[str, str],
        file: tuple[str, int, int] | None = None,
        *,
        inherited: bool = False,
        role: str = "tls",
    ) -> None:
        self.socket = sock
        self.role = role
        """What connections are to be: see `Bind.role`."""
        self.label = label
        """For people: http://127.0.0.1:8000, http://[::1]:8000, unix:/run/app.sock."""
        self.server = server
        """Name or address, and port as text: never empty (PEP 3333, SERVER_NAME, SERVER_PORT)."""
        self._file = file
        """Path, device and inode of a unix socket that is ours to remove."""
        self._inherited = inherited

    def __repr__(self) -> str:
        return f"<Listener {self.label}>"

    def fileno(self) -> int:
        """Descriptor number, -1 once closed."""
        return self.socket.fileno()

    @property
    def file(self) -> tuple[str, int, int] | None:
        """Path, device and inode of a unix socket that is ours to remove, else None."""
        return self._file

    @property
    def inherited(self) -> bool:
        """Whether whoever passed it on may go on listening."""
        return self._inherited

    def disown(self) -> None:
        """Leave the file of a unix socket, and whoever connects, to another process."""
        self._file = None
        self._inherited = True

    def refuse(self) -> None:
        """Turn new connections away although threads may still hold the socket. An inherited one
        is left alone: whoever passed it on may go on listening. Any thread."""
        if not self._inherited:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop listening; a unix socket is removed if it is still the one that was made here."""
        self.socket.close()
        file, self._file = self._file, None
        if file is None:
            return
        path, device, inode = file
        try:
            found = os.lstat(path)
            if (found.st_dev, found.st_ino) == (device, inode):
                os.unlink(path)
        except OSError:
            pass  # somebody removed it first, or the directory


def open_listeners(
    binds: Iterable[Bind],
    backlog: int = 2048,
    uds_permissions: int = 0o660,
    *,
    encrypted: bool = False,
) -> list[Listener]:
    """Listen on every address, or on none: BindError says which failed, why, and what to do.

    One address may give several listeners: a name that resolves to IPv4 and IPv6, or an empty
    host, which means every interface of both. With port 0 they share the port of the first.
    Variables by which systemd passed sockets are removed: they are not for child processes.
    `encrypted`: TLS is spoken where the bind does not say otherwise, which the labels show.
    """
    for name in PASSED_BY_SYSTEMD:
        os.environ.pop(name, None)
    with ExitStack() as opened:
        listeners: list[Listener] = []
        for bind in binds:
            for listener in _open(bind, backlog, uds_permissions):
                listener.role = bind.role
                if encrypted and bind.role == "tls":
                    listener.label = listener.label.replace("http:", "https:", 1)
                opened.callback(listener.close)
                listeners.append(listener)
        opened.pop_all()
    return listeners


def _open(bind: Bind, backlog: int, uds_permissions: int) -> list[Listener]:
    if bind.kind == "unix":
        return [_open_unix(bind.path, backlog, uds_permissions)]
    if bind.kind == "fd":
        return [_adopt(bind.fd)]
    return _open_tcp(bind, backlog)


# ---- TCP -------------------------------------------------------------------------------------


def _open_tcp(bind: Bind, backlog: int) -> list[Listener]:
    addresses = _resolve(bind)
    for attempt in range(_SAME_PORT_TRIES):
        try:
            return _open_all(bind, addresses, backlog)
        except BindError:
            # Port 0: the port that the first address got can be taken on the second.
            if bind.port or len(addresses) == 1 or attempt == _SAME_PORT_TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _resolve(bind: Bind) -> list[tuple[int, tuple[Any, ...]]]:
    """Families and addresses, IPv4 first, none twice."""
    # Text would have Python load its codec for international names, which is half a megabyte.
    host = bind.host.encode() if bind.host.isascii() else bind.host
    try:
        found = socket.getaddrinfo(
            host or None, bind.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else str(error)
        raise BindError(
            f"cannot listen on {bind}: the name {bind.host!r} does not resolve ({reason})"
        ) from None
    addresses = dict.fromkeys(
        (int(family), tuple[Any, ...](address)) for family, _, _, _, address in found
    )
    return sorted(addresses, key=lambda item: item[0] != socket.AF_INET)


def _open_all(
    bind: Bind, addresses: list[tuple[int, tuple[Any, ...]]], backlog: int
) -> list[Listener]:
    port = bind.port
    listeners: list[Listener] = []
    skipped: OSError | None = None
    with ExitStack() as opened:
        for family, address in addresses:
            try:
                sock = _listen_tcp(family, (address[0], port, *address[2:]), backlog)
            except OSError as error:
                # A container may have the name ::1 but no IPv6.
                if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and len(addresses) > 1:
                    skipped = error
                    continue
                raise BindError(_tcp_reason(bind, port, error)) from None
            opened.callback(sock.close)
            port = sock.getsockname()[1]
            listeners.append(_tcp_listener(sock))
        if not listeners:
            raise BindError(_tcp_reason(bind, port, skipped or OSError("no address")))
        opened.pop_all()
    return listeners


def _listen_tcp(family: int, address: tuple[Any, ...], backlog: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # On Windows SO_REUSEADDR lets a second server steal the port; there it is not needed.
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _tcp_listener(sock: socket.socket, *, inherited: bool = False) -> Listener:
    host, port = sock.getsockname()[:2]
    label = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    # An application that builds URLs from SERVER_NAME gets a name that means this machine.
    name = socket.gethostname() or "localhost" if host in ("0.0.0.0", "::") else host
    return Listener(sock, label, (name, str(port)), inherited=inherited)


def _tcp_reason(bind: Bind, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE or getattr(error, "winerror", 0) == 10013:
        holders = holders_of_port(port)
        held = f" by {holders}" if holders else ""
        ask = "" if holders else _how_to_look(port)
        return (
            f"cannot listen on {bind}: port {port} is in use{held}. Stop that one, or choose "
            f"another port with --bind (port 0 takes a free one){ask}"
        )
    if error.errno == errno.EACCES and port < 1024:
        return (
            f"cannot listen on {bind}: ports below 1024 need a privilege. Use a port from 1024 "
            f"up, let systemd pass the socket, or give the process CAP_NET_BIND_SERVICE"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {bind}: this machine has no address {bind.host!r}"
    return f"cannot listen on {bind}: {error.strerror or error}"


def _how_to_look(port: int) -> str:
    if sys.platform == "darwin":
        return f". See who holds it: lsof -nP -iTCP:{port} -sTCP:LISTEN"
    if os.name == "nt":
        return f". See who holds it: netstat -ano | findstr :{port}"
    return f". See who holds it: ss -ltnp 'sport = :{port}' (as root)"


# ---- unix ------------------------------------------------------------------------------------


def _open_unix(path: str, backlog: int, permissions: int) -> Listener:
    if not hasattr(socket, "AF_UNIX") or os.name == "nt":
        raise BindError(f"cannot listen on unix:{path}: this system has no unix sockets")
    path = os.path.abspath(path)
    _clear_way(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _bind_unix(sock, path, permissions)
        made = os.lstat(path)
        sock.listen(backlog)
        sock.setblocking(False)
        # Between bind and listen ours looked stale to another one starting at the same moment.
        now = os.lstat(path)
        if (made.st_dev, made.st_ino) != (now.st_dev, now.st_ino):
            raise BindError(f"cannot listen on unix:{path}: another server has just taken it")
    except OSError as error:
        sock.close()
        reason = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            reason = "another server has just taken it"
        raise BindError(f"cannot listen on unix:{path}: {reason}") from None
    except BaseException:
        sock.close()
        raise
    return Listener(sock, f"unix:{path}", ("localhost", "80"), (path, made.st_dev, made.st_ino))


def _bind_unix(sock: socket.socket, path: str, permissions: int) -> None:
    """Bind so that the file never has more than `permissions`: a chmod would come too late.

    The umask belongs to the whole process; nothing else runs yet.
    """
    before = os.umask(0o777 & ~permissions)
    try:
        sock.bind(path)
    finally:
        os.umask(before)


def _clear_way(path: str) -> None:
    """Remove a stale socket; refuse a live one and anything that is no socket."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        if not os.path.isdir(os.path.dirname(path)):
            directory = os.path.dirname(path)
            raise BindError(
                f"cannot listen on unix:{path}: there is no directory {directory}"
            ) from None
        return
    except OSError as error:
        raise BindError(f"cannot listen on unix:{path}: {error.strerror}") from None
    if not stat.S_ISSOCK(found.st_mode):
        raise BindError(
            f"cannot listen on unix:{path}: something that is no socket is there, and is left alone"
        )
    _refuse_live(path)
    try:
        if os.lstat(path).st_ino == found.st_ino:
            os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise BindError(
            f"cannot listen on unix:{path}: the stale socket cannot be removed ({error.strerror})"
        ) from None


def _refuse_live(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except BlockingIOError:
            pass  # its backlog is full: very much alive
        except OSError as error:
            raise BindError(
                f"cannot listen on unix:{path}: cannot tell whether the socket there is in use "
                f"({error.strerror})"
            ) from None
    holders = holders_of_unix_socket(path)
    held = f" ({holders})" if holders else ""
    raise BindError(
        f"cannot listen on unix:{path}: another server is listening there{held}. Stop it, or "
        f"choose another path"
    )


# ---- inherited descriptors -------------------------------------------------------------------


def _adopt(fd: int) -> Listener:
    """Take over an inherited descriptor; it must be a listening stream socket."""
    if os.name == "nt":
        raise BindError(f"cannot listen on fd://{fd}: Windows passes no descriptors")
    try:
        mode = os.fstat(fd).st_mode
    except OSError as error:
        raise BindError(
            f"cannot listen on fd://{fd}: there is no such open descriptor ({error.strerror}). "
            f"Whoever starts this process must pass it on"
        ) from None
    if not stat.S_ISSOCK(mode):
        raise BindError(f"cannot listen on fd://{fd}: it is open, but is no socket")
    sock = socket.socket(fileno=fd)
    with ExitStack() as failed:
        failed.callback(sock.detach)  # not ours after all: left open
        if sock.type != socket.SOCK_STREAM:
            raise BindError(f"cannot listen on fd://{fd}: it is no stream socket")
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise BindError(f"cannot listen on fd://{fd}: it is a socket that does not listen")
        os.set_inheritable(fd, False)
        sock.setblocking(False)
        listener = _describe(sock)
        failed.pop_all()
    return listener


def _describe(sock: socket.socket) -> Listener:
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        return _tcp_listener(sock, inherited=True)
    name = sock.getsockname()
    path = name if isinstance(name, str) else "@" + bytes(name[1:]).decode(errors="replace")
    # The file belongs to who made it.
    return Listener(sock, f"unix:{path}", ("localhost", "80"), inherited=True)
