"""Planted races: what the scenes must find, make short, and find again by its schedule."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from nogilserve.engine.connection import Connection
from nogilserve.engine.core import Core
from nogilserve.engine.http2.pump import Pump
from nogilserve.engine.loop.http2.exchange import StreamExchange
from nogilserve.engine.loop.secure import SecureTransport
from nogilserve.engine.loop.waiters import Waiters
from nogilserve.engine.scheduler import Monitor, Spares
from nogilserve.engine.secure import Handshake
from nogilserve.engine.securesocket import SecureSocket
from nogilserve.engine.timeouts import Turn
from nogilserve.protocols.http2 import Http2Connection, codes
from nogilserve.supervise.states import Machine
from stress.explore import Found, Replay, Roll, attempt, parse, shrink
from stress.scenes import SCENES
from tests.support.waiting import Deadline

SECONDS = 80.0

Plant = Callable[[pytest.MonkeyPatch], None]


def spares_without_second_look(patch: pytest.MonkeyPatch) -> None:
    """A driver that waits without looking for tasks after it has said so."""

    def wait(self: Any) -> Any:
        self.parked = True
        events = self._waiting.wait(self.poller, self._patience())
        self.parked = False
        return events

    patch.setattr(Core, "_wait", wait)


def bell_cleared_last(patch: pytest.MonkeyPatch) -> None:
    """A monitor that looks at the cores before it clears its bell: a ring in between is lost."""

    def may_sleep(self: Any) -> bool:
        for core in self._cores:
            core.unwatched = True
        for index, core in enumerate(self._cores):
            if not core.lock.locked() or core.calls != self._seen.get(index, (-1, -1))[0]:
                return False
        self._bell.clear()
        return not self._stopping

    patch.setattr(Monitor, "_may_sleep", may_sleep)


def core_touched_without_lock(patch: pytest.MonkeyPatch) -> None:
    """A connection that goes on with its core whether or not the lock was free."""

    def take_back(self: Any, core: Any) -> bool:
        return bool(real(self, core))

    real = Connection.take_back
    run = Connection.run

    def reckless(self: Any, core: Any) -> bool:
        kept = run(self, core)
        if not kept:
            with suppress(ValueError):
                core._inbox.remove(self.take_back)
                take_back(self, core)
        return kept

    patch.setattr(Connection, "run", reckless)


def task_given_twice(patch: pytest.MonkeyPatch) -> None:
    """A parked thread that is taken from the list after the lock was let go."""

    def offer(self: Any, task: Any, *, wait: bool = False) -> bool:
        with self._lock:
            if not self._parked:
                if wait:
                    self._waiting.append(task)
                return False
            slot = self._parked[-1]
        with self._lock, suppress(ValueError):
            self._parked.remove(slot)
        slot.task = task
        with suppress(RuntimeError):
            slot.wakeup.release()
        return True

    patch.setattr(Spares, "offer", offer)


def claim_without_lock(patch: pytest.MonkeyPatch) -> None:
    """A watch that looks and claims in two steps."""

    def expire(self: Any) -> bool:
        with self.lock:
            if self.begun or self.over or self.returned:
                return False
        with self.lock:
            self.over = True
        return True

    patch.setattr(Turn, "expire", expire)


def socket_of_tls_without_lock(patch: pytest.MonkeyPatch) -> None:
    """One thread reads what has come, and answers it, while another one sends."""
    patch.setattr(SecureSocket, "locked", lambda self: self)


def farewell_to_half_an_answer(patch: pytest.MonkeyPatch) -> None:
    """An answer that breaks off ends like a whole one."""
    patch.setattr(SecureSocket, "cut", lambda _: None)


def certificate_for_nobody(patch: pytest.MonkeyPatch) -> None:
    """A handshake that goes on when its certificate comes, whether or not the client has gone."""

    def ask(self: Any, core: Any, hello: Any) -> None:
        def again(found: Any, core: Any) -> bool:
            begin(self, core, found)
            return True

        self.connection.encryption.source.request(
            hello.name, hello.protocols, lambda found: core.submit(partial(again, found))
        )

    begin = Handshake._begin
    patch.setattr(Handshake, "_ask", ask)


def certificate_brought_to_the_loop(patch: pytest.MonkeyPatch) -> None:
    """Whoever has got a certificate goes on with the handshake by himself."""
    patch.setattr(SecureTransport, "_ready", lambda self, found: self._go_on(found))


def two_pumps(patch: pytest.MonkeyPatch) -> None:
    """A thread that looks whether another one sends, and says in a second step that it does."""

    def flush(self: Any) -> bool:
        with self.mutex:
            if self._pumping or self._blocked or self._closed:
                return False
        with self.mutex:
            self._pumping = False
        return bool(real(self))

    real = Pump.flush
    patch.setattr(Pump, "flush", flush)


def writer_not_told_of_end(patch: pytest.MonkeyPatch) -> None:
    """A task that waits for a window is not told that its stream is over: neither by who ends the
    stream nor by who ends the request."""

    def deaf(tell: Callable[[StreamExchange], None]) -> Callable[[StreamExchange], None]:
        def told(self: StreamExchange) -> None:
            drainers, self._drainers = self._drainers, Waiters(self.core.loop)
            tell(self)
            self._drainers = drainers

        return told

    for name in ("lost", "wake"):
        patch.setattr(StreamExchange, name, deaf(getattr(StreamExchange, name)))


def farewell_names_too_much(patch: pytest.MonkeyPatch) -> None:
    """A connection that goes promises the stream that may just be on its way."""

    def last_call(self: Any) -> None:
        if not self.refusing:
            self.refusing = True
            self.put(codes.goaway(self.last_stream + 2, codes.NO_ERROR, "going away"))

    patch.setattr(Http2Connection, "last_call", last_call)


def reload_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A reload that comes while the generation before opens is taken for done."""

    def reload(self: Any, reason: str, now: float) -> Any:
        if any(generation.state == "opening" for generation in self.generations.values()):
            return []
        return real(self, reason, now)

    real = Machine.reload
    patch.setattr(Machine, "reload", reload)


