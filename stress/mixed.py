"""Mixed traffic for a long time: real servers with their masters, WSGI and ASGI, at a bounded rate.

Clients of all tempers (`stress.clients`), slow ones, WebSockets and resets, while the server is
reloaded under them. Every so often all of them pause, and then nothing may be left of them: no
connection, no descriptor, no thread, no memory.
"""

import re
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path
from time import monotonic, strftime
from types import TracebackType
from typing import Any, Final, Self

from nogilserve.supervise.control import ask
from stress.clients import TEMPERS, Mistake, Tally, Visitor
from tests.apps.raw_websocket import CLOSE, PING, PONG, TEXT, RawWebSocket, frame
from tests.apps.served import Served
from tests.support.waiting import wait_until

__all__ = ["Mixed"]

SECONDS: Final = 30.0
LIFE: Final = re.compile(r"\[(INFO|WARNING|CRITICAL)\]|Error: (?!on purpose|Content-Length)")
"""What is worth reading of a log in which applications fail on purpose."""
NEVER: Final = re.compile(r"internal error|Fatal Python error(?!: init_import_site)")
"""What must not be in a log. A generation that is given up while its interpreter still starts says
the one exception: that is how Python ends when SIGINT comes so early."""
PATIENCE: Final = 5.0
"""Seconds that no visit takes unless the machine has no time for its thread: then the server, which
waits five for the next request and ten for a head, may have ended the connection."""
SLOW_START: Final = 120.0
"""Seconds: with ThreadSanitizer importing takes long."""
RATE: Final = 8.0
"""Visits per second and server."""
VISITORS: Final = 4
"""Client threads per server."""
ARGUMENTS: Final = ("--workers", "2", "--threads", "6")
APPS: Final = {"wsgi": "stress.application:application", "asgi": "stress.application:asgi"}
GROWTH: Final = 24 << 20
"""Bytes by which a generation may grow after its first look; an eighth where that is more (with
ThreadSanitizer it takes hundreds of MiB)."""
MASTER_GROWTH: Final = 4 << 20
ENOUGH: Final = 10
"""Mistakes of clients after which there is no use in going on."""
LAZY: Final = 4
"""Descriptors that event loops open when they are first needed, and keep."""


class Guest(Visitor):
    """A visitor that is also slow, and talks over WebSockets. Owner: its thread."""

    def __init__(self, address: tuple[str, int], seed: str, tally: Tally) -> None:
        super().__init__(address, seed, tally)
        self._never = threading.Event()

    def rest(self, seconds: float) -> None:
        """Do nothing."""
        self._never.wait(seconds)

    def dawdling(self) -> None:
        """A head in pieces, and an answer read in pieces."""
        nonce, amount, began = self.nonce(), self.random.randint(1, 40), monotonic()
        head = f"GET /stream/{nonce}/{amount} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        with self.connect(8192) as client:
            try:
                for start in range(0, len(head), 8):
                    client.send(head[start : start + 8])
                    self.rest(0.02)
                self.rest(self.random.random())
                body = client.receive().body
            except (OSError, HTTPException):
                body = b""
            if monotonic() - began > PATIENCE:
                self.tally.add("dawdled for too long")  # the machine had no time for this thread
                return
            self.tally.add("dawdled")
            if len(body) != amount * 8192:
                raise Mistake(f"for {nonce}: {len(body)} bytes instead of {amount * 8192}")

    def talking(self) -> None:
        """A conversation; the server may send its client away while it is reloaded."""
        with RawWebSocket(self.address) as client:
            self.tally.add("connections")
            client.open("/echo")
            for _ in range(self.random.randint(1, 20)):
                said = (self.nonce() * self.random.choice([1, 10, 3000])).encode()
                client.send_quietly(frame(TEXT, said))
                got = client.frame()
                while got.opcode in (PING, PONG):
                    if got.opcode == PING:
                        client.send_quietly(frame(PONG, got.payload))
                    got = client.frame()
                if got.opcode == CLOSE:
                    if got.code != 1012:
                        raise Mistake(f"sent away with {got.code}")
                    client.send_quietly(frame(CLOSE, got.payload[:2]))
                    self.tally.add("sent away")
                    return
                if got.payload != said:
                    raise Mistake(f"{said[:80]!r} came back as {got.payload[:80]!r}")
                self.tally.add("echoed")
            if self.random.random() < 0.3:
                client.reset()
            else:
                client.send_quietly(frame(CLOSE, (1000).to_bytes(2)))
                client.rest()


