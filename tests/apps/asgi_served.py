"""A real server of an ASGI application, and clients for it."""

import importlib.util
import json

import pytest

from .raw_websocket import RawWebSocket
from .served import Served

__all__ = ["LOOPS", "TORTURE", "AsgiServed"]

TORTURE = "tests.apps.asgi_torture:app"
NO_UVLOOP = importlib.util.find_spec("uvloop") is None
LOOPS = [
    "asyncio",
    pytest.param(
        "uvloop",
        marks=pytest.mark.skipif(NO_UVLOOP, reason="uvloop has no wheel for this interpreter"),
    ),
]
"""For tests that have to pass on either event loop."""


class AsgiServed(Served):
    """A running server. Owner: the test."""

    def counts(self) -> dict[str, int]:
        """The counters of the torture application."""
        with self.raw() as client:
            answer = client.get("/counts", "Connection: close\r\n")
        assert answer.status == 200
        counts: dict[str, int] = json.loads(answer.body)
        return counts

    def count(self, name: str) -> int:
        """One of them."""
        return self.counts().get(name, 0)

    def websocket(self, receive_buffer: int = 0) -> RawWebSocket:
        """A new connection that has not asked for anything yet."""
        return RawWebSocket(self.address, receive_buffer)