def drained_too_soon(patch: pytest.MonkeyPatch) -> None:
    """The generation that serves is told to go when the next one is only loaded."""

    def loaded(self: Any, number: int, now: float) -> Any:
        before = self.generations.get(self.current)
        wanted = real(self, number, now)
        return wanted + [self._drain(before, now, patient=True)] * (before is not None)

    real = Machine.loaded
    patch.setattr(Machine, "loaded", loaded)


PLANTED: list[tuple[Plant, str]] = [
    (spares_without_second_look, "doorman"),
    (bell_cleared_last, "bell"),
    (core_touched_without_lock, "hand-off"),
    (task_given_twice, "slow-kinds"),
    (claim_without_lock, "claim"),
    (socket_of_tls_without_lock, "tls-http2"),
    (farewell_to_half_an_answer, "tls-close"),
    (certificate_for_nobody, "tls"),
    (certificate_brought_to_the_loop, "loop-tls"),
    (two_pumps, "http2"),
    (writer_not_told_of_end, "loop-http2-cancel"),
    (farewell_names_too_much, "loop-http2-drain"),
    (reload_forgotten, "reload"),
    (drained_too_soon, "reload-failing"),
]


FIRST: dict[Plant, int] = {
    spares_without_second_look: 66,
    bell_cleared_last: 300,
    task_given_twice: 214,
    two_pumps: 831,
}
"""Where the dice begin for the rare ones, so that they take a second. A change of the engine may
move what the dice find, which costs the test time and nothing else."""


def search(name: str, number: int = 0) -> tuple[Found, Found]:
    """The first failure of a scene that happens again, with the dice from `number` on, and its
    shortest form. What a planted mistake only drops is closed when Python frees it, which is not in
    the schedule. TimeoutError where there is none in time."""
    scene, length, deadline = SCENES[name], 0, Deadline(SECONDS)
    while True:
        chooser = Roll(f"{number}", scene.focus, length) if length else Replay()
        world, found = attempt(scene.play, chooser)
        if found is not None:
            shortest = shrink(scene.play, found, tries=40)
            if attempt(scene.play, Replay(parse(shortest.schedule)))[1] is not None:
                return found, shortest
        length = length or world.steps
        number += 1
        deadline.require(f"{number} executions have found nothing")


@pytest.mark.parametrize(("plant", "name"), PLANTED, ids=[row[0].__name__ for row in PLANTED])
def test_planted_race_is_found(plant: Plant, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found in time; its shortest schedule is no longer, and breaks it again. Without the
    mistake that schedule breaks nothing."""
    plant(monkeypatch)
    found, shortest = search(name, FIRST.get(plant, 0))
    assert len(shortest.switches) <= len(found.switches)
    monkeypatch.undo()
    assert attempt(SCENES[name].play, Replay(parse(shortest.schedule)))[1] is None
