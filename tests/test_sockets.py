"""Listening: real sockets, port 0, and files in a temporary directory."""

import errno
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from nogilserve.config import Bind
from nogilserve.errors import BindError
from nogilserve.sockets import Listener, open_listeners

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
ROOT = Path(__file__).resolve().parents[1]
LOCAL = Bind("tcp", "127.0.0.1", 0)


def has_ipv6() -> bool:
    """Whether ::1 can be listened on here."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


IPV6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


@contextmanager
def opened(*binds: Bind, **options: Any) -> Iterator[list[Listener]]:
    """Listeners that are closed at the end."""
    with ExitStack() as stack:
        listeners = open_listeners(binds, **options)
        for listener in listeners:
            stack.callback(listener.close)
        yield listeners


@contextmanager
def plain_listener(family: int = socket.AF_INET, address: str = "") -> Iterator[socket.socket]:
    """Somebody else's listening socket."""
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.bind(address or ("127.0.0.1", 0))
        sock.listen(1)
        yield sock


def refused(*binds: Bind) -> str:
    """The message of the BindError that opening gives."""
    with pytest.raises(BindError) as caught:
        open_listeners(binds)
    return str(caught.value)


def accepts(
    listener: Listener, address: tuple[str, int] | str, family: int = socket.AF_INET
) -> None:
    """Connect to a listener and accept."""
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect(address)
        listener.socket.settimeout(5)
        listener.socket.accept()[0].close()


# ---- TCP -------------------------------------------------------------------------------------


def test_tcp() -> None:
    """A TCP listener accepts, does not block, is not inherited, and knows its address."""
    with opened(LOCAL) as [listener]:
        port = listener.socket.getsockname()[1]
        assert listener.label == f"http://127.0.0.1:{port}"
        assert listener.server == ("127.0.0.1", str(port))
        assert listener.fileno() == listener.socket.fileno()
        assert not listener.socket.getblocking()
        assert not listener.socket.get_inheritable()
        assert str(port) in repr(listener)
        accepts(listener, ("127.0.0.1", port))
    assert listener.fileno() == -1
    listener.close()


@IPV6
def test_ipv6_is_ipv6_only() -> None:
    """[::1] listens on IPv6 alone and is written with brackets."""
    with opened(Bind("tcp", "::1", 0)) as [listener]:
        port = listener.socket.getsockname()[1]
        assert listener.label == f"http://[::1]:{port}"
        assert listener.server == ("::1", str(port))
        assert listener.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        accepts(listener, ("::1", port), socket.AF_INET6)


@IPV6
def test_every_interface_means_both_families_on_one_port() -> None:
    """An empty host gives an IPv4 and an IPv6 listener; with port 0 they share the port."""
    with opened(Bind("tcp", "", 0)) as listeners:
        port = listeners[0].socket.getsockname()[1]
        assert [listener.label for listener in listeners] == [
            f"http://0.0.0.0:{port}",
            f"http://[::]:{port}",
        ]
        assert {listener.server for listener in listeners} == {(socket.gethostname(), str(port))}
        accepts(listeners[0], ("127.0.0.1", port))
        accepts(listeners[1], ("::1", port), socket.AF_INET6)


def test_name_is_resolved() -> None:
    """localhost listens on what it resolves to, the addresses that are missing here left out."""
    with opened(Bind("tcp", "localhost", 0)) as listeners:
        assert "127.0.0.1" in listeners[0].label
        assert len({listener.server[1] for listener in listeners}) == 1


def test_port_can_be_taken_again_at_once() -> None:
    """A port whose connections linger in TIME_WAIT can be listened on (SO_REUSEADDR)."""
    with opened(LOCAL) as [listener]:
        address = listener.socket.getsockname()
        with socket.create_connection(address, timeout=5) as client:
            listener.socket.settimeout(5)
            server = listener.socket.accept()[0]
            server.close()
            assert client.recv(1) == b""
    with opened(Bind("tcp", "127.0.0.1", address[1])) as [again]:
        assert again.socket.getsockname() == address


@LINUX
def test_port_in_use_names_the_holder() -> None:
    """The message says which process holds the port and what can be done."""
    with plain_listener() as sock:
        port = sock.getsockname()[1]
        message = refused(Bind("tcp", "127.0.0.1", port))
    assert f"cannot listen on 127.0.0.1:{port}: port {port} is in use" in message
    assert f"pid {os.getpid()} (this process)" in message
    assert "another port" in message


