"""Servers in tests, for pytest: `pytest_plugins = ["nogilserve.testing"]` in conftest.py.

def test_hello(nogilserve_server):
    server = nogilserve_server(app)
    assert httpx.get(f"{server.url}/hello").status_code == 200
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from nogilserve.embed import Application, Server

__all__ = ["StartServer", "nogilserve_server"]

type StartServer = Callable[..., Server]
"""Takes what `nogilserve.Server` takes, and returns it started."""


@pytest.fixture
def nogilserve_server() -> Iterator[StartServer]:
    """Start real servers in this process, each on a free port of 127.0.0.1; they end with the test.

    A test whose application has not answered by then fails.
    """
    with ExitStack() as servers:

        def start(app: str | Application, **settings: Any) -> Server:
            server = Server(app, **{"graceful_timeout": 5, **settings})
            server.start()
            servers.callback(_stop, server)
            return server

        yield start


def _stop(server: Server) -> None:
    if not server.stop():
        pytest.fail("the application has not answered before the end of the test", pytrace=False)
