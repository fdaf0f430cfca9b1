"""Everything at once, on every poller and number of threads: honest clients notice nothing."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.apps.raw_client import SECONDS, RawClient, request
from tests.apps.served import Served
from tests.support.waiting import wait_until

HONEST = 6
REQUESTS = 60


def rude(server: Served, chance: random.Random) -> None:
    """One client that behaves badly in one of many ways."""
    said = chance.choice(
        [
            b"GET /raw/hello HTTP/1.1\r\nHost: a\r\n",
            request("/raw/upload?key=rude", "Content-Length: 5000\r\n", "POST") + b"x" * 4000,
            request("/raw/endless?key=rude"),
            request("/raw/whole?n=3000000"),
            request("/raw/sleep?ms=5") * 3,
            request("/bad/raise-before"),
            request("/bad/raise-after-write"),
            request("/bad/raise-exit?case=exit"),
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + request("/raw/hello"),
            b"\0" * 100,
        ]
    )
    leave = chance.choice([RawClient.close, RawClient.reset, RawClient.half_close_and_go])
    with server.raw() as client:
        client.send_quietly(said)
        if chance.random() < 0.5:
            client.peek()
        leave(client)


def honest(server: Served, number: int) -> int:
    """One client on a connection of its own; how many of its answers were its own."""
    right = 0
    with server.raw() as client:
        for turn in range(REQUESTS):
            mine = f"{number}-{turn}"
            body = mine.encode() * 20
            answer = client.post(f"/nonce?nonce={mine}", body, f"X-Nonce: {mine}\r\n")
            expected = b"|".join([mine.encode(), mine.encode(), body, mine.encode()])
            right += answer.status == 200 and answer.body == expected
    return right


@pytest.mark.parametrize(
    "options",
    [
        ["--threads", "16"],
        ["--threads", "1"],
        ["--threads", "3", "--workers", "2"],
        ["--threads", "8", "--workers", "8"],
        ["--threads", "4", "--poller", "poll"],
        ["--threads", "4", "--poller", "select"],
        ["--threads", "4", "--access-log", "/dev/null"],
    ],
    ids=" ".join,
)
def test_honest_clients_among_rude_ones(options: list[str]) -> None:
    """While others abort, lie and break the application, every honest answer is right."""
    with Served("tests.apps.torture:app", *options) as server:
        sockets = sum(what.startswith("socket:") for what in server.descriptors())
        over = threading.Event()

        def be_rude(seed: int) -> None:
            chance = random.Random(seed)
            while not over.is_set():
                rude(server, chance)

        with ThreadPoolExecutor(HONEST + 4) as pool:
            others = [pool.submit(be_rude, seed) for seed in range(4)]
            try:
                answers = list(pool.map(lambda number: honest(server, number), range(HONEST)))
            finally:
                over.set()
            for other in others:
                other.result(SECONDS)
        assert answers == [REQUESTS] * HONEST

        def quiet() -> bool:
            now = [what for what in server.descriptors() if what.startswith("socket:")]
            return len(now) <= sockets

        wait_until(quiet, SECONDS, f"sockets are left: {server.descriptors()}")
        counts = server.counts()
        assert "complete rude" not in counts
        assert "never stopped rude" not in counts
