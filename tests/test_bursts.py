"""Responses that leave together, see engine.corked, as many clients of one core see it."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.certificates import NEEDS_OPENSSL, Authority, TlsClient, trusting
from tests.support.server import Server
from tests.support.wire import Client

CLIENTS = 32
ROUNDS = 30
APP = "tests.apps.computing:wsgi"


def ask_all(connect: Callable[[], Client]) -> None:
    """All clients at once, many times; each gets its own answers, in order."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connect()) for _ in range(CLIENTS)]
        for turn in range(ROUNDS):
            # Every third client asks twice before it reads.
            for number, client in enumerate(clients):
                client.send(
                    b"".join(
                        f"GET /{number}/{turn}/{part} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
                        for part in range(1 + (number % 3 == 0))
                    )
                )
            for number, client in enumerate(clients):
                for part in range(1 + (number % 3 == 0)):
                    assert client.receive().body == f"/{number}/{turn}/{part}".encode()
        for number, client in enumerate(clients):
            client.send(f"GET /{number} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        for number, client in enumerate(clients):
            assert client.receive().body == f"/{number}".encode()
            client.wait_closed()


@pytest.mark.parametrize("threads", [1, 4])
def test_plain(serve: Callable[..., Server], threads: int) -> None:
    """With one thread nobody else can send what was held back."""
    server = serve(APP, "--workers", "1", "--threads", str(threads))
    ask_all(server.connect)


@NEEDS_OPENSSL
def test_tls(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Encrypted, then held back."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost", "127.0.0.1")
    files = ("--certfile", str(certificate), "--keyfile", str(key), "--http", "1")
    server = serve(APP, "--workers", "1", *files)
    trust = trusting(authority)
    ask_all(lambda: TlsClient(server.addresses[0], trust))
    assert "internal error" not in server.log
