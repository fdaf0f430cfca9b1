"""Certificates from a real authority (pebble), step by step, without a server of ours."""

import http.server
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("acme", reason="the ACME client, or cryptography below it, is not installed")

from nogilserve.tls.acme.authority import Authority
from nogilserve.tls.acme.jobs import Jobs, Outcome, find_certificate, store
from nogilserve.tls.acme.network import seconds_of
from nogilserve.tls.acme.settings import Settings
from nogilserve.tls.storage import FolderStorage
from nogilserve.tls.storage.records import Account, Certificate, Plan, plan_key
from tests.support.acmeproxy import AcmeProxy, problem
from tests.support.pebble import Pebble, needs_pebble
from tests.support.waiting import wait_until

pytestmark = needs_pebble


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers HTTP-01 from a storage."""

    storages: list[FolderStorage] = []  # noqa: RUF012

    def do_GET(self) -> None:
        """A token, or nothing."""
        key = f"answers/http/t-{self.path.rpartition('/')[2]}"
        found = next((v for s in self.storages if (v := s.read(key)) is not None), None)
        self.send_response(404 if found is None else 200)
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """One authority for all tests here, and who answers its challenges."""
    with Pebble(tmp_path_factory.mktemp("pebble")) as running:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", running.http_port), Answering)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield running
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def proxy(pebble: Pebble) -> Iterator[AcmeProxy]:
    """The same authority, with what it cannot do."""
    with AcmeProxy(pebble) as running:
        yield running


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[FolderStorage]:
    """A storage from which challenges are answered."""
    made = FolderStorage(tmp_path / "kept")
    Answering.storages.append(made)
    yield made
    Answering.storages.remove(made)


def pause(seconds: float) -> None:
    """What the client does between two looks."""
    threading.Event().wait(min(seconds, 0.1))


def settings(authority: Pebble | AcmeProxy, **more: object) -> Settings:
    """HTTP-01 only: nobody answers TLS-ALPN-01 here."""
    pebble = authority if isinstance(authority, Pebble) else authority.pebble
    made = Settings(authority.directory, ca_bundle=str(pebble.ca_file), challenges=("http-01",))
    return replace(made, **more)  # type: ignore[arg-type]


def jobs(storage: FolderStorage, made: Settings) -> Jobs:
    """Steps that keep what they obtain in the storage."""
    return Jobs(made, storage, pause, lambda name, found: store(storage, name, found))


def kept(storage: FolderStorage, name: str) -> Certificate:
    """The certificate that must be there."""
    found = find_certificate(storage, name)
    assert found is not None
    return found


def plan(storage: FolderStorage, name: str) -> Plan:
    """What is written down about a name."""
    return Plan.decode(storage.read(plan_key(name)))


def accounts(pebble: Pebble) -> int:
    """How many it has made. Of requests there may be more, because it refuses nonces."""
    asked = pebble.count("GET /dir")
    pebble.get("/dir")
    wait_until(lambda: pebble.count("GET /dir") > asked, 10, "its log is read to the end")
    return pebble.count("accounts in memory")


def test_certificate_is_obtained_and_left_alone(pebble: Pebble, storage: FolderStorage) -> None:
    """For the name, with a key of the kind that was asked for; a second step does nothing."""
    steps = jobs(storage, settings(pebble, email="me@example.com", key_type="p384"))
    outcome = steps.step("one.example")
    assert outcome.changed
    assert not outcome.error
    found = kept(storage, "one.example")
    assert found.names == ("one.example",)
    assert found.issuer == pebble.directory
    assert found.chain.count("BEGIN CERTIFICATE") == 2
    assert storage.keys("answers") == []
    again = steps.step("one.example")  # asks for the time of renewal, which pebble may not know
    again = steps.step("one.example")
    assert not again.changed
    assert again.due > time.time() + 3600
    assert kept(storage, "one.example") == found


def test_forced_renewal(pebble: Pebble, storage: FolderStorage) -> None:
    """Another certificate, by the same account."""
    steps = jobs(storage, settings(pebble))
    steps.step("two.example")
    before, account = kept(storage, "two.example"), storage.keys("accounts")
    assert steps.step("two.example", force=True).changed
    assert kept(storage, "two.example").fingerprint != before.fingerprint
    assert storage.keys("accounts") == account
    assert len(account) == 1


def test_names_and_replicas_share_one_account(pebble: Pebble, storage: FolderStorage) -> None:
    """Those that begin at the same time do not make one each."""
    before = accounts(pebble)
    barrier = threading.Barrier(3)
    outcomes: list[Outcome] = []

    def work(number: int) -> None:
        barrier.wait(10)
        own = FolderStorage(storage.root)
        outcomes.append(jobs(own, settings(pebble)).step(f"n{number}.example"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [outcome.error for outcome in outcomes] == ["", "", ""]
    assert accounts(pebble) - before == 1


def test_replica_that_comes_second_waits_for_the_first(
    pebble: Pebble, storage: FolderStorage
) -> None:
    """While one holds the lock another does nothing; after it, it finds the certificate."""
    lease = storage.lock("work/wait.example", 60)
    assert lease is not None
    steps = jobs(FolderStorage(storage.root), settings(pebble))
    outcome = steps.step("wait.example")
    assert outcome.elsewhere
    assert find_certificate(storage, "wait.example") is None
    lease.release()
    assert steps.step("wait.example").changed


def test_deactivated_account_is_replaced(
    pebble: Pebble, storage: FolderStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """A new account with a new key, and the certificate all the same."""
    made = settings(pebble)
    steps = jobs(storage, made)
    steps.step("revoked.example")
    (key,) = storage.keys("accounts")
    before = Account.decode(storage.read(key))
    assert before is not None
    authority = Authority(made, storage, pause)
    client = authority._directory()
    client.deactivate_registration(client.net.account)  # type: ignore[arg-type]
    authority.close()
    with caplog.at_level(logging.WARNING, "nogilserve"):
        assert steps.step("revoked.example", force=True).changed
    after = Account.decode(storage.read(key))
    assert after is not None
    assert after.url != before.url
    assert after.key != before.key
    assert "does not take the account any more" in caplog.text


def test_refused_validation_is_explained(
    pebble: Pebble, storage: FolderStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """What the authority says is in the log and the plan; the next attempt is minutes away."""
    steps = jobs(storage, settings(pebble, challenges=("tls-alpn-01", "http-01")))
    outcome = steps.step("failing.example")
    assert "tls-alpn-01 that failing.example is served here" in outcome.error
    assert 60 < outcome.due - time.time() < 200
    assert plan(storage, "failing.example").failures == 1
    assert "there is none to serve" in caplog.text
    assert steps.step("failing.example").due == outcome.due
    # The other kind has its turn after a failure.
    assert steps.step("failing.example", force=True).changed
    assert plan(storage, "failing.example").failures == 0


def test_authority_that_is_away_leaves_the_old_certificate(
    pebble: Pebble, storage: FolderStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again within seconds, and the log says that the old one is served on."""
    jobs(storage, settings(pebble)).step("old.example")
    before = kept(storage, "old.example")
    away = replace(settings(pebble), directory="https://127.0.0.1:1/dir")
    outcome = jobs(storage, away).step("old.example", force=True)
    assert "cannot be reached" in outcome.error
    assert outcome.due - time.time() < 5
    assert "the old one is served on, for 1826 days" in caplog.text
    assert kept(storage, "old.example") == before


