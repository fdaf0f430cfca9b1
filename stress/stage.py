"""The thread runtime in a world, a WSGI application, and clients whose every answer is checked."""

import os
import select
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from nogilserve.engine.settings import Settings
from nogilserve.gateways.wsgi import WsgiGateway
from nogilserve.runtimes.contract import Served
from nogilserve.runtimes.threads import ThreadRuntime
from stress.staging import staged
from stress.stand_ins import ThreadHere
from stress.world import JUMP, Failure, World

__all__ = ["STREAMS", "Gone", "Guest", "Reply", "Stage", "on_threads", "perform", "piece"]

PIECE: Final = 16_384
STREAMS: Final = ("stream", "drip", "break", "duplex")
"""Kinds of requests that are answered in pieces."""
STOP: Final = 600.0
"""Seconds of the world."""
LONGEST_STOP: Final = 15.0
"""Seconds after which what is left would be cut off: nobody here keeps a server waiting so long."""


class Gone(Exception):
    """The server has ended the connection."""


@dataclass(frozen=True)
class Reply:
    """A response. Immutable."""

    status: int
    fields: dict[str, str]
    body: bytes
    seconds: float
    """Of the world, since it was waited for."""


@dataclass(frozen=True)
class _Listening:
    socket: socket.socket
    server: tuple[str, str] = ("stage", "80")
    role: str = "tls"


class Guest:
    """A client. Owner: its actor."""

    def __init__(self, stage: "Stage", receive_buffer: int = 0) -> None:
        self.stage = stage
        self.world = stage.world
        self.sock = socket.socket(socket.AF_UNIX)
        stage.keep(self.sock)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.setblocking(False)
        self.world.point("client.connect")
        self.sock.connect(stage.path)
        stage.counts["connections"] += 1
        self._data = b""

    def send(self, data: bytes) -> None:
        """Send all of it."""
        while data:
            self.world.point("client.send")
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                self.world.wait("client.send.wait", partial(writable, self.sock))
            except OSError as exc:
                raise Gone from exc

    def ask(self, kind: str, number: int = 0, *, fields: str = "", body: bytes = b"") -> str:
        """Send a request; its nonce."""
        nonce = self.stage.nonce()
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"GET /{kind}/{nonce}/{number} HTTP/1.1\r\nHost: a\r\n{length}{fields}\r\n"
        self.send(head.encode() + body)
        return nonce

    def _receive(self) -> bytes:
        """What comes next on the socket. Raises Gone."""
        self.world.wait("client.receive", partial(readable, self.sock))
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionError as exc:
            raise Gone from exc
        if not data:
            raise Gone
        return data

    def _more(self) -> None:
        self._data += self._receive()

    def _until(self, end: bytes) -> bytes:
        while end not in self._data:
            self._more()
        piece, _, self._data = self._data.partition(end)
        return piece

    def _exactly(self, count: int) -> bytes:
        while len(self._data) < count:
            self._more()
        piece, self._data = self._data[:count], self._data[count:]
        return piece

    def receive(self) -> Reply:
        """The next final response. Raises Gone."""
        began = self.world.now
        while True:
            lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            status = int(lines[0].split()[1])
            if status >= 200:
                break
        fields = {line.split(": ")[0].lower(): line.split(": ")[1] for line in lines[1:]}
        if "content-length" in fields:
            body = self._exactly(int(fields["content-length"]))
        else:
            body = b"".join(self._chunks())
        return Reply(status, fields, body, self.world.now - began)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._until(b"\r\n"), 16):
            yield self._exactly(size)
            self._exactly(2)
        self._exactly(2)

    def expect(self, nonce: str, body: bytes | None = None, within: float = STOP) -> Reply:
        """The answer to that request and no other. A failure of the world if it is not."""
        try:
            reply = self.receive()
        except Gone:
            reply = Reply(0, {}, b"the end of the connection", 0.0)
        if reply.status != 200 or reply.fields.get("x-nonce") != nonce:
            self.world.fail(f"request {nonce} was answered with {reply}"[:300])
        if reply.body != (nonce.encode() if body is None else body):
            self.world.fail(f"request {nonce} got another body: {reply.body[:80]!r}")
        if reply.seconds > within:
            self.world.fail(f"request {nonce} took {reply.seconds:.3f} s, more than {within} s")
        self.stage.counts["answered"] += 1
        return reply

    def leave(self) -> None:
        """Close."""
        self.world.point("client.close")
        self.sock.close()


