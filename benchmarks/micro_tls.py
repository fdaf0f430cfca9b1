"""Micro-benchmarks of TLS with the thread engine: records in, records out.

The client's records are made beforehand and what it gets is not decrypted, so that only the
server's side counts. The certificate is made by the program `openssl`.
"""

import socket
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import cast

from benchmarks.micro_operations import require
from benchmarks.micro_protocol import SMALL
from benchmarks.micro_threads import Threads, hello
from nogilserve.engine.poller import READ
from nogilserve.engine.securesocket import SecureSocket

__all__ = ["Hello"]


def _context() -> ssl.SSLContext:
    with tempfile.TemporaryDirectory() as folder:
        key, file = Path(folder, "key.pem"), Path(folder, "certificate.pem")
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=localhost"),
                *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-keyout", str(key), "-out", str(file)),
            ],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file, key)
    return context


class Hello(Threads):
    """A small request that a client repeats."""

    def __init__(self) -> None:
        super().__init__(hello)
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = _context().wrap_bio(to_server, to_client, server_side=True)
        self._client = trusting.wrap_bio(to_client, to_server)
        self._to_server = to_server
        for end in (self._client, server, self._client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
        self.connection.sock = cast(
            socket.socket,
            SecureSocket(
                cast(socket.socket, self.wire), server, to_server, to_client, memoryview(b"")
            ),
        )
        self._records: list[bytes] = []

    def prepare(self, count: int) -> None:
        """Each record has its number in it."""
        self._records.clear()
        for _ in range(count):
            self._client.write(SMALL)
            self._records.append(self._to_server.read())

    def run(self, count: int) -> None:
        """What was prepared."""
        core, wire, on_event = self.core, self.wire, self.connection.on_event
        wire.sent = 0
        for record in self._records:
            wire.coming = record
            on_event(core, READ)
        right = 120 * count < wire.sent < 300 * count
        require(right and not core.counters.refused, bytes(wire.last))
