"""A site with automatic HTTPS: how a server is started, and what clients see of it."""

import contextlib
import http.client
import re
import socket
import ssl
from pathlib import Path

from tests.support.pebble import Pebble
from tests.support.server import Server, children_of

__all__ = ["ASGI", "WSGI", "Site", "fetch", "keeper_of", "obtained"]

WSGI = "tests.apps.torture:app"
ASGI = "tests.apps.asgi_torture:app"


class Site:
    """Where a server is reached: by the authority, and by clients that trust it."""

    def __init__(self, pebble: Pebble, storage: Path | str) -> None:
        self.pebble = pebble
        self.storage = storage

    def server(self, *options: str, app: str = WSGI, env: dict[str, str] | None = None) -> Server:
        """A server that listens where the authority looks."""
        return Server(
            app,
            *("--bind", f"127.0.0.1:{self.pebble.tls_port}"),
            *("--redirect-http", f"127.0.0.1:{self.pebble.http_port}"),
            *("--storage", str(self.storage), *self.pebble.options, *options),
            env=env,
        )

    def connect(self, name: str, context: ssl.SSLContext) -> ssl.SSLSocket:
        """A connection to a name. Raises OSError."""
        sock = socket.create_connection(("127.0.0.1", self.pebble.tls_port), 20)
        try:
            return context.wrap_socket(sock, server_hostname=name)
        except BaseException:
            sock.close()
            raise

    def get(self, name: str, context: ssl.SSLContext, path: str = "/hello") -> bytes:
        """The body of a page, from a server whose certificate was verified."""
        with self.connect(name, context) as sock:
            return fetch(sock, name, path)

    def shown(self, name: str) -> str:
        """The certificate that is shown for a name, PEM, valid or not; "" for none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with self.connect(name, context) as sock:
                return ssl.DER_cert_to_PEM_cert(sock.getpeercert(True) or b"")
        except OSError:
            return ""

    def plain(self, name: str, path: str) -> http.client.HTTPResponse:
        """An answer of the plain port, read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.pebble.http_port, timeout=10)
        try:
            connection.request("GET", path, headers={"Host": name})
            response = connection.getresponse()
            response.read()
            return response
        finally:
            connection.close()


def fetch(sock: ssl.SSLSocket, name: str, path: str = "/hello") -> bytes:
    """Ask for a page on an open connection."""
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    response = http.client.HTTPResponse(sock)
    response.begin()
    assert response.status == 200
    return response.read()


def keeper_of(server: Server) -> int:
    """The process id of the keeper."""
    for pid in children_of(server.pid):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(b"keeper\0"):
                return pid
    return 0


def obtained(server: Server, name: str) -> None:
    """Wait until the server says that a name has a certificate."""
    server.wait_log(f"Obtained a certificate for {re.escape(name)}", timeout=40)