def test_untrusted_authority_is_named(pebble: Pebble, storage: FolderStorage) -> None:
    """With the option that helps."""
    outcome = jobs(storage, settings(pebble, ca_bundle="")).step("x.example")
    assert "--acme-ca-bundle" in outcome.error
    assert "(certificate verify failed: " in outcome.error


def test_authority_that_the_system_trusts(
    pebble: Pebble, storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Needs no option: $SSL_CERT_FILE is how OpenSSL is told."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(pebble.ca_file))
    assert jobs(storage, settings(pebble, ca_bundle="")).step("trusted.example").changed


def test_rate_limit_is_respected(proxy: AcmeProxy, storage: FolderStorage) -> None:
    """The authority's Retry-After decides when to come again."""

    def limited(method: str, path: str) -> tuple[int, dict[str, str], bytes] | None:
        if path == "/order-plz":
            return problem(429, "rateLimited", "too many certificates", Retry_After="4000")
        return None

    proxy.instead = limited
    steps = jobs(storage, settings(proxy))
    outcome = steps.step("limited.example")
    assert "refuses: rateLimited: too many certificates" in outcome.error
    assert 3990 < outcome.due - time.time() < 4050
    asked = len(proxy.seen)
    assert steps.step("limited.example").due == outcome.due
    assert len(proxy.seen) == asked


def test_overloaded_authority_is_left_alone(proxy: AcmeProxy, storage: FolderStorage) -> None:
    """A 503 without any JSON counts as an answer, too."""
    proxy.instead = lambda method, path: (503, {"Retry-After": "700"}, b"<h1>busy</h1>")
    outcome = jobs(storage, settings(proxy)).step("busy.example")
    assert "does not answer as an ACME server does: status 503" in outcome.error
    assert 690 < outcome.due - time.time() < 740


def test_nonsense_of_an_authority_is_survived(proxy: AcmeProxy, storage: FolderStorage) -> None:
    """A directory that is none, of any kind."""
    for body in (b"", b"[]", b"{}", b"null", b"nonsense", b'{"newNonce": 5}'):
        proxy.instead = lambda method, path, body=body: (  # type: ignore[misc]
            200,
            {"Content-Type": "application/json"},
            body,
        )
        assert jobs(storage, settings(proxy)).step("x.example", force=True).error


def test_refused_nonces_are_repeated(tmp_path: Path) -> None:
    """Where a third of all nonces is refused a certificate still comes."""
    env = {"PEBBLE_WFE_NONCEREJECT": "30"}
    storage = FolderStorage(tmp_path / "kept")
    with Pebble(tmp_path, env=env) as pebble:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", pebble.http_port), Answering)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        Answering.storages.append(storage)
        outcome = jobs(storage, settings(pebble)).step("nonce.example")
        Answering.storages.remove(storage)
        server.shutdown()
        thread.join()
        server.server_close()
    assert outcome.error == ""
    assert outcome.changed


def test_account_bound_to_another(tmp_path: Path) -> None:
    """With --acme-eab-… an account is made; without it the message names the options."""
    key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    storage = FolderStorage(tmp_path / "kept")
    with Pebble(tmp_path, eab={"kid-1": key}) as pebble:
        without = jobs(storage, settings(pebble)).step("x.example")
        assert "--acme-eab-kid" in without.error
        bound = settings(pebble, eab_kid="kid-1", eab_hmac_key=key)
        jobs(storage, bound).step("x.example", force=True)
        assert len(storage.keys("accounts")) == 1


def test_time_of_renewal_is_asked_for(proxy: AcmeProxy, storage: FolderStorage) -> None:
    """A moment within the window the authority suggests, kept while it lies in the window; a window
    in the past means now; the order says which certificate it replaces."""
    proxy.more = {"renewalInfo": f"{proxy.directory[:-4]}/ari"}
    now = time.time()
    window = [now + 5000, now + 6000]
    asked: list[str] = []

    def tell(method: str, path: str) -> tuple[int, dict[str, str], bytes] | None:
        if not path.startswith("/ari/"):
            return None
        asked.append(path)
        start, end = (datetime.fromtimestamp(moment, UTC).isoformat() for moment in window)
        info = {"suggestedWindow": {"start": start, "end": end}, "explanationURL": "https://why/"}
        fields = {"Content-Type": "application/json", "Retry-After": "3600"}
        return 200, fields, json.dumps(info).encode()

    proxy.instead = tell
    steps = jobs(storage, settings(proxy))
    steps.step("ari.example")
    outcome = steps.step("ari.example")
    assert len(asked) == 1
    moment = plan(storage, "ari.example").renew_at
    assert window[0] - 1 <= moment <= window[1] + 1
    assert 3500 < outcome.due - now < 3700
    forget = replace(plan(storage, "ari.example"), ask_at=0.0)
    storage.write(plan_key("ari.example"), forget.encode())
    steps.step("ari.example")
    assert plan(storage, "ari.example").renew_at == moment
    window[:] = [now - 200, now - 100]
    storage.write(plan_key("ari.example"), forget.encode())
    due = steps.step("ari.example")
    assert due.due <= time.time()
    before = kept(storage, "ari.example").fingerprint
    assert steps.step("ari.example").changed
    assert kept(storage, "ari.example").fingerprint != before
    assert len(asked) == 3
    assert len(set(asked)) == 1


def test_certificate_that_was_replaced_already(proxy: AcmeProxy, storage: FolderStorage) -> None:
    """The order is placed again, without saying which one it replaces."""
    proxy.more = {"renewalInfo": f"{proxy.directory[:-4]}/ari"}
    steps = jobs(storage, settings(proxy))
    assert steps.step("twice.example").changed
    refused: list[str] = []

    def refuse(method: str, path: str) -> tuple[int, dict[str, str], bytes] | None:
        if path == "/order-plz" and not refused:
            refused.append(path)
            return problem(409, "alreadyReplaced", "somebody was quicker")
        return None

    proxy.instead = refuse
    assert steps.step("twice.example", force=True).changed
    assert refused


def test_rate_limit_without_an_end(proxy: AcmeProxy, storage: FolderStorage) -> None:
    """Counts as an hour."""
    proxy.instead = lambda method, path: (
        problem(429, "rateLimited", "slowly") if path == "/order-plz" else None
    )
    outcome = jobs(storage, settings(proxy)).step("slow.example")
    assert 3500 < outcome.due - time.time() < 3700


def test_missing_bundle_is_no_internal_error(pebble: Pebble, storage: FolderStorage) -> None:
    """It may have been there when the server was started."""
    outcome = jobs(storage, settings(pebble, ca_bundle="/nowhere")).step("x.example")
    assert "/nowhere" in outcome.error


def test_retry_after_in_both_forms() -> None:
    """Seconds or a date (RFC 9110 §10.2.3); anything else is nothing."""
    assert seconds_of("120") == 120
    assert seconds_of("") is None
    assert seconds_of("soon") is None
    assert seconds_of("Fri, 31 Dec 1999 23:59:59 GMT") == 0
    later = seconds_of("Thu, 31 Dec 2099 23:59:59 GMT")
    assert later is not None
    assert later > 1e9
