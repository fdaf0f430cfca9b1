"""The keeper process as the one that starts it sees it."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nogilserve.config import Config
from nogilserve.errors import ConfigError
from nogilserve.supervise.identity import Identity
from nogilserve.supervise.keeper import KeeperProcess, check_keeper
from nogilserve.tls.inquiry import ENVIRONMENT, Inquiry
from tests.support.waiting import wait_until


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where sockets are made."""
    short = Path("/tmp") / f"ng-test-{os.getpid()}-{tmp_path.name[-8:]}"
    short.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    yield short
    short.rmdir()


def test_process_is_started_and_leaves_nothing_behind(place: Path) -> None:
    """Its socket is private and is named to processes that are started; it answers; at the end
    process and socket are gone."""
    pytest.importorskip("acme", reason="the ACME client is not installed")
    keeper = KeeperProcess(Config(app="x:y", on_demand_allow=("a.example",)), Identity())
    path = os.environ[ENVIRONMENT]
    assert Path(path).parent.stat().st_mode & 0o777 == 0o700
    keeper.start()
    answer = Inquiry(path).certificate("b.example")
    assert answer == "no --on-demand-allow names it"
    keeper.follow(Config(app="x:y", on_demand_allow=("b.example",), acme_email="a@b.example"))
    wait_until(lambda: Inquiry(path).certificate("c.example") == answer, 20)
    keeper.close()
    keeper.close()
    assert ENVIRONMENT not in os.environ
    assert list(place.iterdir()) == []


def test_leftovers_of_killed_servers_are_removed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that nobody listens at, and that are not just being made."""
    pytest.importorskip("acme", reason="the ACME client is not installed")
    made = []
    for name, age in (("nogilserve-keeper-old", 1000), ("nogilserve-keeper-new", 0)):
        folder = place / name
        folder.mkdir()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(folder / "socket"))
        stamp = folder.stat().st_mtime - age
        os.utime(folder, (stamp, stamp))
        made.append(folder)
    (place / "nogilserve-keeper-live").mkdir()
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(place / "nogilserve-keeper-live" / "socket"))
        live.listen()
        os.utime(place / "nogilserve-keeper-live", (1, 1))
        keeper = KeeperProcess(Config(app="x:y", domains=("a.example",)), Identity())
        keeper.close()
    assert not made[0].exists()
    for name in ("new", "live"):
        (place / f"nogilserve-keeper-{name}" / "socket").unlink()
        (place / f"nogilserve-keeper-{name}").rmdir()


def test_what_is_missing_is_named() -> None:
    """Before anything is started."""
    with pytest.raises(ConfigError, match="--acme-ca-bundle"):
        check_keeper(Config(domains=("a.example",), acme_ca_bundle="/nowhere"))