@LINUX
def test_port_in_use_names_another_process() -> None:
    """The name of another program is read from the system."""
    code = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0));"
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        message = refused(Bind("tcp", "127.0.0.1", port))
        comm = Path(f"/proc/{other.pid}/comm").read_text().strip()
        other.communicate(timeout=10)
    assert f"pid {other.pid} ({comm})" in message


def test_all_or_nothing() -> None:
    """When one address fails, those before it are closed again."""
    with opened(LOCAL) as [listener]:
        taken = listener.socket.getsockname()[1]
        with plain_listener() as free:
            port = free.getsockname()[1]
        refused(Bind("tcp", "127.0.0.1", port), Bind("tcp", "127.0.0.1", taken))
        with opened(Bind("tcp", "127.0.0.1", port)):
            pass


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("no-such-host.invalid", "'no-such-host.invalid' does not resolve"),
        ("x" * 70, "does not resolve"),
        ("192.0.2.1", "this machine has no address '192.0.2.1'"),
    ],
)
def test_bad_host_is_explained(host: str, words: str) -> None:
    """A name that does not resolve and a foreign address are told apart."""
    assert words in refused(Bind("tcp", host, 0))


def test_privileged_port_is_explained() -> None:
    """Without the privilege for ports below 1024 the message says so, and what to do."""
    start = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if os.name != "posix" or (start.exists() and int(start.read_text()) <= 1):
        pytest.skip("every user may listen on any port here")
    code = (
        "import encodings.idna, os\n"
        "from nogilserve.config import Bind\n"
        "from nogilserve.errors import BindError\n"
        "from nogilserve.sockets import open_listeners\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "try: open_listeners([Bind('tcp', '127.0.0.1', 1)])\n"
        "except BindError as error: print(error)\n"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert "ports below 1024 need a privilege" in ended.stdout, ended.stderr


# ---- unix ------------------------------------------------------------------------------------


def test_unix_socket(tmp_path: Path) -> None:
    """A unix socket has mode 0660 whatever the umask, accepts, and is removed at the end."""
    path = tmp_path / "app.sock"
    before = os.umask(0)
    try:
        with opened(Bind("unix", path=str(path))) as [listener]:
            assert stat.S_IMODE(path.lstat().st_mode) == 0o660
            assert (listener.label, listener.server) == (f"unix:{path}", ("localhost", "80"))
            assert not listener.socket.getblocking()
            assert not listener.socket.get_inheritable()
            accepts(listener, str(path), socket.AF_UNIX)
        assert not path.exists()
        assert os.umask(0) == 0
    finally:
        os.umask(before)


@pytest.mark.parametrize("mode", [0o600, 0o666, 0o777, 0o000])
def test_unix_socket_permissions(tmp_path: Path, mode: int) -> None:
    """The mode asked for is the mode given, for restrictive and generous ones."""
    path = tmp_path / "app.sock"
    with opened(Bind("unix", path=str(path)), uds_permissions=mode):
        assert stat.S_IMODE(path.lstat().st_mode) == mode


def test_relative_path_is_kept_over_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is removed where it was made, even if the application changes directory."""
    monkeypatch.chdir(tmp_path)
    with opened(Bind("unix", path="app.sock")):
        assert (tmp_path / "app.sock").exists()
        monkeypatch.chdir("/")
    assert not (tmp_path / "app.sock").exists()


def test_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A socket that nobody listens on any more is replaced."""
    path = tmp_path / "app.sock"
    with plain_listener(socket.AF_UNIX, str(path)):
        pass
    assert path.exists()
    with opened(Bind("unix", path=str(path))) as [listener]:
        accepts(listener, str(path), socket.AF_UNIX)


def test_live_socket_is_refused(tmp_path: Path) -> None:
    """A socket that somebody listens on is left alone, and the listener is named."""
    path = tmp_path / "app.sock"
    with plain_listener(socket.AF_UNIX, str(path)):
        inode = path.lstat().st_ino
        message = refused(Bind("unix", path=str(path)))
        assert path.lstat().st_ino == inode
    assert "another server is listening there" in message
    if sys.platform == "linux":
        assert f"pid {os.getpid()} (this process)" in message


def test_live_socket_with_a_full_backlog_is_refused(tmp_path: Path) -> None:
    """A server too busy to accept is not taken for a dead one."""
    path = tmp_path / "app.sock"
    with ExitStack() as stack:
        stack.enter_context(plain_listener(socket.AF_UNIX, str(path)))
        for _ in range(50):
            client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            client.setblocking(False)
            if client.connect_ex(str(path)) in (errno.EAGAIN, errno.ECONNREFUSED):
                break
        assert "another server is listening there" in refused(Bind("unix", path=str(path)))


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    """A file, a directory or a symbolic link in the way is never removed."""
    path = tmp_path / "app.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    assert "no socket is there" in refused(Bind("unix", path=str(path)))
    assert os.path.lexists(path)


def test_socket_that_was_replaced_is_not_removed(tmp_path: Path) -> None:
    """Closing removes the socket file only while it is still ours."""
    path = tmp_path / "app.sock"
    with opened(Bind("unix", path=str(path))):
        path.rename(tmp_path / "ours")
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"


def test_socket_that_is_gone_is_no_error_at_the_end(tmp_path: Path) -> None:
    """Somebody else may have removed the file, or the whole directory."""
    path = tmp_path / "app.sock"
    with opened(Bind("unix", path=str(path))):
        path.unlink()


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing/app.sock", "there is no directory"), ("x" * 120, "too long")],
)
def test_bad_path_is_explained(tmp_path: Path, name: str, words: str) -> None:
    """A missing directory and a path that is too long are told apart."""
    assert words in refused(Bind("unix", path=str(tmp_path / name)))
    assert os.listdir(tmp_path) == []


