"""A proxy in front of pebble that answers some requests itself: what a real authority does and
pebble does not, such as limiting a rate (RFC 8555 §6.6) or telling when to renew (RFC 9773)."""

import contextlib
import http.client
import http.server
import json
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from tests.support.pebble import Pebble

__all__ = ["AcmeProxy", "Answer", "problem"]

Answer = tuple[int, dict[str, str], bytes]
"""Status, header fields, body."""


def problem(status: int, code: str, detail: str, **headers: str) -> Answer:
    """An error of an authority (RFC 8555 §6.7). Underscores in names of fields become hyphens."""
    body = {"type": f"urn:ietf:params:acme:error:{code}", "detail": detail, "status": status}
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"Content-Type": "application/problem+json", **fields}, json.dumps(body).encode()


class AcmeProxy:
    """Serves with the certificate of pebble's own endpoint, so the same bundle is to be trusted.

    `instead(method, path)` is asked before a request is passed on, by the thread that serves it;
    `seen` are the requests, in order.
    """

    def __init__(self, pebble: Pebble) -> None:
        self.pebble = pebble
        self.instead: Callable[[str, str], Answer | None] = lambda method, path: None
        self.more: dict[str, Any] = {}
        """Entries added to the directory."""
        self.seen: list[str] = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                """Any request."""
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                proxy.seen.append(f"{self.command} {self.path}")
                answer = proxy.instead(self.command, self.path)
                status, fields, content = answer or proxy.ask(
                    self.command, self.path, dict(self.headers), body
                )
                with contextlib.suppress(OSError):  # who asked may be gone meanwhile
                    self._say(status, fields, content)

            def _say(self, status: int, fields: dict[str, str], content: bytes) -> None:
                self.send_response(status)
                for name, value in fields.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_POST = do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pebble.folder / "endpoint.pem", pebble.folder / "endpoint-key.pem")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    @property
    def directory(self) -> str:
        """The directory URL."""
        return f"https://127.0.0.1:{self.server.server_port}/dir"

    @property
    def options(self) -> list[str]:
        """What a server needs to use it."""
        return ["--acme-directory", self.directory, "--acme-ca-bundle", str(self.pebble.ca_file)]

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Ask pebble; its links name whoever asked by the Host field, so they lead here again."""
        context = ssl.create_default_context(cafile=str(self.pebble.ca_file))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.pebble.port, context=context, timeout=10
        )
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
            fields = dict(response.getheaders())
            if path == "/dir" and self.more:
                content = json.dumps(json.loads(content) | self.more).encode()
            return response.status, fields, content
        finally:
            connection.close()

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
