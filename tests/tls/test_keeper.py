"""The keeper and who asks it, in one process: certificates come from a script instead of an
authority, everything else is real. A second folder plays the remote storage."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nogilserve.errors import StorageError
from nogilserve.tls.acme.jobs import Jobs, Outcome, find_certificate, store
from nogilserve.tls.acme.keeper import Keeper
from nogilserve.tls.acme.permission import Gate
from nogilserve.tls.acme.questions import answer_questions
from nogilserve.tls.acme.settings import Settings
from nogilserve.tls.inquiry import Changes, Inquiry
from nogilserve.tls.storage import FolderStorage
from nogilserve.tls.storage.records import (
    CHANGES,
    Certificate,
    Plan,
    http_answer_key,
    plan_key,
    tls_answer_key,
)
from tests.support.waiting import wait_until

CA = "https://ca.example/dir"
KEY = "-----BEGIN PRIVATE KEY-----\nBBBB\n-----END PRIVATE KEY-----\n"
SETTINGS = Settings(CA)


def certificate(name: str, mark: str = "AAAA", *, on_demand: bool = False) -> Certificate:
    """As good as one, as long as nobody looks inside."""
    now = time.time()
    chain = f"-----BEGIN CERTIFICATE-----\n{mark}\n-----END CERTIFICATE-----\n"
    return Certificate((name,), now - 5, now + 5000, CA, chain, KEY, on_demand)


class Scripted(Jobs):
    """Steps that do what the test says; counts them."""

    def __init__(self, storage, wait, save) -> None:  # type: ignore[no-untyped-def]
        super().__init__(SETTINGS, storage, wait, save)
        self.wait = wait
        self.save = save
        self.steps: list[str] = []
        self.obtains = True
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Semaphore(0)

    def step(
        self,
        name: str,
        *,
        on_demand: bool = False,
        force: bool = False,
        refusal: Callable[[], str] | None = None,
    ) -> Outcome:
        """Obtain a certificate if there is none, once `go` is set."""
        lease = self._storage.lock(f"work/{name}", 60)  # fails where the storage is away
        assert lease is not None
        lease.release()
        if find_certificate(self._storage, name) is not None:
            return Outcome(time.time() + 1000)
        self.steps.append(name)
        self.begun.release()
        while not self.go.is_set():
            self.wait(0.005)
        if not self.obtains:
            plan = Plan(failures=1, issuer=CA, retry_at=time.time() + 1000, error="closed today")
            self._storage.write(plan_key(name), plan.encode())
            return Outcome(plan.retry_at, plan.error)
        self.save(name, certificate(name, on_demand=on_demand))
        return Outcome(time.time() + 1000, changed=True)


class World:
    """A keeper that runs, with its socket."""

    def __init__(
        self,
        folder: Path,
        domains: tuple[str, ...],
        gate: Gate | None,
        remote: bool,
        rate: int,
        clock: Callable[[], float],
    ) -> None:
        self.local = FolderStorage(folder / "local")
        self.storage = FolderStorage(folder / "remote") if remote else self.local
        self.jobs: Scripted | None = None

        def make(wait, save):  # type: ignore[no-untyped-def]
            self.jobs = Scripted(self.storage, wait, save)
            return self.jobs

        self.keeper = Keeper(domains, make, self.storage, self.local, gate, rate, clock)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "s"))
        self.listener.listen()
        self.inquiry = Inquiry(str(folder / "s"))
        self.threads = [
            threading.Thread(target=answer_questions, args=(self.listener, self.keeper)),
            threading.Thread(target=self.keeper.run),
        ]

    @property
    def script(self) -> Scripted:
        """What is obtained, and how."""
        assert self.jobs is not None
        return self.jobs


Make = Callable[..., World]


@pytest.fixture
def keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Starts keepers: `keep("a.example", gate=…, remote=True)`."""
    monkeypatch.setattr("nogilserve.tls.acme.keeper._SYNC", 0.05)
    monkeypatch.setattr("nogilserve.tls.acme.keeper._AWAY", 0.05)
    monkeypatch.setattr("nogilserve.tls.acme.questions._LOOK", 0.05)
    made: list[World] = []

    def start(
        *domains: str,
        gate: Gate | None = None,
        remote: bool = False,
        before: Callable[[World], None] | None = None,
        rate: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> World:
        world = World(tmp_path, domains, gate, remote, rate, clock)
        if before is not None:
            before(world)
        made.append(world)
        for thread in world.threads:
            thread.start()
        return world

    yield start
    for world in made:
        world.keeper.stop(5)
        world.listener.shutdown(socket.SHUT_RDWR)
        for thread in world.threads:
            thread.join(10)
        world.listener.close()


def test_domains_have_certificates(keep: Make) -> None:
    """Each of the configured names, once; who follows changes is told."""
    told = threading.Semaphore(0)
    world = keep("a.example", "b.example", before=lambda world: world.script.go.clear())
    changes = Changes(world.inquiry, told.release)
    assert told.acquire(timeout=10)
    world.script.go.set()
    for name in ("a.example", "b.example"):
        wait_until(lambda name=name: find_certificate(world.local, name))  # type: ignore[misc]
        assert world.inquiry.certificate(name) == ""
    assert told.acquire(timeout=10)
    changes.close()
    assert sorted(world.script.steps) == ["a.example", "b.example"]


def test_other_names_are_followed(keep: Make) -> None:
    """What is in progress goes on; names that are no more are left alone, those of clients stay."""
    world = keep("a.example", "b.example", gate=Gate(("*.example.com",)))
    for name in ("a.example", "b.example", "x.example.com", "y.example.com"):
        wait_until(lambda name=name: world.inquiry.certificate(name) == "", 10)  # type: ignore[misc]
    world.script.go.clear()
    world.keeper.follow(["b.example", "c.example", "y.example.com"])
    while world.script.steps[-1:] != ["c.example"]:
        assert world.script.begun.acquire(timeout=10)
    world.keeper.follow(["d.example", "y.example.com"])
    world.script.go.set()
    for name in ("c.example", "d.example"):
        wait_until(lambda name=name: find_certificate(world.local, name), 10)  # type: ignore[misc]
    names = {str(line["name"]) for line in world.keeper.report()}
    assert names == {"d.example", "x.example.com", "y.example.com"}
    assert world.script.steps.count("c.example") == 1
    world.keeper.follow([])
    assert [line["name"] for line in world.keeper.report()] == ["x.example.com"]


def test_answers_to_challenges_come_from_the_storage(keep: Make) -> None:
    """Whoever has put them there; what is no token is nothing."""
    world = keep()
    other = FolderStorage(world.storage.root)
    other.write(http_answer_key("tok-en_1"), b"tok-en_1.thumb", ttl=60)
    other.write(tls_answer_key("a.example"), b"PEM", ttl=60)
    assert world.inquiry.http_answer("tok-en_1") == "tok-en_1.thumb"
    assert world.inquiry.tls_answer("a.example") == "PEM"
    for token in ("", "other", "../accounts/x", "a b", "x" * 300):
        assert world.inquiry.http_answer(token) is None
    assert world.inquiry.tls_answer("../x") is None


def test_name_on_demand_is_obtained_once_for_many(keep: Make) -> None:
    """All who ask at the same time get the same certificate; others' names are refused."""
    world = keep(
        "always.example",
        gate=Gate(("*.example.com",)),
        before=lambda world: world.script.go.clear(),
    )
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(world.inquiry.certificate("a.example.com")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    assert world.inquiry.certificate("a.example.org") == "no --on-demand-allow names it"
    wait_until(lambda: "a.example.com" in world.script.steps)
    world.script.go.set()
    for thread in threads:
        thread.join(30)
    assert answers == [""] * 8
    assert world.script.steps.count("a.example.com") == 1
    found = find_certificate(world.local, "a.example.com")
    assert found is not None
    assert found.on_demand


def test_nothing_is_obtained_on_demand_unless_allowed(keep: Make) -> None:
    """Without a gate only configured names count."""
    world = keep("a.example")
    assert world.inquiry.certificate("b.example") == "no certificates are obtained on demand"


def test_failed_name_is_not_tried_by_the_next_client(keep: Make) -> None:
    """The reason is said at once until its time has come, also by another keeper."""

    def fail(world: World) -> None:
        world.script.obtains = False

    world = keep(gate=Gate(("*.example.com",)), before=fail)
    assert world.inquiry.certificate("a.example.com") == "closed today"
    assert world.inquiry.certificate("a.example.com") == "closed today"
    assert world.script.steps == ["a.example.com"]


def test_many_unknown_names_are_bounded(keep: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of names waits in a line of fixed length; the rest is refused at once."""
    monkeypatch.setattr("nogilserve.tls.acme.keeper._WAITING", 3)
    world = keep(gate=Gate(("*.example.com",)), before=lambda world: world.script.go.clear())
    answers: list[str] = []

    def ask(number: int) -> None:
        answers.append(world.inquiry.certificate(f"n{number}.example.com"))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(answers) == 5)
    assert set(answers) == {"3 other names are waiting already"}
    world.script.go.set()
    for thread in threads:
        thread.join(30)
    assert answers.count("") == 3


def test_new_names_of_an_hour_are_counted(keep: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Names made up by a client use up no account; what is known, or listed in full, goes on."""
    passed = [0.0]
    gate = Gate(("*.example", "listed.example"))
    world = keep(gate=gate, rate=2, clock=lambda: time.time() + passed[0])
    world.script.go.set()
    want = world.keeper.want
    assert [want(name) for name in ("a.example", "b.example")] == ["", ""]
    for name in ("c.example", "d.example"):
        assert "2 new names came within an hour" in want(name)
    assert caplog.text.count("further ones are refused for") == 1
    assert want("a.example") == ""
    assert want("listed.example") == ""
    passed[0] = 3601.0
    assert want("c.example") == ""
    passed[0] = -100_000.0  # the clock was set back
    assert want("d.example") == ""


def test_certificates_of_other_replicas_are_copied(keep: Make) -> None:
    """What another has obtained is there a moment later, and what the storage has lost is given
    back to it; an older one replaces nothing."""
    world = keep("a.example", remote=True, before=lambda world: world.script.go.clear())
    told = threading.Semaphore(0)
    changes = Changes(world.inquiry, told.release)
    other = FolderStorage(world.storage.root)
    store(other, "a.example", certificate("a.example", "CCCC"))
    wait_until(lambda: find_certificate(world.local, "a.example"))
    store(other, "a.example", certificate("a.example", "DDDD"))
    wait_until(lambda: "DDDD" in getattr(find_certificate(world.local, "a.example"), "chain", ""))
    other.remove("certificates/a.example")
    store(other, "b.example", certificate("b.example"))
    wait_until(lambda: find_certificate(world.local, "b.example"))
    wait_until(lambda: "DDDD" in getattr(find_certificate(other, "a.example"), "chain", ""))
    older = replace(certificate("a.example", "EEEE"), not_before=5.0)
    store(other, "a.example", older)
    wait_until(lambda: "DDDD" in getattr(find_certificate(other, "a.example"), "chain", ""))
    assert find_certificate(world.local, "a.example") == find_certificate(other, "a.example")
    over = replace(certificate("b.example"), not_after=time.time() - 5)
    store(other, "b.example", over)
    wait_until(lambda: find_certificate(world.local, "b.example") == over)
    other.remove("certificates/b.example")
    other.write(CHANGES, b"looked at again")
    wait_until(lambda: find_certificate(world.local, "b.example") is None)
    assert told.acquire(timeout=10)
    changes.close()


def test_storage_that_is_away_loses_nothing(keep: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A certificate that was just being obtained is served, and written when the storage is back;
    that it is away and back is said once each."""
    world = keep(
        "a.example", "b.example", remote=True, before=lambda world: world.script.go.clear()
    )
    for _ in range(2):
        assert world.script.begun.acquire(timeout=10)
    hidden = world.storage.root.with_name("hidden")
    world.storage.root.mkdir(exist_ok=True)
    os.rename(world.storage.root, hidden)
    world.storage.root.write_text("no folder")
    with pytest.raises(StorageError):
        world.storage.write("plans/x", b"")
    world.script.go.set()
    for name in ("a.example", "b.example"):
        wait_until(lambda name=name: find_certificate(world.local, name))  # type: ignore[misc]
    assert world.inquiry.certificate("a.example") == ""
    world.storage.root.unlink()
    os.rename(hidden, world.storage.root)
    for name in ("a.example", "b.example"):
        wait_until(lambda name=name: find_certificate(world.storage, name))  # type: ignore[misc]
    assert find_certificate(world.local, "a.example") == find_certificate(
        world.storage, "a.example"
    )


def test_folder_that_cannot_be_written_is_said_once(
    keep: Make, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """However often it is tried."""
    (tmp_path / "local").write_text("no folder")
    world = keep("a.example")
    wait_until(lambda: "Nothing can be done about a.example" in caplog.text)
    assert "cannot lock" in world.inquiry.certificate("a.example")
    wait_until(lambda: world.keeper._names["a.example"].done > 3)
    assert caplog.text.count("Nothing can be done about a.example") == 1


def test_report_names_what_is_looked_after(keep: Make) -> None:
    """With the ends of certificates, and who has none."""
    world = keep("a.example", before=lambda world: world.script.go.clear())
    assert world.inquiry.report() == [{"name": "a.example", "not_after": 0.0, "failing": False}]
    world.script.go.set()
    wait_until(lambda: world.inquiry.report()[0]["not_after"] > time.time())


def test_stopping_gives_up_what_is_in_progress(keep: Make) -> None:
    """Steps end at their next wait, and nobody is left waiting for an answer."""
    world = keep("a.example", before=lambda world: world.script.go.clear())
    assert world.script.begun.acquire(timeout=10)
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(world.inquiry.certificate("a.example")))
    thread.start()
    started = time.monotonic()
    world.keeper.stop(10)
    thread.join(10)
    assert time.monotonic() - started < 5
    assert len(answers) == 1
    assert answers[0]


def test_silent_keeper_is_survived(tmp_path: Path) -> None:
    """Without anybody at the socket there are no answers, and no exception."""
    inquiry = Inquiry(str(tmp_path / "nobody"))
    assert inquiry.http_answer("t") is None
    assert inquiry.tls_answer("a.example") is None
    assert inquiry.report() == []
    assert inquiry.certificate("a.example") == "the keeper does not answer"
    told = threading.Event()
    changes = Changes(inquiry, told.set)
    changes.close()
    assert not told.is_set()
