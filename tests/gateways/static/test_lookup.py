"""From a path to a file, and to nothing else."""

import os
import socket
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nogilserve.gateways.static import lookup
from nogilserve.gateways.static.lookup import Folder, Replaced, names_of


@pytest.fixture(params=["by handle", "by name"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of asking the system."""
    if request.param == "by name":
        monkeypatch.setattr(lookup, "_HANDLES", False)
    elif not lookup._HANDLES:
        pytest.skip("this system has no handles that open nothing")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with files and everything that is none, and a secret beside it."""
    (tmp_path / "secret.txt").write_text("secret")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "sub" / "b.txt").write_text("b")
    (root / ".env").write_text("hidden")
    (root / "inside").symlink_to("sub/b.txt")
    (root / "folder").symlink_to("sub")
    (root / "out").symlink_to("../secret.txt")
    (root / "up").symlink_to("..")
    (root / "etc").symlink_to("/etc")
    (root / "nowhere").symlink_to("missing")
    (root / "loop").symlink_to("loop")
    (tmp_path / "rootless").mkdir()
    (tmp_path / "rootless" / "c.txt").write_text("c")
    (root / "neighbour").symlink_to("../rootless")
    return root


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("", [""]),
        ("a.txt", ["a.txt"]),
        ("sub/", ["sub", ""]),
        ("sub/b.txt", ["sub", "b.txt"]),
        ("a%20b", ["a b"]),
        ("%C3%A4", ["ä"]),
        ("%61", ["a"]),
        ("a%25b", ["a%b"]),
        ("a..b", ["a..b"]),
        ("%zz", ["%zz"]),
        (".well-known/security.txt", [".well-known", "security.txt"]),
    ],
)
def test_path_is_split(path: str, names: list[str]) -> None:
    """Decoded once, name by name."""
    assert names_of(path) == names


@pytest.mark.parametrize(
    "path",
    [
        *("..", "../a", "a/..", "a/../b", ".", "./a", "a/./b", ".env", "a/.git/config"),
        *("%2e%2e/a", "%2E%2E", "..%2fa", "a%2fb", "a%2Fb", "a%5cb", "a\\b", "..\\a"),
        *("a%00", "%00", "a%00.txt", "/a", "a//b", "//evil.example", "a//"),
        *("a/.well-known/x", ".well-known/.env", "%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
        "a" * 5000,
    ],
)
def test_path_is_refused(path: str) -> None:
    """What could mean something else than a plain name below the folder."""
    assert names_of(path) is None


@given(st.text(alphabet="a./\\%25eEfFcC0\x00é~ ", max_size=30))
def test_what_is_split_stays_below(path: str) -> None:
    """Whatever is accepted has neither separators nor leading dots in its names."""
    names = names_of(path.encode().decode("latin-1"))
    if names is not None:
        for index, name in enumerate(names):
            assert not set(name) & set("/\\\0")
            assert name or index == len(names) - 1
            assert not name.startswith(".") or (name, index) == (".well-known", 0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", ["a.txt", "inside", "folder/b.txt", "sub/b.txt"])
def test_files_and_links_inside_are_found(root: Path, name: str) -> None:
    """Links that stay in the folder are followed."""
    found = Folder(str(root)).locate(name.split("/"))
    assert found is not None
    assert found.is_file
    assert found.status.st_size == 1
    os.close(found.open())


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "name", ["out", "up/secret.txt", "up", "etc/passwd", "etc", "neighbour/c.txt"]
)
def test_links_that_lead_out_are_followed_only_on_demand(root: Path, name: str) -> None:
    """The default is to know nothing of them."""
    assert Folder(str(root)).locate(name.split("/")) is None
    assert Folder(str(root), follow=True).locate(name.split("/")) is not None


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "name", ["missing", "nowhere", "loop", "a.txt/", "a.txt/b", "sub/c", "n" * 300, "\udcff"]
)
def test_nothing_there_is_none(root: Path, name: str) -> None:
    """The system's many ways to say no."""
    assert Folder(str(root)).locate(name.split("/")) is None


@pytest.mark.usefixtures("way")
def test_fifos_and_sockets_are_no_files(root: Path) -> None:
    """They are told apart without being opened: opening this FIFO would wait for ever."""
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        directory = os.open(root, os.O_RDONLY)
        try:
            sock.bind(f"/proc/self/fd/{directory}/sock")
        finally:
            os.close(directory)
        for name in ("fifo", "sock"):
            found = Folder(str(root)).locate([name])
            assert found is not None
            assert not found.is_file
            assert not found.is_folder


@pytest.mark.usefixtures("way")
def test_root_may_be_a_link(root: Path, tmp_path: Path) -> None:
    """It is resolved once: pointing it elsewhere later changes nothing."""
    current = tmp_path / "current"
    current.symlink_to(root)
    folder = Folder(str(current))
    current.unlink()
    current.symlink_to(tmp_path / "rootless")
    assert folder.locate(["a.txt"]) is not None
    assert folder.locate(["c.txt"]) is None
    assert Folder("/").locate(["etc", ""]) is not None


@pytest.mark.usefixtures("way")
def test_exchange_between_look_and_open_is_noticed(root: Path, tmp_path: Path) -> None:
    """A file that is replaced by another, a link, a FIFO or nothing is not opened as it was."""
    folder, file = Folder(str(root)), root / "a.txt"

    def other() -> None:
        os.replace(root / "sub" / "b.txt", file)

    def link() -> None:
        file.unlink()
        file.symlink_to(tmp_path / "secret.txt")

    def fifo() -> None:
        file.unlink()
        os.mkfifo(file)

    for exchange in (other, link, fifo, file.unlink):
        if not file.is_file() or file.is_symlink():
            file.unlink()
            file.write_text("a")
        found = folder.locate(["a.txt"])
        assert found is not None
        exchange()
        with pytest.raises(Replaced):
            found.open()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            ["..", ".", "", "a.txt", "sub", "up", "out", "etc", "passwd", "secret.txt", "%2e%2e"]
        ),
        max_size=6,
    ),
    st.sampled_from(["/", "%2f", "\\", "%5c", "//"]),
)
def test_no_path_leads_out(root: Path, parts: list[str], slash: str) -> None:
    """Whatever is found lies in the folder."""
    names = names_of(slash.join(parts))
    found = None if names is None else Folder(str(root)).locate(names)
    if found is not None:
        assert (found.path + "/").startswith(str(root.resolve()) + "/")


def test_undecodable_name_is_found(root: Path) -> None:
    """File names are bytes; paths of requests may have any of them."""
    raw = os.fsencode(root) + b"/\xff\xfe"
    with open(raw, "w"):
        pass
    names = names_of(quote(b"\xff\xfe"))
    assert names is not None
    assert Folder(str(root)).locate(names) is not None
