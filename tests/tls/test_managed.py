"""Certificates that appear while a process serves: what it shows, and when it asks for them."""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nogilserve.engine.encryption import Context
from nogilserve.errors import ConfigError
from nogilserve.tls.inquiry import Inquiry
from nogilserve.tls.managed import ACME_TLS, HttpAnswers, ManagedSource
from nogilserve.tls.storage import FolderStorage
from nogilserve.tls.storage.records import Certificate, certificate_key

KEY = "-----BEGIN PRIVATE KEY-----\nBBBB\n-----END PRIVATE KEY-----\n"


class Shown(Context):
    """A context that remembers what it was made of."""

    text: str


def make(path: str) -> Shown:
    """What is made of a file with a certificate; not everything can be used."""
    text = Path(path).read_text()
    if "broken" in text:
        raise ConfigError("it is broken")
    context = Shown(16)
    context.text = text
    return context


class Keeper(Inquiry):
    """Answers when the test lets it."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.go = threading.Event()
        self.asked: list[str] = []
        self.before: Callable[[], None] = lambda: None

    def certificate(self, name: str) -> str:
        """There is one for names that end with ".example"."""
        self.asked.append(name)
        self.go.wait(10)
        self.before()
        return "" if name.endswith(".example") else "nobody wants it"

    def tls_answer(self, name: str) -> str | None:
        """A certificate for a challenge."""
        self.asked.append(f"challenge {name}")
        self.go.wait(10)
        return f"answer for {name}" if name.endswith(".example") else None

    def http_answer(self, token: str) -> str | None:
        """The answer to a token."""
        self.asked.append(f"token {token}")
        return f"{token}.thumb" if token == "known" else None


def keep(folder: FolderStorage, name: str, mark: str, *names: str) -> None:
    """Put a certificate there."""
    chain = f"-----BEGIN CERTIFICATE-----\n{mark}\n-----END CERTIFICATE-----\n"
    now = time.time()
    certificate = Certificate((name, *names), now, now + 1000, "https://ca/", chain, KEY)
    folder.write(certificate_key(name), certificate.encode())


@pytest.fixture
def folder(tmp_path: Path) -> FolderStorage:
    """Where certificates are."""
    return FolderStorage(tmp_path / "kept")


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """Who is asked for them."""
    return Keeper(tmp_path / "nobody")


type Source = Callable[..., ManagedSource]


@pytest.fixture
def source(folder: FolderStorage, keeper: Keeper) -> Iterator[Source]:
    """Makes sources: `source("a.example", on_demand=True)`."""
    made: list[ManagedSource] = []

    def new(*domains: str, on_demand: bool = False, asks: bool = True) -> ManagedSource:
        inquiry = keeper if asks else None
        made.append(ManagedSource(folder, domains, make, make, inquiry, on_demand=on_demand))
        return made[-1]

    yield new
    for item in made:
        item.close()


def mark(context: Context | None) -> str:
    """What a context was made of, in short."""
    return (
        "" if context is None else getattr(context, "text", "?").split("CERTIFICATE-----\n")[1][:4]
    )


def test_certificates_that_are_there_are_shown(folder: FolderStorage, source: Source) -> None:
    """Those of the domains, with wildcards; who names nobody gets the first; certificates of
    others in the same folder are none of ours."""
    keep(folder, "a.example", "AAAA", "c.example")
    keep(folder, "*.w.example", "WWWW")
    keep(folder, "x.example", "XXXX")
    managed = source("b.w.example", "a.example", asks=False)
    assert mark(managed.find("a.example", ())) == "AAAA"
    assert mark(managed.find("c.example", ())) == "AAAA"
    assert mark(managed.find("b.w.example", ())) == "WWWW"
    assert mark(managed.find("", ())) == "AAAA"
    assert managed.find("x.example", ()) is None
    assert not managed.request("x.example", (), lambda _: None)


def test_renewed_certificate_is_shown(folder: FolderStorage, source: Source) -> None:
    """After a reload; the others stay the same objects; one that cannot be used changes nothing."""
    keep(folder, "a.example", "AAAA")
    keep(folder, "b.example", "BBBB")
    managed = source("a.example", "b.example", asks=False)
    other = managed.find("b.example", ())
    keep(folder, "a.example", "CCCC")
    managed.reload()
    assert mark(managed.find("a.example", ())) == "CCCC"
    assert managed.find("b.example", ()) is other
    keep(folder, "a.example", "broken")
    managed.reload()
    assert mark(managed.find("a.example", ())) == "CCCC"
    folder.path("certificates/a.example").write_text("damaged")
    managed.reload()
    assert mark(managed.find("a.example", ())) == "CCCC"
    folder.remove("certificates/a.example")
    managed.reload()
    assert managed.find("a.example", ()) is None


def test_folder_that_cannot_be_read_changes_nothing(folder: FolderStorage, source: Source) -> None:
    """What was read before is served on."""
    keep(folder, "a.example", "AAAA")
    managed = source("a.example", asks=False)
    os.rename(folder.path("certificates"), folder.path("elsewhere"))
    folder.path("certificates").write_text("no folder")
    managed.reload()
    assert mark(managed.find("a.example", ())) == "AAAA"


def test_missing_certificate_is_asked_for_once(
    folder: FolderStorage, source: Source, keeper: Keeper
) -> None:
    """Of many handshakes one asks; all are told; then it is there."""
    managed = source("a.example")
    ready: queue.SimpleQueue[Context | None] = queue.SimpleQueue()
    keeper.before = lambda: keep(folder, "a.example", "AAAA")
    for _ in range(20):
        assert managed.find("a.example", ()) is None
        assert managed.request("a.example", (), ready.put)
    keeper.go.set()
    for _ in range(20):
        assert mark(ready.get(timeout=10)) == "AAAA"
    assert keeper.asked == ["a.example"]
    assert mark(managed.find("a.example", ())) == "AAAA"


def test_only_on_demand_are_other_names_asked_for(source: Source, keeper: Keeper) -> None:
    """Else they are refused without a question."""
    assert not source("a.example").request("b.example", (), lambda _: None)
    ready: queue.SimpleQueue[Context | None] = queue.SimpleQueue()
    keeper.go.set()
    assert source("a.example", on_demand=True).request("b.other", (), ready.put)
    assert ready.get(timeout=10) is None
    assert keeper.asked == ["b.other"]


def test_many_names_on_demand_are_loaded_when_asked_for(
    folder: FolderStorage, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few are kept ready; a renewed one is read again, one that is damaged is asked for again,
    and wildcards count for names below them."""
    monkeypatch.setattr("nogilserve.tls.managed._RECENT", 3)
    for number in range(10):
        keep(folder, f"n{number}.example", f"N{number:03}")
    keep(folder, "*.w.example", "WWWW")
    keep(folder, "bad.example", "broken")
    managed = source("a.example", on_demand=True, asks=False)
    assert managed._recent == {}
    for number in range(10):
        assert mark(managed.find(f"n{number}.example", ())) == f"N{number:03}"
    assert len(managed._recent) == 3
    again = managed.find("n9.example", ())
    assert again is managed.find("n9.example", ())
    assert mark(managed.find("n0.example", ())) == "N000"
    assert mark(managed.find("x.w.example", ())) == "WWWW"
    assert managed.find("bad.example", ()) is None
    assert managed.find("unknown.example", ()) is None
    assert managed.find("../../etc/passwd", ()) is None
    keep(folder, "n9.example", "NEW9")
    managed.reload()
    assert mark(managed.find("n9.example", ())) == "NEW9"
    folder.remove("certificates/n9.example")
    managed.reload()
    assert managed.find("n9.example", ()) is None


