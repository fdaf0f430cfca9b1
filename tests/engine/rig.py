"""A core whose driver is the test itself, so that every step happens when the test says so."""

import http.client
import io
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from time import monotonic
from types import TracebackType
from typing import Any, Self

from nogilserve.engine.connection import Connection
from nogilserve.engine.core import Core
from nogilserve.engine.scheduler import Spares
from nogilserve.engine.settings import Settings
from nogilserve.engine.shares import Shares
from nogilserve.errors import ClientDisconnected
from nogilserve.messages import Exchange, RequestRecord
from tests.engine.threads import SECONDS
from tests.support.waiting import Deadline

__all__ = ["Peer", "Rig", "echo", "get", "post", "read_all", "reply"]

Route = Callable[[Exchange], None]


def reply(exchange: Exchange, body: bytes = b"hello", *fields: tuple[str, str]) -> None:
    """What most applications do."""
    exchange.prepare("200 OK", list(fields))
    exchange.send_whole(body)


def get(target: str = "/", *fields: str, method: str = "GET", minor: int = 1) -> bytes:
    """The bytes of a request without a body, or of the head of one with a body."""
    return "\r\n".join(
        [f"{method} {target} HTTP/1.{minor}", "Host: test", *fields, "", ""]
    ).encode()


def echo(exchange: Exchange) -> None:
    """The body of the request is that of the response."""
    body = exchange.open_body().read()
    reply(exchange, body, ("X-Received", str(exchange.received)))


def post(body: bytes, *fields: str, target: str = "/echo") -> bytes:
    """A request with a body."""
    return get(target, f"Content-Length: {len(body)}", *fields, method="POST") + body


class Answer:
    """A response as the client got it."""

    def __init__(self, head: http.client.HTTPResponse, body: bytes) -> None:
        self.status = head.status
        self.headers = {name.lower(): value for name, value in head.getheaders()}
        self.body = body


class _Source:
    """What http.client takes for a socket."""

    def __init__(self, data: io.BytesIO) -> None:
        self._data = data

    def makefile(self, _mode: str) -> "_Unclosed":
        return _Unclosed(self._data)


class _Unclosed(io.BufferedReader):
    """Leaves the rest of the data to the next response."""

    def __init__(self, data: io.BytesIO) -> None:
        super().__init__(data, 1)

    def close(self) -> None:
        pass


class Peer:
    """The client's side of a connection. Reads never wait: all has happened already."""

    def __init__(self, sock: socket.socket, connection: Connection) -> None:
        self.sock = sock
        self.connection = connection
        self.closed = False
        """The server has closed its side."""

    def send(self, data: bytes) -> Self:
        """Send; the test's buffers are large enough for what it sends."""
        self.sock.setblocking(True)
        self.sock.settimeout(10)
        self.sock.sendall(data)
        self.sock.setblocking(False)
        return self

    def taken(self, limit: int = 1 << 30) -> bytes:
        """The bytes that have arrived."""
        data = bytearray()
        try:
            while len(data) < limit:
                piece = self.sock.recv(min(65536, limit - len(data)))
                if not piece:
                    self.closed = True
                    break
                data += piece
        except BlockingIOError:
            pass
        except ConnectionError:
            self.closed = True
        return bytes(data)

    def answers(self, *methods: str) -> list[Answer]:
        """The complete responses that have arrived, for GET if not said otherwise."""
        return parse(self.taken(), *methods)

    def answer(self, method: str = "GET") -> Answer:
        """The one response that has arrived."""
        answers = self.answers(method)
        assert len(answers) == 1, f"{len(answers)} responses"
        return answers[0]

    def bodies(self) -> list[bytes]:
        """The bodies of the responses that have arrived."""
        return [answer.body for answer in self.answers()]

    def busy(self) -> bool:
        """Whether a request of it is with the application."""
        return self.connection.busy

    def ended(self) -> bool:
        """Whether the server has closed; nothing else may have arrived."""
        assert self.taken() == b""
        return self.closed


def parse(data: bytes, *methods: str) -> list[Answer]:
    """Bytes as responses, one after the other."""
    stream = io.BytesIO(data)
    waiting = list(methods)
    answers = []
    while stream.tell() < len(data):
        source: Any = _Source(stream)
        head = http.client.HTTPResponse(source, method=waiting.pop(0) if waiting else "GET")
        head.begin()
        answers.append(Answer(head, head.read()))
    return answers


