"""A small siege (`python -m stress.hostile` is the large one): clients that hold on to what they
get, and an honest one that must be served all the same."""

import threading

import pytest

from stress.hostile import APPS, besiege
from tests.apps.served import Served

PER_CONNECTION = 1 << 20
"""Bytes of memory: much less than the 8 MiB that each is sent."""


@pytest.mark.alone("measures how long an honest client waits")
@pytest.mark.parametrize("app", APPS)
def test_siege(app: str) -> None:
    """The honest client gets every answer, memory stays bounded, and nothing is left behind."""
    arguments = ["--workers=2", "--threads=8"]
    with Served(APPS[app], *arguments) as server:
        verdict = besiege(server, 48, 2.5)
    assert verdict.opened >= 48
    assert verdict.asked > 20
    assert verdict.memory_most - verdict.memory_before < 48 * PER_CONNECTION
    assert "Traceback" not in server.log
    assert "internal error" not in server.log


PIPELINED = 10_000


@pytest.mark.parametrize("app", APPS)
def test_ten_thousand_pipelined_requests(app: str) -> None:
    """Each is answered, in order, and somebody else is served meanwhile."""
    requests = b"".join(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (n % 3, b"x" * (n % 3))
        for n in range(PIPELINED)
    )
    with (
        Served(APPS[app], "--workers=1", "--threads=2") as server,
        server.raw() as client,
        server.connect() as other,
    ):
        sender = threading.Thread(target=client.send, args=(requests,))
        sender.start()
        for number in range(PIPELINED):
            assert client.response().body == b"%d" % (number % 3)
            if not number % 1000:
                assert other.get("/").status == 200
        sender.join()
