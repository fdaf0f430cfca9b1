"""The load generator for WebSockets: many connections, each with one message under way.

`python -m benchmarks.wsload URL CONNECTIONS SECONDS BYTES` writes a line like wrk with our script.
The frames it sends are made beforehand, and what comes back is not copied together, because what is
measured is the server: read its processor time per message, for this client is written in Python
and shares the machine.
"""

import json
import selectors
import socket
import sys
import time
from urllib.parse import urlsplit

from benchmarks.wrk import Load, WrkResult, run_command

__all__ = ["main", "run"]

MASK = b"\x11\x92\xf3\x54"
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
BINARY, CONTINUATION, PING, PONG = 0x2, 0x0, 0x9, 0xA
DEADLINE = 10.0  # seconds that one message may take before it counts as lost


class Broken(Exception):
    """The server said something that no echo would say."""


def frame(opcode: int, payload: bytes) -> bytes:
    """A masked frame (RFC 6455 §5.2)."""
    size = len(payload)
    head = bytes([0x80 | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += b"\xfe" + size.to_bytes(2)
    else:
        head += b"\xff" + size.to_bytes(8)
    pad = (MASK * (size // 4 + 1))[:size]
    return head + MASK + bytes(a ^ b for a, b in zip(payload, pad, strict=True))


class Connection:
    """One WebSocket. Owner: the main thread."""

    __slots__ = ("buffer", "left", "payload", "seen", "sent", "sock", "verify")

    def __init__(self, address: tuple[str, int], path: str, payload: bytes) -> None:
        self.payload = payload
        self.verify = True
        """The first message is compared byte for byte, later ones by their size."""
        self.buffer = b""
        self.left = 0
        """Bytes of the current frame that are still to come."""
        self.seen = 0
        """Bytes of the current message so far."""
        self.sent = 0.0
        self.sock = socket.create_connection(address, DEADLINE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(HANDSHAKE.format(path=path).encode())
        while b"\r\n\r\n" not in self.buffer:
            data = self.sock.recv(4096)
            if not data:
                raise Broken(f"no handshake: {self.buffer[:80]!r}")
            self.buffer += data
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise Broken(f"no upgrade: {head[:80]!r}")

    def received(self, data: bytes) -> bool:
        """Take what has come; whether the message is complete."""
        if self.buffer:
            data, self.buffer = self.buffer + data, b""
        at = 0
        while at < len(data):
            if self.left:
                taken = min(self.left, len(data) - at)
                if self.verify and data[at : at + taken] != self._expected(taken):
                    raise Broken("an echo that differs from what was sent")
                self.left -= taken
                self.seen += taken
                at += taken
                continue
            size = self._begin(data, at)
            if not size:
                self.buffer = data[at:]
                break
            at += size
        if self.seen < len(self.payload):
            return False
        self.seen = 0
        self.verify = False
        return True

    def _expected(self, count: int) -> bytes:
        return self.payload[self.seen : self.seen + count]

    def _begin(self, data: bytes, at: int) -> int:
        """Read a frame's header, or a whole control frame; its size, 0 if it is not all there."""
        if len(data) - at < 2:
            return 0
        opcode, length = data[at] & 0x0F, data[at + 1]
        more = {126: 2, 127: 8}.get(length, 0)
        if len(data) - at < 2 + more:
            return 0
        if more:
            length = int.from_bytes(data[at + 2 : at + 2 + more])
        if opcode in (BINARY, CONTINUATION):
            self.left = length
            return 2 + more
        if opcode not in (PING, PONG):
            raise Broken(f"a frame of kind {opcode}")
        if len(data) - at < 2 + length:
            return 0
        if opcode == PING:
            self.sock.sendall(frame(PONG, data[at + 2 : at + 2 + length]))
        return 2 + length


def _percentile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] * 1e6 if values else 0.0


def load(url: str, connections: int, seconds: float, size: int) -> dict[str, object]:
    """Echo messages for so long; the result in wrk's terms."""
    parts = urlsplit(url)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    payload = bytes(range(256)) * (size // 256) + b"n" * (size % 256)
    message = frame(BINARY, payload)
    clients = [Connection(address, parts.path or "/", payload) for _ in range(connections)]
    selector = selectors.DefaultSelector()
    took: list[float] = []
    errors = 0
    began = time.perf_counter()
    for client in clients:
        client.sent = began
        client.sock.sendall(message)
        selector.register(client.sock, selectors.EVENT_READ, client)
    now, end = began, began + seconds
    while now < end and selector.get_map():
        for key, _ in selector.select(min(DEADLINE, end - now)):
            client = key.data
            try:
                data = client.sock.recv(1 << 18)
                complete = bool(data) and client.received(data)
                if complete:
                    now = time.perf_counter()
                    took.append(now - client.sent)
                    client.sent = now
                    client.sock.sendall(message)
            except (OSError, Broken) as error:
                print(error, file=sys.stderr)
                data = b""
            if not data:
                errors += 1
                selector.unregister(client.sock)
        now = time.perf_counter()
    elapsed = now - began
    lost = sum(now - key.data.sent > DEADLINE for key in selector.get_map().values())
    for client in clients:
        client.sock.close()
    selector.close()
    took.sort()
    return {
        "requests": len(took),
        "duration_us": elapsed * 1e6,
        "bytes": len(took) * size,
        "connect": 0,
        "read": errors,
        "write": 0,
        "status": 0,
        "timeout": lost,
        "mean_us": sum(took) / len(took) * 1e6 if took else 0.0,
        "p50_us": _percentile(took, 0.5),
        "p90_us": _percentile(took, 0.9),
        "p99_us": _percentile(took, 0.99),
        "p999_us": _percentile(took, 0.999),
        "max_us": _percentile(took, 1),
    }


def run(asked: Load) -> WrkResult:
    """Run this module in a process of its own; WrkError when it fails or hangs."""
    numbers = [str(asked.connections), str(asked.seconds), str(asked.message_bytes)]
    return run_command([sys.executable, "-m", "benchmarks.wsload", asked.url, *numbers], asked)


def main() -> None:
    """The command line."""
    url, connections, seconds, size = sys.argv[1:]
    print("RESULT " + json.dumps(load(url, int(connections), float(seconds), int(size))))


if __name__ == "__main__":
    main()