KINDS: Final[dict[str, tuple[Callable[[Guest], None], int]]] = {
    **{name: (what, weight) for name, (what, weight) in TEMPERS.items()},
    "dawdling": (Guest.dawdling, 2),
    "talking": (Guest.talking, 8),
}


class House:
    """One server and its visitors. Owner: the thread that made it; visitors only add to `mistakes`
    and `arrived`."""

    def __init__(self, name: str, seed: str, folder: Path, rate: float) -> None:
        self.name = name
        self.control = str(folder / f"{name}.sock")
        arguments = [*ARGUMENTS, "--control-socket", self.control]
        self.server = Served(APPS[name], *arguments, timeout=SLOW_START)
        self.tally = Tally()
        self.mistakes: list[str] = []
        self._said = 0
        self._open = threading.Event()
        self._leave = threading.Event()
        self._away = threading.Semaphore(0)
        self._rate = rate
        self._first: dict[int, dict[str, int]] = {}
        self.reloads = 0
        self._master = 0
        self.looks: list[str] = []
        self._threads = [
            threading.Thread(target=self._visit, args=(f"{seed} {name} {n}",), daemon=True)
            for n in range(VISITORS)
        ]
        for thread in self._threads:
            thread.start()

    def _visit(self, seed: str) -> None:
        guest = Guest(self.server.address, seed, self.tally)
        names = [name for name in KINDS if self.name == "asgi" or name != "talking"]
        weights = [KINDS[name][1] for name in names]
        while True:
            if not self._open.is_set():
                self._away.release()
                self._open.wait()
            if self._leave.is_set():
                return
            [name] = guest.random.choices(names, weights)
            began = monotonic()
            try:
                KINDS[name][0](guest)
            except Exception as exc:
                seconds = monotonic() - began
                if seconds > PATIENCE and not isinstance(exc, Mistake):
                    self.tally.add("starved")
                    continue
                took = f"{strftime('%H:%M:%S')} after {seconds:.1f} s"
                self.mistakes.append(f"{took}: {self.name}, {name}: {type(exc).__name__}: {exc}")
            self.tally.add("visits")
            guest.rest(guest.random.expovariate(self._rate / VISITORS))

    def admit(self) -> None:
        """Let the visitors in."""
        self._open.set()

    def empty(self) -> None:
        """Have them wait outside, and wait until the last has come out."""
        self._open.clear()
        for _ in self._threads:
            if not self._away.acquire(timeout=2 * SECONDS):
                raise Mistake(f"{self.name}: a visitor does not come back")

    def status(self) -> dict[str, Any]:
        """What the newest generation says of itself."""
        answer = ask(self.control, "status", SECONDS)
        newest: dict[str, Any] = answer["generations"][-1]
        return newest | {"alive": len(answer["generations"])}

    def look(self) -> str:
        """While nobody is inside: compare with the first look at this generation."""
        state: dict[str, Any] = {}

        def quiet() -> bool:
            state.update(self.status())
            counters = state.get("counters", {})
            return state["alive"] == 1 and not counters.get("connections", 1)

        try:
            wait_until(quiet, 2 * SECONDS)
        except TimeoutError:
            raise Mistake(f"{self.name}: connections or generations stay: {state}") from None
        number, server = state["number"], self.server
        now = {
            "descriptors": len(server.descriptors()),
            "threads": server.threads(),
            "memory": server.memory(),
        }
        first = self._first.setdefault(number, now)
        master = memory(server.pid)
        self._master = self._master or master
        text = (
            f"{self.name} generation {number}: {now['memory'] / 2**20:.1f} MiB "
            f"({(now['memory'] - first['memory']) / 2**20:+.1f}), {now['threads']} threads, "
            f"{now['descriptors']} descriptors, master {master / 2**20:.1f} MiB"
        )
        self.looks.append(text)
        wrong = [
            what
            for what, bad in {
                "descriptors": now["descriptors"] > first["descriptors"] + LAZY,
                "threads": now["threads"] > first["threads"],
                "memory": now["memory"] > first["memory"] + allowed(GROWTH, first["memory"]),
                "memory of the master": master
                > self._master + allowed(MASTER_GROWTH, self._master),
            }.items()
            if bad
        ]
        if wrong:
            raise Mistake(f"more {', '.join(wrong)} than at first: {text}; first: {first}")
        return text

    def reload(self) -> None:
        """Twice at the same time, by the control socket; one may be given up for the other."""
        start = threading.Barrier(2)
        answers: list[dict[str, Any]] = []

        def ask_for_it() -> None:
            start.wait(SLOW_START)
            answers.append(ask(self.control, "reload", SLOW_START))

        askers = [threading.Thread(target=ask_for_it) for _ in range(2)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join(2 * SLOW_START)
        good = [answer for answer in answers if answer["ok"]]
        if (
            len(answers) != 2
            or not good
            or any(
                "given up for another" not in answer["text"]
                for answer in answers
                if answer not in good
            )
        ):
            raise Mistake(f"{self.name}: two reloads at once were answered {answers}")
        self.reloads += 1

    def check(self, say: Callable[[str], None]) -> None:
        """Say what clients have found since the last check; raise when that is too much, or where a
        log says what it must never say."""
        for mistake in self.mistakes[self._said :]:
            say(mistake)
            self._said += 1
        if self._said >= ENOUGH:
            raise Mistake(f"{self.name}: {self._said} mistakes (above)")
        log = self.server.log
        if found := NEVER.search(log):
            raise Mistake(f"{self.name}: {log[max(found.start() - 500, 0) : found.end() + 3000]}")

    def close(self) -> None:
        """All leave, and the server is stopped."""
        self._leave.set()
        self._open.set()
        for thread in self._threads:
            thread.join(SECONDS)
        status = self.server.stop()
        if status:
            raise Mistake(f"{self.name}: the server ended with status {status}")


def allowed(least: int, first: int) -> int:
    """Bytes by which something may grow that took `first` at first."""
    return max(least, first // 8)


def memory(pid: int) -> int:
    """Proportional set size in bytes."""
    found = re.search(r"Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())
    assert found
    return int(found[1]) * 1024


class Mixed:
    """The traffic and the looks at it. Owner: the thread that runs it."""

    def __init__(self, seed: str, rate: float = RATE, say: Callable[[str], None] = print) -> None:
        self._say = say
        self.houses: list[House] = []
        with ExitStack() as stack:  # what has been started ends where another cannot be
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="stress-"))
            for name in APPS:
                house = House(name, seed, Path(folder), rate)
                stack.callback(house.server.kill)
                self.houses.append(house)
            self._stack = stack.pop_all()

    def run(self, seconds: float) -> dict[str, int]:
        """That long; what the clients counted. The first half is one generation, so that its memory
        is seen for as long as possible; then one reload after the other. Raises Mistake."""
        began = monotonic()
        until, period = began + seconds, max(seconds / 30, 1.0)
        wait = threading.Event().wait
        next_look, next_reload = began + period, began + seconds / 2
        for house in self.houses:
            house.admit()
        while (now := monotonic()) < until:
            wait(min(1.0, period / 4, until - now))
            for house in self.houses:
                house.check(self._say)
                if monotonic() >= next_reload:
                    house.reload()
            if monotonic() >= next_reload:
                next_reload = monotonic() + 2 * period
            if monotonic() >= next_look:
                self._look(monotonic() - began)
                next_look = monotonic() + period
        self._look(monotonic() - began)
        for house in self.houses:
            house.close()
            house.check(self._say)
        if mistakes := [mistake for house in self.houses for mistake in house.mistakes]:
            raise Mistake(f"{len(mistakes)} mistakes, the first: {mistakes[0]}")
        counts = {"reloads": sum(house.reloads for house in self.houses)}
        for house in self.houses:
            for name, count in house.tally.counts.items():
                counts[name] = counts.get(name, 0) + count
        return counts

    def _look(self, seconds: float) -> None:
        for house in self.houses:
            house.empty()
            house.check(self._say)
            self._say(f"{seconds:5.0f} s  {house.look()}, {house.tally.counts['visits']} visits")
            house.admit()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            for house in self.houses:
                lines = [line for line in house.server.log.splitlines() if LIFE.search(line)]
                print(f"{house.name} said:\n{'\n'.join(lines[-60:])}", flush=True)
        self._stack.close()