def read_all(rig: "Rig", peer: Peer, until: Callable[[bytes], bool]) -> bytes:
    """Read as a slow client does, the core writing on in between."""
    data = b""
    deadline = Deadline(SECONDS)
    while not until(data) and not peer.closed:
        deadline.require(f"{len(data)} bytes and no end")
        data += peer.taken(1 << 16)
        assert rig.drive()
    return data


class Rig:
    """One core and its connections. Owner: the test's thread, which holds the core's lock."""

    def __init__(
        self,
        routes: dict[str, Route] | None = None,
        *,
        lazy: int = 2,
        keep_alive: float = 5.0,
        record: bool = False,
        poller: str = "auto",
        write_timeout: float = 60.0,
    ) -> None:
        self.routes: dict[str, Route] = {"/": reply} | (routes or {})
        self.ran: list[str] = []
        """Targets of the requests that were run, in the order of their beginnings."""
        self.records: list[RequestRecord] = []
        self.disconnected: list[ClientDisconnected] = []
        """What routes were told about clients that are gone."""
        self.breaking = False
        """Whether taking a record fails: an internal error in the middle of a connection's work."""
        self.rung = 0
        self._errors: list[BaseException] = []
        self.spares = Spares()
        self.shares = Shares(1)
        self.lazy = threading.Semaphore(lazy)
        settings = Settings(
            threads=4,
            cores=1,
            gateway=lambda: self._run,
            keep_alive=keep_alive,
            write_timeout=write_timeout,
            poller=poller,
            record=self._record if record else None,
        )
        self.core = Core(0, settings, self.shares, self.spares, self.lazy, self._ring)
        self.core.unwatched = False
        self.core.lock.acquire()
        self._peers = ExitStack()

    def _record(self, record: RequestRecord) -> None:
        if self.breaking:
            raise RuntimeError("the access log is broken")
        self.records.append(record)

    def _ring(self) -> None:
        self.rung += 1

    def _run(self, exchange: Exchange) -> None:
        self.ran.append(exchange.request.target)
        route = self.routes.get(exchange.request.path)
        try:
            if route is not None:
                route(exchange)
            else:
                reply(exchange, exchange.request.target.encode())
        except ClientDisconnected as exc:
            self.disconnected.append(exc)
            exchange.abort()
        except BaseException as exc:
            self._errors.append(exc)
            raise

    def connect(self, *, tcp: bool = False, receive_buffer: int = 0) -> Peer:
        """A new connection of the core and its client."""
        if tcp:
            with socket.socket() as listener:
                if receive_buffer:
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, receive_buffer)
                listener.bind(("127.0.0.1", 0))
                listener.listen()
                theirs = socket.socket()
                theirs.settimeout(10)
                theirs.connect(listener.getsockname())
                ours = listener.accept()[0]
            ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            ours, theirs = socket.socketpair()
            if receive_buffer:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, receive_buffer)
        ours.setblocking(False)
        theirs.setblocking(False)
        self._peers.enter_context(theirs)
        self.shares.assign(0)
        if self.core.tables is None:
            assert self.drive()
        connection = Connection(self.core, ours, ("192.0.2.1", "1234"), ("localhost", "80"))
        connection.start(self.core)
        return Peer(theirs, connection)

    def drive(self) -> bool:
        """Do everything that is to be done now. False: the core was lost.

        It ends because helping (that is, with `until`) `drive` returns when nothing is ready.
        What a route raised is raised here.
        """
        held = self.core.drive(home=False, until=monotonic() + SECONDS)
        if self._errors:
            raise self._errors.pop()
        return held

    def steal(self) -> None:
        """Take the core away from the thread that is inside the application, as a spare would."""
        assert self.core.lock.acquire(blocking=False), "the core was not offered"

    def look_after(self, seconds: float) -> None:
        """What the core would do that many seconds from now, without an event until then."""
        core, moment = self.core, monotonic() + seconds
        assert core.lock.locked()
        for item in core.wheel.expire(moment):
            item.on_deadline(core)

    def stop(self) -> None:
        """What the runtime has a core do when the engine stops, after accepting has ended."""
        self.core.stopping = True
        for entry in list(self.core.table.values()):
            if isinstance(entry, Connection):
                self.core.submit(entry.stop)
        assert self.drive()

    @property
    def refused(self) -> dict[str, int]:
        """Refusals by reason."""
        return self.core.counters.refused

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        core = self.core
        if kind is None:
            assert core.lock.locked(), "the test has lost the core"
        for entry in list(core.table.values()):
            if isinstance(entry, Connection):
                entry.close(core)
        self._peers.close()
        core.close()
        if kind is None:
            assert core.connections == 0
            assert core.held == 0
            assert self.shares.counts() == (0,)
