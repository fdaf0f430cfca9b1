"""Requests on every core before anybody else can ask: each thread has bytecode of its own, which is
slow until it was run some times, and applications make many things at the first request.
"""

import contextlib
import http.client
import logging
import socket
import threading
from collections.abc import Sequence
from time import monotonic
from typing import Final

from nogilserve.prepare.plan import Ask, Dial

__all__ = ["TIMES", "USER_AGENT", "Abandoned", "warm_up"]

_log = logging.getLogger("nogilserve")

TIMES: Final = 20
"""Requests for each path and core: after so many a request takes as long as it ever will."""
USER_AGENT: Final = "nogilserve-warmup"
_SECONDS = 30.0
"""What all of it may take; each path has an equal share of what is left when its turn comes."""
_LEAST: Final = 1e-3
"""Seconds for an answer that is there already when the time is over. 0 would not wait at all."""
_BAD: Final = 400
_MOST: Final = 1 << 24
"""Bytes of a body that are read."""


class Abandoned:
    """Connections whose request took too long: nobody waits for the response any more. Any thread.

    They stay open, because their end is how to see that of the request.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []

    def add(self, sock: socket.socket) -> None:
        """Wait for this one no more."""
        sock.setblocking(False)
        with self._lock:
            self._sockets.append(sock)

    def count(self) -> int:
        """How many of the requests are with the application still."""
        with self._lock:
            self._sockets = [sock for sock in self._sockets if _is_silent(sock)]
            return len(self._sockets)

    def close(self) -> None:
        """Give them up."""
        with self._lock:
            for sock in self._sockets:
                sock.close()
            self._sockets = []


def _is_silent(sock: socket.socket) -> bool:
    """Whether the server has neither answered nor hung up; closes it else."""
    try:
        sock.recv(1)
    except BlockingIOError:
        return True
    except OSError:
        pass
    sock.close()
    return False


def warm_up(
    dials: Sequence[Dial], asks: Sequence[Ask], troubles: list[str], abandoned: Abandoned
) -> int:
    """Ask every core for all of it; how many requests were answered well. What goes wrong is
    logged and added to `troubles`, once for each path, and prevents nothing."""
    deadline = monotonic() + _SECONDS
    answered = 0
    for index, ask in enumerate(asks):
        share = max(deadline - monotonic(), 0) / (len(asks) - index)
        good, trouble = _ask_all(dials, ask, share, abandoned)
        answered += good
        if trouble:
            _log.warning("Warming up: %s %s (--warmup)", ask, trouble)
            troubles.append(f"warmup: {ask} {trouble}")
    return answered


def _ask_all(
    dials: Sequence[Dial], ask: Ask, seconds: float, abandoned: Abandoned
) -> tuple[int, str]:
    """All cores at the same time, each the same number of times, one request after the other."""
    deadline = monotonic() + seconds
    good, trouble = 0, ""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(_Client(dial, ask))) for dial in dials]
        for _ in range(TIMES):
            sent = []
            late = False
            for client in clients:
                try:
                    client.send(deadline)
                    sent.append(client)
                except TimeoutError:
                    late = True
                except (OSError, http.client.HTTPException) as exc:
                    trouble = f"was not taken: {_words(exc)}"
            for client in sent:
                try:
                    problem = client.receive(deadline, abandoned)
                except TimeoutError:
                    late = True
                    continue
                except (OSError, http.client.HTTPException) as exc:
                    problem = f"was not answered: {_words(exc)}"
                trouble = problem or trouble
                good += not problem
            if late:
                asked = TIMES * len(dials)
                trouble = (
                    f"is slow: {good} of {asked} answers in its share of time, {seconds:.3g} s"
                )
            if trouble:
                break
    return good, trouble


def _words(exc: Exception) -> str:
    return str(exc) or type(exc).__name__


class _Client:
    """Asks one core. Owner: the thread that made it."""

    def __init__(self, dial: Dial, ask: Ask) -> None:
        self._dial = dial
        self._ask = ask
        self._connection = http.client.HTTPConnection(ask.host)

    def send(self, deadline: float) -> None:
        """Begin a request, on the connection that was kept if there is one."""
        connection = self._connection
        if connection.sock is None:
            connection.sock = self._dial()
        left = deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        connection.sock.settimeout(left)
        connection.request("GET", self._ask.path, headers={"User-Agent": USER_AGENT})

    def receive(self, deadline: float, abandoned: Abandoned) -> str:
        """Wait for the response; what is wrong with it."""
        connection = self._connection
        connection.sock.settimeout(max(deadline - monotonic(), _LEAST))
        try:
            response = connection.getresponse()
        except TimeoutError:
            abandoned.add(connection.sock)
            connection.sock = None  # it is not to be closed
            raise
        response.read(_MOST)
        if not response.isclosed():
            connection.close()
        if response.status >= _BAD:
            return f"was answered with {response.status} {response.reason}".rstrip()
        return ""

    def close(self) -> None:
        """Give up the connection."""
        self._connection.close()
