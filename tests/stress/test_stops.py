"""How long a stop takes that clients do not help with, by the clock of a world."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from nogilserve.engine.settings import Settings
from stress.explore import Replay
from stress.loopstage import on_loops
from stress.stage import Gone, Stage, on_threads, perform
from stress.world import World

BUILDS: dict[str, Callable[[Stage], Any]] = {
    "wsgi": partial(on_threads, Settings(threads=2, cores=1, gateway=lambda: lambda _: None)),
    "asgi": partial(on_loops, 1),
}
SLEEP = 0.5
"""Seconds that a request takes."""
LAST = 0.2
"""Seconds of the world after which nobody is waited for who has nothing to say."""


def staying(stage: Stage) -> None:
    """A guest who asks, reads the answer and the end of it, and does not hang up."""
    client = stage.client(stage)
    nonce = client.ask("fast")
    client.expect(nonce)
    nonce = client.ask("sleep", int(SLEEP * 1000))
    reply = client.expect(nonce)
    if reply.fields.get("connection") != "close":
        stage.world.fail(f"who is answered in a stop is not told that it is the last time: {reply}")
    with pytest.raises(Gone):
        client.receive()


def idling(stage: Stage) -> None:
    """A guest who has asked, and does not hang up."""
    client = stage.client(stage)
    client.expect(client.ask("fast"))
    with pytest.raises(Gone):
        client.receive()


def inside(stage: Stage) -> None:
    """Stop while a request is inside the application; see how long it takes."""
    world = stage.world
    world.wait("inside", lambda: stage.inside == 1 and stage.counts["answered"] == 2)
    began = world.now
    stage.drain()
    if (took := world.now - began) > SLEEP + LAST:
        world.fail(f"the stop took {took:.2f} s, a request in it {SLEEP} s")


@pytest.mark.parametrize("kind", BUILDS)
def test_clients_that_do_not_hang_up_are_not_waited_for(kind: str) -> None:
    """One is answered during the stop, one is idle: the stop takes as long as the request."""
    world = World(Replay())
    perform(world, BUILDS[kind], 2, staying, idling, meanwhile=inside)
