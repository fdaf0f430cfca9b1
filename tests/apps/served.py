"""A real server of the torture application or another, and what is seen of its process."""

import http.client
import json
import os
import re

from tests.support.server import Server

from .raw_client import SECONDS, RawClient


class Served(Server):
    """A running server. Owner: the test."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        address = self.addresses[0]
        assert not isinstance(address, str)
        return address

    def raw(self, receive_buffer: int = 0) -> RawClient:
        """A new connection of bare sockets."""
        return RawClient(self.address, receive_buffer)

    def http(self) -> http.client.HTTPConnection:
        """A new connection of the standard library's client."""
        return http.client.HTTPConnection(*self.address, timeout=SECONDS)

    def counts(self) -> dict[str, int]:
        """The counters of the torture application."""
        with self.raw() as client:
            answer = client.get("/raw/counts", "Connection: close\r\n")
        assert answer.status == 200
        counts: dict[str, int] = json.loads(answer.body)
        return counts

    def descriptors(self) -> list[str]:
        """What the process's descriptors refer to."""
        folder = f"/proc/{self.serving}/fd"
        found = []
        for name in os.listdir(folder):
            try:
                found.append(os.readlink(f"{folder}/{name}"))
            except FileNotFoundError:
                continue  # closed while we looked
        return found

    def threads(self) -> int:
        """How many threads the process has."""
        return len(os.listdir(f"/proc/{self.serving}/task"))

    def memory(self) -> int:
        """Proportional set size in bytes."""
        with open(f"/proc/{self.serving}/smaps_rollup") as rollup:
            found = re.search(r"^Pss:\s+(\d+) kB", rollup.read(), re.MULTILINE)
        assert found
        return int(found[1]) * 1024