def test_race_for_names_on_demand(folder: FolderStorage, source: Source) -> None:
    """Handshakes for the same few names and reloads at once: each sees its own certificate."""
    for number in range(5):
        keep(folder, f"n{number}.example", f"N{number:03}")
    managed = source(on_demand=True, asks=False)
    barrier = threading.Barrier(5)
    wrong: list[str] = []

    def look(first: int) -> None:
        barrier.wait(10)
        for turn in range(200):
            number = (first + turn) % 5
            if mark(managed.find(f"n{number}.example", ())) != f"N{number:03}":
                wrong.append(f"{number}")

    def reload() -> None:
        barrier.wait(10)
        for number in range(20):
            keep(folder, f"n{number % 5}.example", f"N{number % 5:03}")
            managed.reload()

    threads = [threading.Thread(target=look, args=(number,)) for number in range(4)]
    threads.append(threading.Thread(target=reload))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_flood_of_names_is_bounded(
    source: Source, keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    """At most 64 questions at a time; the next handshake is refused. The log is not flooded."""
    caplog.set_level("INFO", "nogilserve")
    managed = source(on_demand=True)
    ready: queue.SimpleQueue[Context | None] = queue.SimpleQueue()
    for number in range(64):
        assert managed.request(f"n{number}.org", (), ready.put)
    assert not managed.request("one-more.example", (), ready.put)
    keeper.go.set()
    for _ in range(64):
        assert ready.get(timeout=10) is None
    assert managed.request("one-more.example", (), ready.put)
    ready.get(timeout=10)
    assert 1 <= caplog.text.count("nobody wants it") <= 5


def test_challenge_is_answered_whatever_the_certificate(
    folder: FolderStorage, source: Source, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For any name, to several that look at the same time; never to who does not say that it is
    an authority."""
    monkeypatch.setattr("nogilserve.tls.managed._FRESH", 60.0)
    keep(folder, "a.example", "AAAA")
    managed = source("a.example")
    keeper.go.set()
    ready: queue.SimpleQueue[Context | None] = queue.SimpleQueue()
    for name in ("a.example", "elsewhere.example"):
        assert managed.find(name, (ACME_TLS,)) is None
        assert managed.request(name, (ACME_TLS,), ready.put)
        assert ready.get(timeout=10) is managed.find(name, (ACME_TLS,))
        for _ in range(3):
            found = managed.find(name, (ACME_TLS,))
            assert getattr(found, "text", "") == f"answer for {name}"
    assert mark(managed.find("a.example", ("http/1.1",))) == "AAAA"
    assert managed.find("elsewhere.example", ()) is None
    assert managed.request("unknown.org", (ACME_TLS,), ready.put)
    assert ready.get(timeout=10) is None
    assert managed.find("unknown.org", (ACME_TLS,)) is None


def test_race_of_reloads_and_handshakes(folder: FolderStorage, source: Source) -> None:
    """A name that has a certificate always has one, whoever reloads at the moment."""
    keep(folder, "a.example", "AAAA")
    managed = source("a.example", asks=False)
    ended = threading.Event()
    missing: list[object] = []

    def look() -> None:
        while not ended.is_set():
            if managed.find("a.example", ()) is None:
                missing.append(None)

    def reload() -> None:
        for _ in range(20):
            managed.reload()

    lookers = [threading.Thread(target=look) for _ in range(2)]
    reloaders = [threading.Thread(target=reload) for _ in range(2)]
    for thread in (*lookers, *reloaders):
        thread.start()
    for number in range(20):
        keep(folder, "a.example", f"A{number:03}")
    for thread in reloaders:
        thread.join(30)
    ended.set()
    for thread in lookers:
        thread.join(30)
    assert missing == []
    managed.reload()
    assert mark(managed.find("a.example", ())) == "A019"


def test_http_answers(keeper: Keeper) -> None:
    """Only below the path of challenges; a keeper that is silent for a second is left alone."""
    clock = [0.0]
    answers = HttpAnswers(keeper, lambda: clock[0])
    assert answers.answer("/index.html") is None
    assert keeper.asked == []
    assert answers.answer("/.well-known/acme-challenge/known") == b"known.thumb"
    assert answers.answer("/.well-known/acme-challenge/other") is None

    class Slow(Keeper):
        def http_answer(self, token: str) -> str | None:
            clock[0] += 1.0
            self.asked.append(token)
            return None

    slow = Slow(Path("/nobody"))
    answers = HttpAnswers(slow, lambda: clock[0])
    for _ in range(5):
        assert answers.answer("/.well-known/acme-challenge/t") is None
    assert len(slow.asked) == 1
    clock[0] += 10.0
    answers.answer("/.well-known/acme-challenge/t")
    assert len(slow.asked) == 2


def test_answer_is_handed_to_who_has_waited(
    source: Source, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To all of them, though nobody else is shown it any more when their turn comes."""
    monkeypatch.setattr("nogilserve.tls.managed._FRESH", 0.0)
    managed = source("a.example")
    given: queue.SimpleQueue[Context | None] = queue.SimpleQueue()
    for _ in range(3):
        assert managed.find("a.example", (ACME_TLS,)) is None
        assert managed.request("a.example", (ACME_TLS,), given.put)
    keeper.go.set()
    found = [given.get(timeout=10) for _ in range(3)]
    assert [getattr(context, "text", "") for context in found] == ["answer for a.example"] * 3
    assert managed.find("a.example", (ACME_TLS,)) is None


def test_race_of_questions_about_tokens(keeper: Keeper) -> None:
    """One at a time, whoever asks; a silent keeper costs the others nothing."""
    inside, most = [0], [0]
    clock = [0.0]

    class Silent(Keeper):
        def http_answer(self, token: str) -> str | None:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            threading.Event().wait(0.01)
            clock[0] += 1.0
            inside[0] -= 1
            self.asked.append(token)
            return None

    silent = Silent(Path("/nobody"))
    answers = HttpAnswers(silent, lambda: clock[0])
    barrier = threading.Barrier(6)

    def ask() -> None:
        barrier.wait(10)
        assert answers.answer("/.well-known/acme-challenge/t") is None

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [1]
    assert len(silent.asked) == 1
