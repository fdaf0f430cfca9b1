"""Handshakes on a core: certificates that are there, that come later, and that never come."""

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic

import pytest

from nogilserve.engine.core import Core
from nogilserve.engine.encryption import Context, Encryption, Ready
from nogilserve.engine.secure import Handshake
from nogilserve.engine.wheel import NEVER
from nogilserve.messages import Exchange
from nogilserve.tls.context import TlsTerms, make_context
from tests.runtimes.served import SECONDS, Served, echo_target, reply
from tests.support.certificates import NEEDS_OPENSSL, Authority, TlsClient, client_hello, trusting
from tests.support.waiting import wait_until
from tests.support.wire import Client

pytestmark = NEEDS_OPENSSL

UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"


class Later:
    """A source that has a certificate for a name when the test says so. Any thread: its single
    operations are those of a dictionary and of a list."""

    def __init__(self, **contexts: Context) -> None:
        self.contexts = contexts
        self.waiting: list[Ready] = []
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    def find(self, name: str, protocols: Sequence[str]) -> Context | None:
        """The part before the first dot is the key."""
        self.asked.append((name, tuple(protocols)))
        return self.contexts.get(name.partition(".")[0])

    def request(self, name: str, protocols: Sequence[str], ready: Ready) -> bool:
        """Names that begin with "never" get none."""
        if name.startswith("never"):
            return False
        self.waiting.append(ready)
        return True


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One for all tests here."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def context(authority: Authority) -> Context:
    """A certificate for every name used here."""
    certificate, key = authority.issue("later.test", "now.test", "challenge.test")
    return make_context(str(certificate), str(key))


@pytest.fixture
def source(context: Context) -> Later:
    """One with a certificate for now.test."""
    return Later(now=context)


@pytest.fixture
def served(source: Later) -> Iterator[Served]:
    """A runtime whose certificates come from there."""
    encryption = Encryption(source, timeout=2.0, waiting=3.0)
    with Served(echo_target, threads=2, encryption=encryption) as running:
        yield running


def test_source_is_asked_by_name_and_protocols(
    served: Served, source: Later, authority: Authority
) -> None:
    """It is told what the client says."""
    trust = trusting(authority)
    trust.set_alpn_protocols(["http/1.1"])
    with TlsClient(served.address, trust, "NOW.test") as client:
        assert client.get("/x").body == b"/x"
    assert source.asked == [("now.test", ("http/1.1",))]
    counters = served.counters()
    assert (counters["tls_handshakes"], counters["tls_resumed"], counters["tls_failed"]) == (
        1,
        0,
        0,
    )


def test_certificate_that_comes_later(
    served: Served, source: Later, authority: Authority, context: Context
) -> None:
    """The handshake is parked, holds no thread, and goes on when there is a certificate, even
    when that took longer than a handshake may take."""
    answers: list[bytes] = []

    def ask() -> None:
        with TlsClient(served.address, trusting(authority), "later.test") as client:
            answers.append(client.get("/late").body)

    asker = threading.Thread(target=ask)
    asker.start()
    wait_until(lambda: source.waiting, SECONDS)
    for _ in range(3):
        with TlsClient(served.address, trusting(authority), "now.test") as client:
            assert client.get("/").body == b"/"
    # It is handed over: by now the source may have nothing to show to others.
    source.waiting.pop()(context)
    asker.join(SECONDS)
    assert answers == [b"/late"]


@pytest.mark.parametrize("comes", [False, True])
def test_certificate_that_never_comes(served: Served, source: Later, comes: bool) -> None:
    """The client gets the alert that says which name is the trouble (RFC 6066 §3)."""
    name = "later.test" if comes else "never.test"
    with Client(served.address) as client:
        client.send(client_hello(name))
        if comes:
            wait_until(lambda: source.waiting, SECONDS)
            source.waiting.pop()(None)  # and then there is none
        assert client.receive_rest() == UNRECOGNIZED_NAME
    counters = served.counters()
    assert counters["refused"]["TLS: no certificate for the name"] == counters["tls_failed"] == 1


def test_nobody_answers(served: Served, source: Later) -> None:
    """A certificate is waited for, but not for ever; an answer after that hurts nobody."""
    with Client(served.address) as client:
        client.send(client_hello("later.test"))
        wait_until(lambda: source.waiting, SECONDS)
        assert client.receive_rest() == b""
    source.waiting.pop()(None)
    assert served.counters()["refused"]["TLS handshake too slow"] == 1


def test_client_leaves_while_it_waits(served: Served, source: Later, context: Context) -> None:
    """The certificate comes for a connection that is not there any more."""
    with Client(served.address) as client:
        client.send(client_hello("later.test"))
        wait_until(lambda: source.waiting, SECONDS)
    wait_until(lambda: served.counters()["connections"] == 0, SECONDS)
    source.waiting.pop()(context)


