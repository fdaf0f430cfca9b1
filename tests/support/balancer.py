"""A plain TCP balancer: passes bytes on, and knows nothing of what they mean."""

import contextlib
import socket
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

__all__ = ["Balancer"]

Address = tuple[str, int]


class Balancer:
    """Listens on several ports; each connection goes to the next backend of its port in turn, or
    to one after it where that cannot be reached. Any thread may change `backends`."""

    def __init__(self, backends: dict[int, Sequence[Address]]) -> None:
        """`backends`: by port of 127.0.0.1."""
        self.backends = dict(backends)
        self.turn = 0
        self.lock = threading.Lock()
        self.open: set[socket.socket] = set()
        """Under the lock, like `turn` and `threads`."""
        self.threads: list[threading.Thread] = []
        self.listeners = {port: socket.create_server(("127.0.0.1", port)) for port in backends}

    def _accept(self, port: int, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._start(self._pass_on, client, port)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        with self.lock:
            self.threads.append(thread)
        thread.start()

    def _connect(self, port: int) -> socket.socket | None:
        backends = list(self.backends[port])
        with self.lock:
            self.turn += 1
            turn = self.turn % len(backends)
        for address in backends[turn:] + backends[:turn]:
            with contextlib.suppress(OSError):
                return socket.create_connection(address, 2)
        return None

    def _pass_on(self, client: socket.socket, port: int) -> None:
        server = self._connect(port)
        if server is None:
            client.close()
            return
        server.settimeout(None)
        with self.lock:
            self.open |= {client, server}
        other = threading.Thread(target=_copy, args=(server, client), daemon=True)
        other.start()
        _copy(client, server)
        other.join()
        with self.lock:
            self.open -= {client, server}
        client.close()
        server.close()

    def __enter__(self) -> Self:
        for port, listener in self.listeners.items():
            self._start(self._accept, port, listener)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for sock in self.listeners.values():
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        with self.lock:
            for sock in self.open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)
        for sock in self.listeners.values():
            sock.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Until the source ends; then so does the target's other direction."""
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
