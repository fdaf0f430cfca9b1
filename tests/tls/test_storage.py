"""The contract of a storage, held against the folder and a real Redis."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.errors import ConfigError, StorageError
from nogilserve.tls.storage import FolderStorage, Lease, Storage, open_storage
from nogilserve.tls.storage.contract import check_key
from nogilserve.tls.storage.places import data_folder, is_remote, storage_folder
from tests.support.services import redis_server
from tests.support.waiting import wait_until

Make = Callable[[], Storage]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=["folder", "redis"])
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """One Redis for all tests here; "" for the folder."""
    if request.param == "folder":
        yield ""
        return
    pytest.importorskip("redis")
    with redis_server() as url:
        yield url


@pytest.fixture
def make(redis_url: str, tmp_path: Path) -> Iterator[Make]:
    """Makes storages that share what they keep, as two processes do."""
    made: list[Storage] = []
    where = str(tmp_path / "kept")
    if redis_url:
        where = f"{redis_url}?{urlencode({'prefix': tmp_path.name})}"

    def new() -> Storage:
        made.append(open_storage(where))
        return made[-1]

    yield new
    for storage in made:
        storage.close()


def test_values_are_kept(make: Make) -> None:
    """What one writes another reads, until it is replaced or removed."""
    storage, other = make(), make()
    assert storage.read("certificates/a.example") is None
    storage.write("certificates/a.example", b"one\n\0\xff")
    assert other.read("certificates/a.example") == b"one\n\0\xff"
    other.write("certificates/a.example", b"")
    assert storage.read("certificates/a.example") == b""
    storage.remove("certificates/a.example")
    assert other.read("certificates/a.example") is None
    storage.remove("certificates/a.example")


def test_keys_are_listed(make: Make) -> None:
    """Keys below a prefix, and nothing that only begins like it."""
    storage = make()
    assert storage.keys("plans") == []
    for key in ("plans/b", "plans/a", "plans/deep/c", "plansmore/d", "other/plans/e"):
        storage.write(key, b"x")
    assert storage.keys("plans") == ["plans/a", "plans/b", "plans/deep/c"]
    assert storage.keys("plans/deep") == ["plans/deep/c"]


def test_values_end_with_their_time(make: Make) -> None:
    """A value with a time to live is neither read nor listed after it; another write ends that."""
    storage = make()
    storage.write("answers/http/t-x", b"short", ttl=0.05)
    storage.write("answers/http/t-y", b"long", ttl=60)
    wait_until(lambda: storage.read("answers/http/t-x") is None)
    assert storage.keys("answers") == ["answers/http/t-y"]
    storage.write("answers/http/t-y", b"for ever")
    assert storage.read("answers/http/t-y") == b"for ever"


@pytest.mark.parametrize(
    "key", ["", "/", "a/", "/a", "../a", "a/../b", "a//b", "a/.b", ".a", "a\0", "a b", "ä", "a*"]
)
def test_what_is_no_key_is_refused(make: Make, key: str) -> None:
    """Names come from clients: nothing but plain segments reaches the file system or Redis."""
    storage = make()
    for use in (storage.read, storage.remove, storage.keys, lambda k: storage.lock(k, 1)):
        with pytest.raises(ValueError, match="no key"):
            use(key)
    with pytest.raises(ValueError, match="no key"):
        storage.write(key, b"x")


@given(st.text(max_size=20))
def test_keys_stay_below_the_folder(text: str) -> None:
    """Whatever is taken for a key is a path below the root that no file of ours can be."""
    try:
        check_key(text)
    except ValueError:
        return
    parts = Path("/root", text).relative_to("/root").parts
    assert "/".join(parts) == text
    assert not any(part.startswith(".") for part in parts)


def test_lock_excludes(make: Make) -> None:
    """One holds it; another gets it as soon as the first has let go."""
    first, second = make(), make()
    lease = first.lock("obtain/a.example", 60)
    assert lease is not None
    assert second.lock("obtain/a.example", 60) is None
    assert first.lock("obtain/a.example", 60) is None
    other = second.lock("obtain/b.example", 60)
    assert other is not None
    assert lease.renew()
    lease.release()
    lease.release()
    assert not lease.renew()
    again = second.lock("obtain/a.example", 60)
    assert again is not None
    again.release()
    other.release()


def test_lock_ends_with_its_term(make: Make) -> None:
    """A holder that hangs loses it, is told so, and cannot take it from the next by letting go."""
    first, second = make(), make()
    lease = first.lock("obtain/a.example", 0.05)
    assert lease is not None
    taken: list[Lease] = []

    def take() -> bool:
        found = second.lock("obtain/a.example", 60)
        taken.extend([found] if found else [])
        return bool(taken)

    wait_until(take)
    assert not lease.renew()
    lease.release()
    assert first.lock("obtain/a.example", 60) is None
    assert taken[0].renew()
    taken[0].release()


def test_renewing_makes_it_last(make: Make) -> None:
    """A term begins anew with each renewal: renewed, it is held beyond its first end."""
    first, second = make(), make()
    lease = first.lock("obtain/a.example", 0.3)
    assert lease is not None
    ended = threading.Event()
    for _ in range(5):
        ended.wait(0.1)
        assert lease.renew()
        assert second.lock("obtain/a.example", 60) is None
    lease.release()


def test_race_for_a_lock_has_one_winner(make: Make) -> None:
    """Of many that try at the same moment one gets it, round after round; the same where the lock
    is free because the term of another is over."""
    storages = [make() for _ in range(6)]
    barrier = threading.Barrier(len(storages))
    rounds, winners = 15, [0] * 15
    count = threading.Lock()

    def contend(storage: Storage) -> None:
        for number in range(rounds):
            name = f"race/{number}"
            hung = None
            if number % 3 == 0 and storage is storages[0]:
                hung = storage.lock(name, 0.001)  # over at once
                threading.Event().wait(0.01)
            barrier.wait(30)
            lease = storage.lock(name, 60)
            barrier.wait(30)
            if lease is not None:
                with count:
                    winners[number] += 1
                lease.release()
            if hung is not None:
                hung.release()

    threads = [threading.Thread(target=contend, args=(item,)) for item in storages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert winners == [1] * rounds


def test_race_of_writers_leaves_one_value_whole(make: Make) -> None:
    """Readers see one of the values that were written, never a mixture."""
    storages = [make() for _ in range(4)]
    values = [bytes([65 + number]) * 50_000 for number in range(3)]
    storages[3].write("certificates/a", values[0])
    barrier = threading.Barrier(4)
    seen: set[bytes | None] = set()

    def write(number: int) -> None:
        barrier.wait(30)
        for _ in range(15):
            storages[number].write("certificates/a", values[number])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    barrier.wait(30)
    while any(thread.is_alive() for thread in threads):
        seen.add(storages[3].read("certificates/a"))
    for thread in threads:
        thread.join(60)
    assert seen <= set(values)


# ---- the folder


def test_folder_is_private_and_atomic(tmp_path: Path) -> None:
    """Folders are 0700, files 0600, and nothing is left beside them."""
    storage = FolderStorage(tmp_path / "deep" / "kept")
    storage.write("certificates/a.example", b"secret")
    for path in (tmp_path / "deep").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert list((tmp_path / "deep/kept/tmp").iterdir()) == []


def test_damaged_file_counts_as_none(tmp_path: Path) -> None:
    """A truncated or foreign file is no value, and is written anew without ado."""
    storage = FolderStorage(tmp_path)
    storage.write("certificates/a", b"x" * 100)
    path = storage.path("certificates/a")
    path.write_bytes(path.read_bytes()[:-1])
    assert storage.read("certificates/a") is None
    path.write_bytes(b"something else")
    assert storage.read("certificates/a") is None
    assert storage.keys("certificates") == []
    storage.write("certificates/a", b"y")
    assert storage.read("certificates/a") == b"y"


def test_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """The error says which folder and why."""
    (tmp_path / "file").write_text("")
    storage = FolderStorage(tmp_path / "file" / "below")
    with pytest.raises(StorageError, match=r"cannot write plans/a in .*file/below: "):
        storage.write("plans/a", b"x")


HOLDER = """
import sys
from pathlib import Path
from nogilserve.tls.storage import FolderStorage
lease = FolderStorage(Path(sys.argv[1])).lock("obtain/a", 3600)
print("held" if lease else "refused", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
def test_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    """Its term need not be waited for, because the system lets go of its files."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        storage = FolderStorage(tmp_path)
        assert storage.lock("obtain/a", 60) is None
        note = json.loads((tmp_path / "locks/obtain/a").read_text())
        assert note["pid"] == holder.pid
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait(10)
        lease = storage.lock("obtain/a", 60)
        assert lease is not None
        lease.release()


# ---- places


def test_data_folder_follows_the_standard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """$XDG_DATA_HOME where it is absolute, else ~/.local/share."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert data_folder() == tmp_path / "nogilserve"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_folder() == tmp_path / ".local/share/nogilserve"
    assert storage_folder("") == data_folder() / "automatic-https"


def test_storage_is_named_by_folder_or_url() -> None:
    """A remote one has a local folder for copies, by its whole URL."""
    assert is_remote("rediss://host/1")
    assert not is_remote("/var/lib/x")
    assert storage_folder("redis://a") != storage_folder("redis://b")
    assert storage_folder("some/where") == Path.cwd() / "some/where"


# ---- Redis


def test_redis_away_is_said_without_the_password() -> None:
    """The error names the server, never the password."""
    pytest.importorskip("redis")
    storage = open_storage("redis://user:secret@127.0.0.1:1/0")
    with pytest.raises(StorageError, match=r"in redis://127\.0\.0\.1:1/0") as caught:
        storage.read("plans/a")
    assert "secret" not in str(caught.value)
    assert storage.where == "redis://127.0.0.1:1/0"
    storage.close()


def test_wrong_url_of_redis_is_refused() -> None:
    """With the option that it stands in."""
    pytest.importorskip("redis")
    with pytest.raises(ConfigError, match="--storage"):
        open_storage("redis://host:port/0")
