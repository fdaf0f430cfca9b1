"""Rounds of chaos on the whole server, in a process of its own; after each the invariants."""

import json
import random
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Final

from nogilserve.engine.poller import POLLERS
from stress.clients import TEMPERS, Mistake, Tally, Visitor
from tests.support.waiting import wait_until
from tests.support.wire import Client

__all__ = ["CLIENTS", "ROUND", "play"]

ROOT: Final = Path(__file__).resolve().parents[1]
SECONDS: Final = 20.0
ROUND: Final = 3.0
"""Seconds of chaos in one round; each has a server of its own."""
LAZY: Final = 6
CLIENTS: Final = 12
"""Client threads."""


class Server:
    """A `stress.server` process. Owner: the main thread."""

    def __init__(self, shape: list[str]) -> None:
        command = [sys.executable, "-m", "stress.server", *shape]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.at_start = self._answer()
        self.address = ("127.0.0.1", int(self.at_start["port"]))

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Mistake(f"the server died with status {self.process.wait(SECONDS)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def tell(self, command: str) -> dict[str, Any]:
        """Send a command; its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._answer()

    def stacks(self) -> None:
        """Have it write the stacks of all its threads to standard error."""
        with suppress(Mistake, OSError, ValueError):
            print("state of the server:", self.tell("stacks"), flush=True)


def visit(visitor: Visitor, until: float, mistakes: list[str], stopping: threading.Event) -> None:
    """The body of a client thread: one temper after the other until the time is over."""
    names = list(TEMPERS)
    weights = [weight for _, weight in TEMPERS.values()]
    while monotonic() < until and not mistakes:
        [name] = visitor.random.choices(names, weights)
        try:
            TEMPERS[name][0](visitor)
        except Exception as exc:
            if stopping.is_set() and not isinstance(exc, (Mistake, TimeoutError)):
                return  # the server ends, and with it idle connections
            mistakes.append(f"{name}: {type(exc).__name__}: {exc}")
            return


def meet(server: Server, threads: int) -> None:
    """As many requests as there are threads wait for each other: none was lost."""
    with ExitStack() as stack:
        group = [stack.enter_context(Client(server.address, SECONDS)) for _ in range(threads)]
        for client in group:
            head = f"GET /meet/m/{threads} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            client.send(head.encode())
        answers = [client.receive().status for client in group]
    if answers != [200] * threads:
        raise Mistake(f"{threads} requests did not meet inside the application: {answers}")


def check_idle(server: Server, tally: Tally, threads: int) -> None:
    """What must be so when all clients have gone. `threads`: how many requests may meet inside the
    application; 0: event loops, which are not threads of requests."""
    seen: dict[str, Any] = {}

    def idle() -> bool:
        seen.update(server.tell("state"))
        return bool(seen["connections"] == 0 and seen["active"] == 0)

    try:
        wait_until(idle, SECONDS)
        # Event loops open some when they are first needed, and keep them.
        most = server.at_start["descriptors"] + (0 if threads else LAZY)
        wait_until(lambda: idle() and seen["descriptors"] <= most, 2.0)
    except TimeoutError:
        raise Mistake(f"connections or descriptors stay: {seen}") from None
    opened, answered = tally.counts["connections"], tally.counts.get("answered", 0)
    wrong = [
        name
        for name, right in {
            "every accepted connection is closed": seen["accepted"] == seen["closed"],
            "no more accepted than opened": seen["accepted"] <= opened,
            "at least what was answered was run": seen["requests"] >= answered,
            "no thread came or went": seen["threads"] == server.at_start["threads"],
            "bad requests were counted": sum(seen["refused"].values())
            >= tally.counts.get("refused", 0),
        }.items()
        if not right
    ]
    if wrong:
        raise Mistake(f"not so: {'; '.join(wrong)}: {seen}, clients {tally.counts}")
    if threads:
        meet(server, threads)


def play(number: int, seed: str, seconds: float, clients: int = CLIENTS) -> dict[str, int]:
    """One round; what the clients counted. Its number and seed draw the server's shape and what the
    clients do. Raises Mistake."""
    dice = random.Random(f"{seed} {number}")
    threads = dice.choice([1, 2, 3, 4, 8, 16])
    cores = dice.randint(1, min(threads, 3))
    poller = dice.choice(list(POLLERS))
    keep_alive = dice.choice([5.0, 30.0])
    under_load = dice.random() < 0.4
    engine = dice.choice(["wsgi", "wsgi", "asgi"])
    print(
        f"round {number}: {engine}, {threads} threads on {cores} cores, {poller}, "
        f"keep-alive {keep_alive:g} s, {'stopped under load' if under_load else 'left in peace'}",
        flush=True,
    )
    server = Server([engine, str(threads), str(cores), poller, str(keep_alive)])
    tally, mistakes, stopping = Tally(), list[str](), threading.Event()
    until = monotonic() + seconds
    running = [
        threading.Thread(
            target=visit,
            args=(
                Visitor(server.address, f"{seed} {number} {index}", tally),
                until + 5 * under_load,
                mistakes,
                stopping,
            ),
            daemon=True,
        )
        for index in range(clients)
    ]
    try:
        for thread in running:
            thread.start()
        if under_load:
            threading.Event().wait(seconds)
            stopping.set()
        else:
            for thread in running:
                thread.join(seconds + SECONDS)
            check_mistakes(mistakes, running)
            check_idle(server, tally, threads if engine == "wsgi" else 0)
        end = server.tell("stop")
        for thread in running:
            thread.join(SECONDS)
        check_mistakes(mistakes, running)
        if not end["ended"] or end["connections"]:
            raise Mistake(f"the server did not come to an end: {end}")
        if server.process.wait(SECONDS):
            raise Mistake(f"the server ended with status {server.process.returncode}")
    except BaseException:
        server.stacks()
        raise
    finally:
        server.process.kill()
        server.process.wait(SECONDS)
        for pipe in (server.process.stdin, server.process.stdout):
            if pipe is not None:
                pipe.close()
    return tally.counts


def check_mistakes(mistakes: list[str], running: list[threading.Thread]) -> None:
    """Raise what the clients have found."""
    if mistakes:
        raise Mistake("\n".join(mistakes))
    if any(thread.is_alive() for thread in running):
        raise Mistake("a client waits for ever")
