"""TLS with the face of a non-blocking socket, with OpenSSL at the other end."""

import random
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nogilserve.engine.encryption import Context
from nogilserve.engine.poller import READ, WRITE, wait_for
from nogilserve.engine.securesocket import SecureSocket
from nogilserve.tls.context import make_context
from tests.support.certificates import NEEDS_OPENSSL, Authority, trusting

pytestmark = NEEDS_OPENSSL

SECONDS = 10.0


class Pair:
    """A server's end as the engine has it, and a client's. Owner: the test."""

    def __init__(
        self, context: Context, client: ssl.SSLContext, *, buffer: int = 0, tcp: bool = False
    ) -> None:
        if tcp:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                theirs = socket.create_connection(listener.getsockname(), SECONDS)
                ours = listener.accept()[0]
        else:
            ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.settimeout(SECONDS)
            if buffer:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        self.client = client.wrap_socket(
            theirs,
            server_hostname="localhost",
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
        )
        greeting = threading.Thread(target=self.client.do_handshake)
        greeting.start()
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                ours.sendall(outgoing.read())
                incoming.write(ours.recv(65536))
        ours.sendall(outgoing.read())
        greeting.join(SECONDS)
        ours.setblocking(False)
        self.raw = ours
        self.server = SecureSocket(ours, tls, incoming, outgoing, memoryview(b""))

    def close(self) -> None:
        """Close both ends."""
        self.client.close()
        self.server.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One for all tests here."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def context(authority: Authority) -> Context:
    """That of the server."""
    certificate, key = authority.issue("localhost")
    return make_context(str(certificate), str(key))


@pytest.fixture
def pair(authority: Authority, context: Context) -> Iterator[Pair]:
    """Both ends with ordinary buffers."""
    both = Pair(context, trusting(authority))
    yield both
    both.close()


@pytest.fixture
def tight(authority: Authority, context: Context) -> Iterator[Pair]:
    """Both ends with buffers that are full at once."""
    both = Pair(context, trusting(authority), buffer=4096)
    yield both
    both.close()


@pytest.mark.skipif(not hasattr(socket, "MSG_MORE"), reason="this system knows no MSG_MORE")
def test_what_is_held_back_leaves(authority: Authority, context: Context) -> None:
    """As with a socket: with MSG_MORE it waits for TCP_NODELAY."""
    both = Pair(context, trusting(authority), tcp=True)
    try:
        assert both.server.send(b"hello", socket.MSG_MORE) == 5
        both.client.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            both.client.recv(5)
        both.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        both.client.settimeout(SECONDS)
        assert both.client.recv(5) == b"hello"
    finally:
        both.close()


def await_data(pair: Pair) -> bytes:
    """What the server receives next."""
    while True:
        assert wait_for(pair.server.fileno(), READ, SECONDS)
        try:
            return pair.server.recv(65536)
        except BlockingIOError:
            continue


def test_nothing_there(pair: Pair) -> None:
    """As with a socket, there may be nothing."""
    with pytest.raises(BlockingIOError):
        pair.server.recv(65536)


def test_all_records_at_once(pair: Pair) -> None:
    """Everything that has come is given out: the poller says nothing of what is decrypted."""
    for _ in range(50):
        pair.client.sendall(b"x" * 100)
    received = b""
    while len(received) < 5000:
        received += await_data(pair)
        with pytest.raises(BlockingIOError):  # less may have come, but nothing is left behind
            pair.server.recv(65536)
    assert received == b"x" * 5000


def test_part_of_a_record(pair: Pair) -> None:
    """A record of which a part is missing is waited for."""
    data = b"y" * 16000
    sender = threading.Thread(target=pair.client.sendall, args=(data,))
    sender.start()
    received = b""
    while len(received) < len(data):
        received += await_data(pair)
    sender.join(SECONDS)
    assert received == data


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_taken(tight: Pair, seed: int) -> None:
    """Pieces of any size arrive in order, however little the system takes at a time; what was not
    taken is offered again from where the number returned left off, cut anew."""
    chance = random.Random(seed)
    data = chance.randbytes(400_000)
    received = bytearray()

    def read() -> None:
        while len(received) < len(data):
            received.extend(tight.client.recv(chance.randrange(1, 20000)))

    reader = threading.Thread(target=read)
    reader.start()
    at = 0
    refused = 0
    while at < len(data):
        piece = data[at : at + chance.choice((1, 2, 100, 16384, 65536, 70000, 200_000))]
        try:
            if chance.random() < 0.3:
                cut = chance.randrange(len(piece) + 1)
                at += tight.server.sendmsg([part for part in (piece[:cut], piece[cut:]) if part])
            else:
                at += tight.server.send(piece)
        except BlockingIOError:
            refused += 1
            assert wait_for(tight.server.fileno(), WRITE, SECONDS)
    reader.join(SECONDS)
    assert bytes(received) == data
    assert refused


