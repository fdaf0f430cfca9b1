"""A step for one name, with a replica that dies at any of its operations on the storage."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("acme", reason="the ACME client, or cryptography below it, is not installed")

from nogilserve.tls.acme.jobs import Jobs, find_certificate, store
from nogilserve.tls.acme.network import AuthorityError
from nogilserve.tls.acme.settings import Settings
from nogilserve.tls.storage import FolderStorage, Lease
from nogilserve.tls.storage.records import Certificate, Plan, plan_key
from tests.support.waiting import wait_until

CA = "https://ca.example/dir"
KEY = "-----BEGIN PRIVATE KEY-----\nBBBB\n-----END PRIVATE KEY-----\n"
CHAIN = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"


class Died(BaseException):
    """The process is gone: nothing that comes after it happens."""


class Mortal(FolderStorage):
    """A storage of a process that dies at one of its operations, before or after it is done."""

    def __init__(self, root: Path, dies_at: int, *, after: bool) -> None:
        super().__init__(root)
        self.left = dies_at
        self.after = after
        self.dead = False
        self.leases: list[Lease] = []

    def _act[T](self, act: Callable[[], T]) -> T:
        if self.dead:
            raise Died
        self.left -= 1
        self.dead = self.left < 0
        if self.dead and not self.after:
            raise Died
        done = act()
        if self.dead:
            raise Died
        return done

    def read(self, key: str) -> bytes | None:
        """Perhaps the last thing it does."""
        return self._act(lambda: super(Mortal, self).read(key))

    def write(self, key: str, value: bytes, ttl: float = 0.0) -> None:
        """Perhaps the last thing it does."""
        self._act(lambda: super(Mortal, self).write(key, value, ttl))

    def lock(self, name: str, term: float) -> Any:
        """Perhaps the last thing it does; who is dead lets nothing go."""

        def take() -> Any:
            lease = super(Mortal, self).lock(name, term)
            self.leases += [lease] if lease else []
            return lease and Held(lease, self)

        return self._act(take)

    def bury(self) -> None:
        """What the system does when a process has ended."""
        for lease in self.leases:
            lease.release()


class Held:
    """A lock that is not released by the dead."""

    def __init__(self, lease: Lease, storage: Mortal) -> None:
        self.lease = lease
        self.storage = storage

    def renew(self) -> bool:
        """While it lives."""
        return not self.storage.dead and self.lease.renew()

    def release(self) -> None:
        """Unless it is dead: then its end is waited for."""
        if not self.storage.dead:
            self.lease.release()


class Authority:
    """Gives certificates, each with a mark of its own, or refuses."""

    def __init__(self) -> None:
        self.given = 0
        self.refuses = False

    def obtain(self, name: str, *_: object, on_demand: bool) -> Certificate:
        """A certificate that is valid for a while."""
        if self.refuses:
            raise AuthorityError("not today")
        self.given += 1
        now = time.time()
        mark = f"{self.given:04}"
        return Certificate((name,), now - 5, now + 9000, CA, CHAIN.format(mark), KEY, on_demand)

    def renewal_window(self, certificate: Certificate) -> None:
        """It does not say."""


class Played(Jobs):
    """Steps towards an authority that is played."""

    def __init__(
        self, storage: FolderStorage, authority: Authority, copies: FolderStorage | None = None
    ) -> None:
        super().__init__(
            Settings(CA),
            storage,
            lambda _: None,
            lambda name, found: store(storage, name, found),
            copies,
        )
        self.played = authority

    @contextmanager
    def _authority(self) -> Iterator[Any]:
        yield self.played


@pytest.mark.parametrize("after", [False, True])
def test_replica_that_dies_anywhere_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """Whichever operation was its last one: the next replica has a certificate that is whole, and
    at most one more was obtained than is needed."""
    monkeypatch.setattr("nogilserve.tls.acme.jobs._TERM", 0.02)
    deaths = 0
    for dies_at in range(40):
        root = tmp_path / f"{dies_at}"
        authority = Authority()
        mortal = Mortal(root, dies_at, after=after)
        try:
            Played(mortal, authority).step("a.example")
        except Died:
            deaths += 1
        storage = FolderStorage(root)
        other = Played(storage, authority)
        wait_until(lambda other=other: not other.step("a.example").elsewhere)  # type: ignore[misc]
        found = find_certificate(storage, "a.example")
        assert found is not None
        assert found.names == ("a.example",)
        assert authority.given <= 2
        settled = other.step("a.example")
        assert not settled.changed
        assert settled.due > time.time() + 60
        mortal.bury()
        if deaths <= dies_at:
            break
    assert 5 < deaths < 40


def test_failures_are_counted_over_replicas(tmp_path: Path) -> None:
    """The second waits as long as the first was told to, and both go on counting."""
    authority = Authority()
    authority.refuses = True
    storage = FolderStorage(tmp_path)
    first = Played(storage, authority).step("a.example")
    assert first.error == "not today"
    second = Played(FolderStorage(tmp_path), authority)
    idle = second.step("a.example")
    assert idle.idle
    assert idle.due == first.due
    assert second.step("a.example", force=True).error == "not today"
    assert Plan.decode(storage.read(plan_key("a.example"))).failures == 2
    authority.refuses = False
    assert second.step("a.example", force=True).changed
    assert Plan.decode(storage.read(plan_key("a.example"))).failures == 0


def test_permission_is_asked_for_only_before_a_certificate_is_obtained(tmp_path: Path) -> None:
    """Not at each look; and a refusal keeps the old one."""
    authority = Authority()
    played = Played(FolderStorage(tmp_path), authority)
    asked: list[str] = []

    def refusal() -> str:
        asked.append("asked")
        return "" if len(asked) == 1 else "not any more"

    assert played.step("a.example", on_demand=True, refusal=refusal).changed
    played.step("a.example", refusal=refusal)
    assert not played.step("a.example", refusal=refusal).error
    assert asked == ["asked"]
    outcome = played.step("b.example", refusal=refusal)
    assert outcome.error == "not any more"
    assert outcome.due > time.time() + 3000
    assert authority.given == 1


def test_storage_that_has_lost_everything_costs_no_certificate(tmp_path: Path) -> None:
    """As long as there is a copy, which is given back by another part of the keeper."""
    authority = Authority()
    copies = FolderStorage(tmp_path / "copies")
    Played(copies, authority).step("a.example")
    emptied = Played(FolderStorage(tmp_path / "emptied"), authority, copies)
    assert not emptied.step("a.example").changed
    assert authority.given == 1