def test_challenge(served: Served, source: Later, authority: Authority) -> None:
    """Who wants to see the certificate for a challenge sees it, and nothing follows (RFC 8737)."""
    certificate, key = authority.issue("challenge.test", label="challenge")
    source.contexts["challenge"] = make_context(
        str(certificate), str(key), TlsTerms(("acme-tls/1",))
    )
    trust = trusting(authority)
    trust.set_alpn_protocols(["acme-tls/1"])
    with TlsClient(served.address, trust, "challenge.test") as client:
        assert client.tls.selected_alpn_protocol() == "acme-tls/1"
        client.wait_closed()


def test_source_that_breaks(served: Served, source: Later, authority: Authority) -> None:
    """An error of ours costs one connection; those behind it in the queue go on."""
    source.contexts["broken"] = None  # type: ignore[assignment] # and `request` says yes:
    source.request = lambda *_: 1 / 0  # type: ignore[assignment, method-assign]
    with Client(served.address) as client:
        client.send(client_hello("broken.test"))
        assert client.receive_rest() == b""
    with TlsClient(served.address, trusting(authority), "now.test") as other:
        assert other.get("/").body == b"/"


def test_end_while_a_handshake_waits(served: Served, source: Later) -> None:
    """A runtime that stops does not wait for a certificate for long."""
    with Client(served.address) as client, Client(served.address) as silent:
        client.send(client_hello("later.test"))
        silent.send(b"\x16")
        wait_until(lambda: source.waiting, SECONDS)
        assert served.stop()
        assert client.receive_rest() == b""


def test_hello_in_pieces(served: Served, authority: Authority) -> None:
    """The first message may come byte by byte."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting(authority).wrap_bio(incoming, outgoing, server_hostname="now.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with Client(served.address) as client:
        for byte in outgoing.read():
            client.send(bytes([byte]))
        client.sock.settimeout(SECONDS)
        while True:
            incoming.write(client.sock.recv(65536))
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        # The end of the handshake and the first requests in one segment.
        tls.write(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        client.send(outgoing.read())
        received = b""
        while not received.endswith(b"/2"):
            incoming.write(client.sock.recv(65536))
            try:
                while True:
                    received += tls.read(65536)
            except ssl.SSLWantReadError:
                continue
        assert received.count(b"200 OK") == 2


def test_file_is_not_needed_again(authority: Authority, tmp_path: Path) -> None:
    """A context is complete: what it was made of may go."""
    certificate, key = authority.issue("gone.test")
    context = make_context(str(certificate), str(key))
    certificate.unlink()
    key.unlink()
    with Served(echo_target, threads=1, encryption=Encryption(Later(gone=context))) as served:
        with TlsClient(served.address, trusting(authority), "gone.test") as client:
            assert client.get("/").body == b"/"


def the_handshake(core: Core) -> Handshake:
    """The one that has begun, or does within the time."""
    wait_until(lambda: any(isinstance(e, Handshake) for e in list(core.table.values())))
    [hand] = [e for e in list(core.table.values()) if isinstance(e, Handshake)]
    return hand


def test_stop_of_a_handshake_that_is_over(source: Later, authority: Authority) -> None:
    """An order to stop that was on its way to the handshake sets no deadline for the request."""
    inside, go_on, told = (threading.Event() for _ in range(3))

    def app(exchange: Exchange) -> None:
        inside.set()
        assert go_on.wait(SECONDS)
        reply(exchange, b"late")

    def tell(_: object) -> bool:
        told.set()
        return True

    with Served(app, threads=2, encryption=Encryption(source)) as served:
        [core] = served.runtime._cores
        with socket.create_connection(served.address, SECONDS) as raw:
            hand = the_handshake(core)
            with trusting(authority).wrap_socket(raw, server_hostname="now.test") as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: now.test\r\n\r\n")
                assert inside.wait(SECONDS)
                core.submit(hand.stop)
                core.submit(tell)
                assert told.wait(SECONDS)
                assert hand.connection.deadline == NEVER
                go_on.set()
                assert client.recv(65536).endswith(b"late")


def test_patient_drain_waits_for_handshakes(source: Later, authority: Authority) -> None:
    """As long as ever, also for one that has said nothing: another process serves on, and the
    client has been accepted."""
    told = threading.Event()

    def tell(_: object) -> bool:
        told.set()
        return True

    with Served(echo_target, threads=2, encryption=Encryption(source)) as served:
        [core] = served.runtime._cores
        with socket.create_connection(served.address, SECONDS) as raw:
            hand = the_handshake(core)
            before = hand.connection.deadline
            served.runtime.drain(patient=True)
            while served.runtime.accepting:
                assert not served.runtime.join(monotonic())
            core.submit(tell)
            assert told.wait(SECONDS)
            assert (core.patient, hand.connection.deadline) == (True, before)
            with trusting(authority).wrap_socket(raw, server_hostname="now.test") as client:
                client.sendall(b"GET /late HTTP/1.1\r\nHost: now.test\r\n\r\n")
                assert client.recv(65536).endswith(b"/late")
