"""Whose answer is it? Every response must carry what its own request carried, in order."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.apps.raw_client import RawClient, chunked
from tests.apps.served import Served

CONNECTIONS = 32
PER_CONNECTION = 150


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    """One server for all tests here."""
    with Served("tests.apps.torture:app", "--threads", "16") as running:
        yield running
    assert "Traceback" not in running.log


class Asked:
    """A request with a nonce of its own in target, header and body, and what must come back."""

    def __init__(self, nonce: str, chance: random.Random) -> None:
        self.nonce = nonce
        kind = chance.choice(["get", "post", "chunked"])
        self.body = b"" if kind == "get" else f"<{nonce}>".encode() * chance.randrange(1, 40)
        self.target = chance.choice(["", "/raw"]) + f"/nonce?nonce={nonce}"
        method = "GET" if kind == "get" else "POST"
        head = f"{method} {self.target} HTTP/1.1\r\nHost: a\r\nX-Nonce: {nonce}\r\n"
        body = self.body
        if kind == "post":
            head += f"Content-Length: {len(body)}\r\n"
        elif kind == "chunked":
            head += "Transfer-Encoding: chunked\r\n"
            half = len(body) // 2 or 1
            body = b"".join(chunked(iter([body[:half], *filter(None, [body[half:]])])))
        self.data = head.encode() + b"\r\n" + body

    def check(self, header: str | None, body: bytes) -> None:
        """The response is that of this request and of no other."""
        mine = self.nonce.encode()
        assert body == b"|".join([mine, mine, self.body, mine]), self.nonce
        assert header == self.nonce


def read_and_check(client: RawClient, asked: list[Asked]) -> None:
    """Read one response for each request, in order."""
    for one in asked:
        answer = client.response()
        assert answer.status == 200, answer
        one.check(answer.header("x-nonce"), answer.body)


def burst(name: str, seed: int, count: int) -> list[Asked]:
    """Requests whose nonces nobody else has."""
    chance = random.Random(seed)
    return [Asked(f"{name}-{seed}-{number}", chance) for number in range(count)]


def test_a_thousand_pipelined_requests(server: Served) -> None:
    """GET and POST mixed, a thousand deep, sent without waiting: answered in order, each once."""
    asked = burst("deep", 1, 1000)
    data = b"".join(one.data for one in asked)
    with server.raw() as client:
        # Sent beside the reading: neither side may have to buffer everything.
        sender = threading.Thread(target=client.send, args=(data,))
        sender.start()
        try:
            read_and_check(client, asked)
        finally:
            sender.join()


@pytest.mark.parametrize("piece", [1, 7, 100, 1460])
def test_pipelined_requests_cut_anywhere(server: Served, piece: int) -> None:
    """Where the segments end says nothing about where requests end."""
    asked = burst("cut", piece, 15)
    data = b"".join(one.data for one in asked)
    with server.raw() as client:
        for at in range(0, len(data), piece):
            client.send(data[at : at + piece])
        read_and_check(client, asked)


def test_answers_stay_in_order_behind_a_slow_one(server: Served) -> None:
    """The answer to a quick request waits for that of the slow one before it."""
    asked = burst("behind", 2, 20)
    with server.raw() as client:
        slow = b"GET /sleep?ms=300 HTTP/1.1\r\nHost: a\r\n\r\n"
        client.send(slow + b"".join(one.data for one in asked))
        assert client.response().body == b"slept\n"
        read_and_check(client, asked)


def test_pipeline_that_ends_with_close(server: Served) -> None:
    """What follows a request with Connection: close is not run."""
    asked = burst("closing", 3, 5)
    last = b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    more = b"GET /upload?key=behind-close HTTP/1.1\r\nHost: a\r\n\r\n"
    with server.raw() as client:
        client.send(b"".join(one.data for one in asked) + last + more * 3)
        read_and_check(client, asked)
        assert client.response().body == b"hello\n"
        assert client.rest() == b""
    assert "entered behind-close" not in server.counts()


def test_pipeline_then_half_close(server: Served) -> None:
    """A client that has said everything still gets every answer."""
    asked = burst("half", 4, 60)
    with server.raw() as client:
        client.send(b"".join(one.data for one in asked))
        client.half_close()
        read_and_check(client, asked)
        assert client.rest() == b""


def test_no_answer_is_ever_anothers(server: Served) -> None:
    """Thousands of requests over 32 connections, one at a time and in bursts: none mixed up."""

    def talk(seed: int) -> int:
        asked = burst("mix", seed, PER_CONNECTION)
        chance = random.Random(seed)
        done = 0
        with server.raw() as client:
            while done < len(asked):
                some = asked[done : done + chance.choice([1, 1, 1, 2, 5, 12])]
                client.send(b"".join(one.data for one in some))
                read_and_check(client, some)
                done += len(some)
        return done

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        results = list(pool.map(talk, range(100, 100 + CONNECTIONS)))
    assert results == [PER_CONNECTION] * CONNECTIONS


def test_no_answer_is_ever_anothers_with_a_pooling_client(server: Served) -> None:
    """The same with httpx, whose pool gives connections from one thread to another."""
    limits = httpx.Limits(max_connections=12, max_keepalive_connections=12)
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60, limits=limits) as http:

        def ask(number: int) -> None:
            one = burst("pool", number, 1)[0]
            answer = http.post(one.target, headers={"X-Nonce": one.nonce}, content=one.body)
            one.check(answer.headers["x-nonce"], answer.content)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(ask, range(600)))