def test_last_byte_is_held_back(tight: Pair) -> None:
    """As long as something has not left, the caller is told to come back."""
    sent = 0
    data = bytes(100_000)
    try:
        while sent < len(data):
            sent += tight.server.send(data[sent:])
    except BlockingIOError:
        pass
    assert 0 < sent < len(data)
    with pytest.raises(BlockingIOError):
        tight.server.send(data[sent : sent + 1])


def test_goodbye(pair: Pair) -> None:
    """Closing says so in TLS: the client knows that nothing is missing."""
    pair.server.send(b"all of it")
    pair.server.close()
    assert pair.client.recv(100) == b"all of it"
    assert pair.client.recv(100) == b""


def test_cut(pair: Pair) -> None:
    """A connection that is cut ends without a farewell: the client knows that something is
    missing."""
    pair.server.send(b"half of it")
    pair.server.cut()
    pair.server.close()
    assert pair.client.recv(100) == b"half of it"
    with pytest.raises(ssl.SSLError, match="EOF"):
        pair.client.recv(100)


def test_client_says_goodbye(pair: Pair) -> None:
    """The client's farewell is the end of what it sends, and is answered."""
    heard: list[str] = []
    leaving = threading.Thread(target=leave, args=(pair.client, heard))
    leaving.start()
    assert await_data(pair) == b"bye"
    assert await_data(pair) == b""
    pair.server.close()
    leaving.join(SECONDS)
    assert heard == ["goodbye"]


def leave(client: ssl.SSLSocket, heard: list[str]) -> None:
    """Say something and goodbye, and wait for an answer."""
    client.sendall(b"bye")
    client.unwrap()  # raises for an end without it
    heard.append("goodbye")


def test_lingering(pair: Pair) -> None:
    """After `shutdown` nothing is decrypted: what comes is only to be thrown away."""
    pair.client.sendall(b"before")
    assert await_data(pair) == b"before"
    pair.server.shutdown(socket.SHUT_WR)
    pair.client.sendall(b"behind")
    assert b"behind" not in await_data(pair)
    assert pair.client.recv(10) == b""


def test_garbage(pair: Pair) -> None:
    """What is no TLS is an error, and the client is told by an alert."""
    raw = socket.socket(fileno=pair.client.fileno())
    try:
        raw.sendall(b"\x17\x03\x03\x00\x20" + b"z" * 32)
        with pytest.raises(ssl.SSLError):
            await_data(pair)
    finally:
        raw.detach()
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        pair.client.recv(10)


def test_two_threads(authority: Authority, context: Context) -> None:
    """One thread may send while another one receives: the state of TLS is not torn."""
    pair = Pair(context, trusting(authority))
    shared = pair.server.locked()
    count = 300
    wrong: list[object] = []

    def echo_client() -> None:
        received = b""
        for number in range(count):
            pair.client.sendall(b"%06d" % number)
        while len(received) < count * 1000:
            received += pair.client.recv(65536)
        if received != b"o" * (count * 1000):
            wrong.append("what the client received")

    def send() -> None:
        for _ in range(count):
            left = b"o" * 1000
            while left:
                try:
                    left = left[shared.send(left) :]
                except BlockingIOError:
                    wait_for(shared.fileno(), WRITE, SECONDS)

    threads = [threading.Thread(target=echo_client), threading.Thread(target=send)]
    for thread in threads:
        thread.start()
    received = b""
    while len(received) < count * 6:
        assert wait_for(shared.fileno(), READ, SECONDS)
        try:
            received += shared.recv(65536)
        except BlockingIOError:
            continue
    for thread in threads:
        thread.join(SECONDS)
    assert received == b"".join(b"%06d" % number for number in range(count))
    assert wrong == []
    pair.client.close()
    shared.close()


def test_send_range_reads_the_file(pair: Pair, tmp_path: Path) -> None:
    """There is no sendfile for TLS: ranges of files are read and encrypted."""
    from nogilserve.engine.outbox import Outbox

    file = tmp_path / "file"
    file.write_bytes(random.Random(1).randbytes(100_000))
    outbox = Outbox()
    with file.open("rb") as opened:
        outbox.put(b"head")
        outbox.put_file(opened.fileno(), 10, 90_000)
    outbox.put(b"tail")
    received = bytearray()
    while outbox.waiting:
        outbox.flush(pair.server)  # type: ignore[arg-type]
        pair.client.settimeout(SECONDS)
        while len(received) < 90_008 - outbox.waiting - 1:
            received.extend(pair.client.recv(65536))
    while len(received) < 90_008:
        received.extend(pair.client.recv(65536))
    assert bytes(received) == b"head" + file.read_bytes()[10:90_010] + b"tail"
    outbox.close()