def readable(sock: socket.socket) -> bool:
    """Whether there is something to read, or the end."""
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def writable(sock: socket.socket) -> bool:
    """Whether something could be sent."""
    return bool(select.select([], [sock], [], 0)[1])


class Stage:
    """One runtime, its application and its guests. Owner: whoever has the baton."""

    def __init__(
        self,
        world: World,
        build: "Callable[[Stage], Any]",
        threads: int,
        client: type[Guest] = Guest,
    ) -> None:
        """`build` makes the runtime; `threads`: how many may be inside the application; `client`:
        what guests are."""
        self.world = world
        self.client = client
        self.counts: Counter[str] = Counter()
        self.inside = 0
        self.most_inside = 0
        self._stack = ExitStack()
        self._numbers = 0
        self._began: Counter[str] = Counter()
        """How often each request was given to the application."""
        self._before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="stress-"))
        self.path = os.path.join(folder, "s")
        listener = self.keep(socket.socket(socket.AF_UNIX))
        listener.bind(self.path)
        listener.listen(64)
        listener.setblocking(False)
        self._listener = listener
        self.threads = threads
        """How many may be inside the application."""
        self.runtime = build(self)
        self._drained = False

    def keep[Thing](self, thing: AbstractContextManager[Thing]) -> Thing:
        """A socket or file that is closed at the end."""
        return self._stack.enter_context(thing)

    def nonce(self) -> str:
        """A name for a request."""
        self._numbers += 1
        return f"n{self._numbers}"

    # ---- the application

    def application(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """/KIND/NONCE/NUMBER"""
        world = self.world
        kind, nonce, number = environ["PATH_INFO"][1:].split("/")
        amount = int(number)
        self.enter(nonce)
        try:
            world.point("application")
            body = nonce.encode()
            if kind == "sleep":
                world.sleep("application.sleep", amount / 1000)
            elif kind == "compute":
                for _ in range(amount):
                    world.point("application.compute")
            elif kind == "upload":
                body = b"%d" % len(environ["wsgi.input"].read())
            elif kind == "big":
                body = nonce.encode() * amount
            elif kind == "error":
                raise RuntimeError("on purpose")
            fields = [("X-Nonce", nonce)]
            if kind in STREAMS:
                start_response("200 OK", fields)
                return self._pieces(kind, nonce, amount)
            start_response("200 OK", [*fields, ("Content-Length", str(len(body)))])
            return [body]
        finally:
            self.inside -= 1

    def enter(self, nonce: str) -> None:
        """The application is called with this request."""
        me = self.world.me()
        if me.holds:
            self.world.fail(f"the application is called with {me.holds} held")
        self._began[nonce] += 1
        if self._began[nonce] > 1:
            self.world.fail(f"request {nonce} was given to the application twice")
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        if self.inside > self.threads:
            self.world.fail(f"{self.inside} threads are inside the application")

    def _pieces(self, kind: str, nonce: str, amount: int) -> Iterator[bytes]:
        for number in range(amount):
            self.world.point("application.piece")
            if kind == "drip":
                self.world.sleep("application.drip", 0.001)
            yield piece(nonce, number)
        if kind == "break":
            raise RuntimeError("on purpose, in the middle")

    def was_run(self, nonce: str) -> bool:
        """Whether the application has got that request."""
        return bool(self._began[nonce])

    # ---- the play

    def play(
        self, *guests: Callable[["Stage"], None], meanwhile: Callable[["Stage"], None] | None = None
    ) -> None:
        """Have the guests come, `meanwhile` happen, then drain and look. The first actor's body."""
        world = self.world
        self.runtime.start([_Listening(self._listener)])
        visitors = [
            ThreadHere(world, partial(guest, self), f"guest-{number}")
            for number, guest in enumerate(guests)
        ]
        for visitor in visitors:
            visitor.start()
        if meanwhile is not None:
            meanwhile(self)
        for visitor in visitors:
            visitor.join()
        self.drain()
        self._check()

    def drain(self) -> None:
        """Stop the runtime in order; once."""
        if self._drained:
            return
        self._drained = True
        began = self.world.now
        self.runtime.drain(self._listener.close)
        if not self.runtime.join(began + STOP):
            self.world.fail(f"the runtime does not end: {self.world.describe()}")
        if self.world.now > began + LONGEST_STOP:
            self.world.fail(f"the runtime needed {self.world.now - began:.1f} s to end")

    def _check(self) -> None:
        state = self.runtime.snapshot()
        runs = sum(self._began.values())
        wrong = [
            text
            for text, right in {
                "connections stay": state["connections"] == 0,
                "requests stay active": state["active"] == 0,
                "accepted and closed differ": state["accepted"] == state["closed"],
                "more accepted than connected": state["accepted"] <= self.counts["connections"],
                f"not every run is counted: {runs}": state["requests"] == runs,
                "somebody is inside": self.inside == 0,
            }.items()
            if not right
        ]
        if wrong:
            self.world.fail(f"{'; '.join(wrong)}: {state}, guests {dict(self.counts)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        if self.world.failures:
            self._clear_away()
        elif kind is None and os.path.isdir("/proc/self/fd"):
            after = len(os.listdir("/proc/self/fd"))
            if after > self._before:
                self.world.failures.append(f"{after - self._before} descriptors stay")

    def _clear_away(self) -> None:
        """After a failure nobody else closes what was open. All actors have ended."""
        for close in self.world.closers:
            close()
        if (dispatcher := getattr(self.runtime, "_dispatcher", None)) is not None:
            for thing in (dispatcher._poller, dispatcher._reader, dispatcher._writer):
                thing.close()
        if (left := getattr(self.runtime, "_driverless", None)) is not None:
            left.close()
        for core in self.world.made:
            for task in core._inbox:
                if getattr(getattr(task, "func", None), "__name__", "") == "adopt_moved":
                    os.close(task.args[0])  # accepted, on its way to its core
            entries = [*core.table.values()]
            entries += [getattr(entry, "connection", None) for entry in entries]
            for entry in (*entries, core):
                for name in ("sock", "_outbox", "_body", "_reader", "_writer"):
                    thing = getattr(entry, name, None)
                    if thing is not None:
                        thing.close()
            core.poller.close()


def on_threads(settings: Settings, stage: Stage) -> ThreadRuntime:
    """A thread runtime for the stage's application."""
    settings = replace(settings, gateway=lambda: WsgiGateway(stage.application, "stage").run)
    runtime = ThreadRuntime(settings, Served("stage", "wsgi", "threads"))
    runtime._monitor._blocked = stage.world.is_blocked
    return runtime


def piece(nonce: str, number: int) -> bytes:
    """A piece of a streamed body."""
    seed = f"{nonce}:{number};".encode()
    return (seed * (PIECE // len(seed) + 1))[:PIECE]


def perform(
    world: World,
    build: Callable[[Stage], Any],
    threads: int,
    *guests: Callable[[Stage], None],
    meanwhile: Callable[[Stage], None] | None = None,
    jump: float = JUMP,
    client: type[Guest] = Guest,
) -> None:
    """One execution. Raises Failure."""
    world.jump = jump
    with staged(world), Stage(world, build, threads, client) as stage:
        world.spawn("main", partial(stage.play, *guests, meanwhile=meanwhile))
        world.run()
    if world.failures:
        raise Failure(world.failures[0])
