"""Clients of all tempers. Each checks that what it gets is the answer to what it asked."""

import hashlib
import itertools
import random
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from typing import Final

from stress.application import block
from tests.support.wire import Client, Response

__all__ = ["TEMPERS", "Caller", "Mistake", "Tally", "Visitor"]

SECONDS: Final = 20.0


class Mistake(AssertionError):
    """The server answered something else than it should have."""


class Caller(Client):
    """A connection that connects anew where the server has said that it ends. Owner: its thread."""

    def __init__(self, visitor: "Visitor", receive_buffer: int) -> None:
        self._visitor = visitor
        self._receive_buffer = receive_buffer
        self._connect()

    def _connect(self) -> None:
        self.over = False
        """The last answer said so: nothing more will be answered here."""
        Client.__init__(self, self._visitor.address, SECONDS)
        if self._receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        self._visitor.tally.add("connections")

    def request(
        self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Response:
        """Ask, on a new connection if this one is over."""
        if self.over:
            self.close()
            self._connect()
        return super().request(method, target, headers, body)

    def receive(self, method: str = "GET") -> Response:
        """The next final response."""
        response = super().receive(method)
        self.over = response.get("Connection").lower() == "close"
        return response


class Tally:
    """What all clients together have done. Any thread; the lock guards the numbers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: dict[str, int] = {}

    def add(self, name: str, count: int = 1) -> None:
        """Count."""
        with self._lock:
            self.counts[name] = self.counts.get(name, 0) + count


class Visitor:
    """One client thread's doings. Owner: that thread."""

    def __init__(self, address: tuple[str, int], seed: str, tally: Tally) -> None:
        self.address = address
        self.random = random.Random(seed)
        self.tally = tally
        self._numbers = itertools.count()
        self._name = seed.replace(" ", "-")

    def connect(self, receive_buffer: int = 0) -> Caller:
        """A new connection, counted."""
        return Caller(self, receive_buffer)

    def nonce(self) -> str:
        """A name that no other request has."""
        return f"{self._name}-{next(self._numbers)}"

    def expect(self, response: Response, nonce: str, body: bytes, status: int = 200) -> None:
        """Compare, and count a good answer."""
        if response.status != status or response.get("X-Nonce") != nonce or response.body != body:
            raise Mistake(
                f"for {nonce}: status {response.status}, nonce {response.get('X-Nonce')!r}, "
                f"{len(response.body)} of {len(body)} bytes: {response.body[:80]!r}"
            )
        self.tally.add("answered")

    # ---- tempers

    def ordinary(self) -> None:
        """Requests one after the other on one connection."""
        with self.connect() as client:
            for _ in range(self.random.randint(1, 20)):
                nonce = self.nonce()
                self.expect(client.get(f"/fast/{nonce}/0"), nonce, nonce.encode())

    def pipelining(self) -> None:
        """Many at once, quick and slow ones mixed; answers in order."""
        with self.connect() as client:
            kinds = self.random.choices(["fast", "slow", "cpu"], [20, 1, 2], k=40)
            batch = [(kind, self.nonce()) for kind in kinds[: self.random.randint(1, 40)]]
            client.send(
                b"".join(
                    f"GET /{kind}/{nonce}/3 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
                    for kind, nonce in batch
                )
            )
            for _, nonce in batch:
                self.expect(client.receive(), nonce, nonce.encode())
                if client.over:
                    return  # a server that stops answers one more, and says so

    def slow(self) -> None:
        """The application sleeps."""
        with self.connect() as client:
            for _ in range(self.random.randint(1, 5)):
                nonce = self.nonce()
                path = f"/slow/{nonce}/{self.random.randint(0, 20)}"
                self.expect(client.get(path), nonce, nonce.encode())

    def busy(self) -> None:
        """The application computes."""
        with self.connect() as client:
            nonce = self.nonce()
            path = f"/cpu/{nonce}/{self.random.randint(1, 2000)}"
            self.expect(client.get(path), nonce, nonce.encode())

    def downloading(self) -> None:
        """Large and streamed answers, read with a small buffer."""
        with self.connect(self.random.choice([0, 0, 65_536])) as client:
            for _ in range(self.random.randint(1, 3)):
                nonce, amount = self.nonce(), self.random.randint(0, 120)
                kind = self.random.choice(["big", "stream", "trickle"])
                amount = amount // 10 if kind == "trickle" else amount
                expected = b"".join(block(nonce, number) for number in range(amount))
                self.expect(client.get(f"/{kind}/{nonce}/{amount}"), nonce, expected)

    def uploading(self) -> None:
        """Bodies of all sizes, counted or chunked, in pieces, with or without Expect."""
        body = self.random.randbytes(self.random.choice([0, 10, 5000, 300_000]))
        nonce = self.nonce()
        kind = self.random.choice(["upload", "ignore"])
        chunked = self.random.random() < 0.4
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
        expect = "Expect: 100-continue\r\n" * (kind == "upload" and self.random.random() < 0.3)
        with self.connect() as client:
            client.send(
                f"POST /{kind}/{nonce}/0 HTTP/1.1\r\nHost: x\r\n{length}\r\n{expect}\r\n".encode()
            )
            if expect and (body or chunked):
                interim = client.receive_head()
                if not interim.startswith(b"HTTP/1.1 100"):
                    raise Mistake(f"for {nonce}: {interim[:80]!r} instead of 100 Continue")
            size = self.random.randint(1, 100_000)
            for start in range(0, len(body), size):
                piece = body[start : start + size]
                client.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if chunked:
                client.send(b"0\r\n\r\n")
            digest = f"{nonce} {len(body)} {hashlib.sha256(body).hexdigest()}"
            answer = digest if kind == "upload" else nonce
            self.expect(client.receive(), nonce, answer.encode())

    def leaving(self) -> None:
        """Asks, reads perhaps a little, and is gone, politely or not."""
        kind = self.random.choice(["fast", "slow", "cpu", "big", "stream", "trickle", "upload"])
        request = f"GET /{kind}/{self.nonce()}/100 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        if kind == "upload":
            request = request.replace(b"GET", b"POST")[:-2] + b"Content-Length: 100000\r\n\r\n"
            request += b"x" * self.random.randint(0, 99_999)
        client = self.connect(self.random.choice([0, 0, 65_536]))
        with suppress(OSError):
            client.send(request * self.random.randint(1, 3))
            if self.random.random() < 0.5:
                client.sock.settimeout(0.2)  # the server may wait for us
                client.sock.recv(self.random.randint(1, 50_000))
        if self.random.random() < 0.5:
            client.reset()
        else:
            client.close()
        self.tally.add("left")

    def unfinished(self) -> None:
        """A part of a head, then the end."""
        with self.connect() as client:
            head = f"GET /fast/{self.nonce()}/0 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            client.send(head[: self.random.randint(0, len(head) - 1)])
            if self.random.random() < 0.5:
                client.half_close()
                with suppress(ConnectionError):
                    rest = client.receive_rest()
                    if rest and not rest.startswith(b"HTTP/1.1 400"):
                        raise Mistake(f"half a head was answered with {rest[:80]!r}")
        self.tally.add("left")

    def wrong(self) -> None:
        """Broken requests behind good ones: the good are answered, then 400 and the end."""
        with self.connect() as client:
            nonce = self.nonce()
            bad = self.random.choice([b"\x00\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET /\r\n\r\n"])
            client.send(f"GET /fast/{nonce}/0 HTTP/1.1\r\nHost: x\r\n\r\n".encode() + bad)
            self.expect(client.receive(), nonce, nonce.encode())
            if client.over:
                return
            answer = client.receive()
            if answer.status != 400:
                raise Mistake(f"{bad!r} was answered with {answer.status}")
            client.wait_closed()
            self.tally.add("refused")

    def failing(self) -> None:
        """The application raises, or promises more than it sends."""
        with self.connect() as client:
            answer = client.get(f"/error/{self.nonce()}/0")
            if answer.status != 500:
                raise Mistake(f"an exception was answered with {answer.status}")
            self.tally.add("failed")
            try:
                answer = client.get(f"/broken/{self.nonce()}/0")
            except (HTTPException, ConnectionError):
                self.tally.add("cut off")
            else:
                if answer.status != 500:
                    raise Mistake(f"a short body was answered as {answer.status}, complete")
                self.tally.add("failed")


TEMPERS: Final[dict[str, tuple[Callable[[Visitor], None], int]]] = {
    "ordinary": (Visitor.ordinary, 8),
    "pipelining": (Visitor.pipelining, 6),
    "slow": (Visitor.slow, 6),
    "busy": (Visitor.busy, 3),
    "downloading": (Visitor.downloading, 4),
    "uploading": (Visitor.uploading, 6),
    "leaving": (Visitor.leaving, 8),
    "unfinished": (Visitor.unfinished, 2),
    "wrong": (Visitor.wrong, 2),
    "failing": (Visitor.failing, 2),
}
"""What clients do, and how often one does it."""
