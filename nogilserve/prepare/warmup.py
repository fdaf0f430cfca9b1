"""Requests on every core before anybody else can ask: each thread has bytecode of its own, which is
slow until it was run some times, and applications make many things at the first request.
"""

import contextlib
import http.client
import logging
from collections.abc import Sequence
from time import monotonic
from typing import Final

from nogilserve.prepare.plan import Ask, Dial

__all__ = ["TIMES", "USER_AGENT", "warm_up"]

_log = logging.getLogger("nogilserve")

TIMES: Final = 20
"""Requests for each path and core: after so many a request takes as long as it ever will."""
USER_AGENT: Final = "nogilserve-warmup"
_SECONDS: Final = 30.0
"""What all of it may take; what is not answered by then is left."""
_BAD: Final = 400
_MOST: Final = 1 << 24
"""Bytes of a body that are read."""


class _Gone(Exception):
    """No further request on a connection."""


def warm_up(dials: Sequence[Dial], asks: Sequence[Ask], troubles: list[str]) -> int:
    """Ask every core for all of it; how many requests were answered well. What goes wrong is
    logged and added to `troubles`, once for each path, and prevents nothing."""
    deadline = monotonic() + _SECONDS
    answered = 0
    for ask in asks:
        good, trouble = _ask_all(dials, ask, deadline)
        answered += good
        if trouble:
            _log.warning("Warming up: %s %s (--warmup)", ask, trouble)
            troubles.append(f"warmup: {ask} {trouble}")
    return answered


def _ask_all(dials: Sequence[Dial], ask: Ask, deadline: float) -> tuple[int, str]:
    """All cores at the same time, each the same number of times, one request after the other."""
    good, trouble = 0, ""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(_Client(dial, ask))) for dial in dials]
        for _ in range(TIMES):
            sent = []
            for client in clients:
                try:
                    client.send(deadline)
                    sent.append(client)
                except (OSError, http.client.HTTPException) as exc:
                    trouble = f"was not taken: {exc!r}"
            for client in sent:
                try:
                    problem = client.receive(deadline)
                except TimeoutError:
                    return good, f"was not answered within the {_SECONDS:g} s that there are"
                except (OSError, http.client.HTTPException) as exc:
                    problem = f"was not answered: {exc!r}"
                trouble = problem or trouble
                good += not problem
            if trouble:
                break
    return good, trouble


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
        _wait_until(connection, deadline)
        connection.request("GET", self._ask.path, headers={"User-Agent": USER_AGENT})

    def receive(self, deadline: float) -> str:
        """Wait for the response; what is wrong with it."""
        connection = self._connection
        _wait_until(connection, deadline)
        response = connection.getresponse()
        response.read(_MOST)
        if not response.isclosed():
            connection.close()
        if response.status >= _BAD:
            return f"was answered with {response.status} {response.reason}".rstrip()
        return ""

    def close(self) -> None:
        """Give up the connection."""
        self._connection.close()


def _wait_until(connection: http.client.HTTPConnection, deadline: float) -> None:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    connection.sock.settimeout(left)