def test_failure_removes_the_unix_sockets_before_it(tmp_path: Path) -> None:
    """All or nothing holds for the file too."""
    refused(Bind("unix", path=str(tmp_path / "a")), Bind("unix", path=str(tmp_path / "no" / "b")))
    assert os.listdir(tmp_path) == []


# ---- inherited descriptors -------------------------------------------------------------------


def test_inherited_descriptor() -> None:
    """fd://N takes a listening socket over and closes it at the end."""
    with plain_listener() as sock:
        os.set_inheritable(sock.fileno(), True)
        port = sock.getsockname()[1]
        fd = sock.detach()
    with opened(Bind("fd", fd=fd)) as [listener]:
        assert listener.fileno() == fd
        assert listener.label == f"http://127.0.0.1:{port}"
        assert not listener.socket.getblocking()
        assert not os.get_inheritable(fd)
        accepts(listener, ("127.0.0.1", port))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_inherited_unix_socket_is_not_removed(tmp_path: Path) -> None:
    """The file of an inherited socket belongs to who made it."""
    path = tmp_path / "app.sock"
    with plain_listener(socket.AF_UNIX, str(path)) as sock:
        fd = sock.detach()
    with opened(Bind("fd", fd=fd)) as [listener]:
        assert listener.label == f"unix:{path}"
    assert path.exists()


@LINUX
def test_inherited_abstract_socket() -> None:
    """An abstract unix socket is shown as ss and systemd write it."""
    with plain_listener(socket.AF_UNIX, f"\0nogilserve-{os.getpid()}") as sock:
        fd = sock.detach()
    with opened(Bind("fd", fd=fd)) as [listener]:
        assert listener.label == f"unix:@nogilserve-{os.getpid()}"


def test_descriptors_that_cannot_be_listened_on(tmp_path: Path) -> None:
    """A closed descriptor, a file, a datagram socket and a connected one are told apart."""
    assert "no such open descriptor" in refused(Bind("fd", fd=9999))
    with (tmp_path / "file").open("w") as file:
        assert "is no socket" in refused(Bind("fd", fd=file.fileno()))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert "no stream socket" in refused(Bind("fd", fd=sock.fileno()))
        sock.getsockname()  # still open: it was not ours
    with socket.socket() as sock:
        assert "does not listen" in refused(Bind("fd", fd=sock.fileno()))
        sock.getsockname()


def test_variables_of_systemd_are_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes must not take the sockets for theirs."""
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        monkeypatch.setenv(name, "1")
    with opened(LOCAL):
        assert not [name for name in os.environ if re.match("LISTEN_", name)]
