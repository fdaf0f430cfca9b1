"""Micro-benchmarks of the HTTP/1 protocol by itself: no engine, no gateway, no application."""

from benchmarks.micro_operations import Operation, require
from nogilserve.messages import Limits
from nogilserve.protocols.http1 import Http1Connection, Tables

__all__ = ["BROWSER", "COMMON", "SMALL", "Browser", "Heads", "Lines", "Small", "Upload"]

SMALL = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"
BROWSER = (
    b"GET /items/42?page=2&sort=name HTTP/1.1\r\nHost: shop.example.com\r\n"
    b"Connection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0)\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-GB,en;q=0.7\r\nAccept-Encoding: gzip, deflate, br\r\n"
    b"Referer: https://shop.example.com/items\r\nCookie: session=0123456789abcdef; theme=dark\r\n"
    b"Cache-Control: max-age=0\r\nUpgrade-Insecure-Requests: 1\r\n\r\n"
)
CHUNKED = (
    b"POST /up HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
)
COMMON = b"Date: Sun, 22 Nov 2026 12:00:00 GMT\r\nServer: nogilserve\r\n"
BODY = b"Hello, World!"


class _Exchanged(Operation):
    """A request, its body, and a small response."""

    wire = b""

    def __init__(self) -> None:
        self._connection = Http1Connection(Limits(), Tables())
        self._wire = memoryview(self.wire)

    def run(self, count: int) -> None:
        """Receive and respond."""
        connection, wire = self._connection, self._wire
        data = b""
        for _ in range(count):
            connection.receive_data(bytes(wire))  # its own bytes, as from recv()
            connection.next_request()
            while connection.read_body():
                pass
            # As an application would: a new list for each response.
            headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "13")]
            connection.prepare("200 OK", headers)
            data = connection.whole(BODY, COMMON)
            connection.next_cycle()
        require(data.startswith(b"HTTP/1.1 200 OK\r\n") and data.endswith(BODY), data)


class Small(_Exchanged):
    """The same few bytes again and again, which the protocol knows after the second time."""

    wire = SMALL


class Browser(_Exchanged):
    """The same for a head of ten fields."""

    wire = BROWSER


class Upload(_Exchanged):
    """A body in chunks."""

    wire = CHUNKED


class Heads(Operation):
    """A head of ten fields that is parsed each time: of two in turns nothing is remembered."""

    other = BROWSER.replace(b"theme=dark", b"theme=light")

    def __init__(self) -> None:
        self._connection = Http1Connection(Limits(), Tables())
        self._wires = (memoryview(BROWSER), memoryview(self.other))

    def run(self, count: int) -> None:
        """Receive, and answer as shortly as can be."""
        connection, wires = self._connection, self._wires
        fields = 0
        for number in range(count):
            request = connection.receive_request(bytes(wires[number & 1]))
            fields = len(request.headers) if request is not None else 0
            connection.prepare("200 OK", [])
            connection.whole(b"", b"")
            connection.next_cycle()
        require(fields == 10, BROWSER)


class Lines(Heads):
    """The same, but only the request line is another one."""

    other = BROWSER.replace(b"page=2", b"page=12")
