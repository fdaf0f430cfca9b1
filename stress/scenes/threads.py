"""Scenes of the thread engine: cores, threads that take them from each other, and connections."""

from functools import partial
from typing import Any

from nogilserve.engine.settings import Settings
from nogilserve.messages import TimeLimits
from stress import stage as stages
from stress.scenes.guests import (
    Client,
    dawdling,
    expecting,
    half_a_body,
    half_a_head,
    idling,
    just_in_time,
    knocking,
    leaving,
    patient,
    pipelined,
    refusable,
    several,
)
from stress.scenes.scene import Scene
from stress.stage import Guest, Stage, on_threads
from stress.world import JUMP, World

__all__ = ["SCENES"]


def perform(
    world: World, *guests: Client, meanwhile: Client | None = None, jump: float = JUMP, **shape: Any
) -> None:
    """One execution: a runtime of that shape and these guests. Raises Failure."""
    settings = Settings(gateway=lambda: lambda _: None, **shape)
    build = partial(on_threads, settings)
    stages.perform(world, build, settings.threads, *guests, meanwhile=meanwhile, jump=jump)


# ---- hand-off against completion


def hand_off(world: World) -> None:
    """Calls that end just when the monitor gives their core away."""
    perform(
        world,
        pipelined(("sleep", 3), ("fast", 0), ("sleep", 2)),
        several(("fast", 0), ("compute", 30), ("fast", 0), within=0.5),
        several(("sleep", 2), ("fast", 0)),
        threads=3,
        cores=1,
    )


def bell(world: World) -> None:
    """A long call begins just when the monitor goes to sleep, and nobody else drives its core."""

    def long(stage: Stage) -> None:
        client = Guest(stage)
        client.expect(client.ask("fast"))
        stage.world.sleep("client.pause", 0.021)
        client.expect(client.ask("sleep", 1000))
        client.leave()

    def quick(stage: Stage) -> None:
        client = Guest(stage)
        client.expect(client.ask("fast"))
        stage.world.sleep("client.pause", 0.05)
        client.expect(client.ask("fast"), within=0.5)
        client.leave()

    perform(world, long, quick, threads=2, cores=1)


def steal(world: World) -> None:
    """Idle cores that help the same busy one, and each other."""
    perform(
        world,
        pipelined(("compute", 60), ("sleep", 4), ("fast", 0)),
        pipelined(("sleep", 4), ("compute", 60), ("fast", 0)),
        several(("fast", 0), ("sleep", 3), ("fast", 0)),
        several(("fast", 0), ("fast", 0)),
        several(("fast", 0), ("compute", 20)),
        threads=3,
        cores=3,
    )


def slow_kinds(world: World) -> None:
    """Kinds that were slow run apart, while their connections are read on and closed."""
    perform(
        world,
        several(*[("sleep", 3)] * 4, ("sleep", 0), ("sleep", 0)),
        pipelined(*[("sleep", 3)] * 3, *[("sleep", 0)] * 2),
        leaving("sleep", 3),
        threads=4,
        cores=1,
    )


def left_alone(world: World) -> None:
    """Fewer threads are free than there are cores: those that are left are served by the others,
    while threads come back from calls to the cores that they have left."""
    slow = [("sleep", 3)] * 4
    perform(
        world,
        several(*slow, ("sleep", 0), ("fast", 0)),
        several(*slow, ("fast", 0)),
        pipelined(("sleep", 3), ("fast", 0), ("sleep", 3), ("fast", 0)),
        several(*[("fast", 0)] * 3, within=0.5),
        leaving("sleep", 3),
        threads=3,
        cores=3,
    )


# ---- close against write


def close_write(world: World) -> None:
    """Clients that go while they are written to, by the application's thread or by the core."""
    perform(
        world,
        leaving("stream", 30, read=1),
        leaving("big", 200_000, read=2),
        dawdling("big", 200_000),
        dawdling("stream", 40),
        several(("fast", 0), ("fast", 0), within=0.5),
        threads=3,
        cores=2,
    )


# ---- drain against accept


def drain_accept(world: World) -> None:
    """The runtime drains while connections wait to be accepted."""

    def leave_early(stage: Stage) -> None:
        stage.world.sleep("drain.soon", 0.00005)
        stage.drain()

    perform(world, knocking, knocking, knocking, meanwhile=leave_early, threads=3, cores=2)


# ---- pipelining against timeout


def timeout(world: World) -> None:
    """Requests that come when the connection's time is over."""
    perform(
        world,
        just_in_time(1.0),
        just_in_time(2.0),
        half_a_head,
        idling(("fast", 0), ("sleep", 1500), ("fast", 0)),
        jump=2.0,
        threads=2,
        cores=1,
        keep_alive=1.0,
        head_timeout=1.0,
    )


# ---- the doorman


def doorman(world: World) -> None:
    """All threads are inside: who refuses, who queues, and who takes the queue over."""
    perform(
        world,
        refusable(("sleep", 1000), ("fast", 0)),
        refusable(("sleep", 2), ("sleep", 2)),
        refusable(("fast", 0), ("sleep", 3), ("fast", 0)),
        refusable(("fast", 0), ("fast", 0), ("fast", 0)),
        threads=2,
        cores=2,
        limit_concurrency=3,
    )


# ---- the claim of a request that takes too long


def claim(world: World) -> None:
    """The application answers when its time is over."""
    perform(
        world,
        patient(50),
        patient(60),
        patient(45),
        several(("fast", 0), ("fast", 0)),
        threads=2,
        cores=1,
        timeout=TimeLimits(0.05),
    )


# ---- bodies read by the application


def bodies(world: World) -> None:
    """Bodies that the application reads while it runs, and clients that leave meanwhile."""
    perform(
        world,
        expecting,
        half_a_body,
        expecting,
        several(("fast", 0), ("sleep", 2), ("fast", 0)),
        threads=4,
        cores=2,
    )


# ---- threads that come and go


def threads_change(world: World) -> None:
    """More threads and fewer, while they take cores from each other."""

    def change(stage: Stage) -> None:
        for number in (2, -3, 1, -1, 1):
            stage.runtime.change_threads(number)
            stage.threads = 16
            stage.world.sleep("change.soon", 0.001)

    perform(
        world,
        pipelined(*[("sleep", 2), ("fast", 0)] * 3),
        pipelined(*[("sleep", 2), ("fast", 0)] * 3),
        several(("fast", 0), ("fast", 0)),
        meanwhile=change,
        threads=3,
        cores=1,
    )


_CLAIMS = ("core.lock", "Spares", "_Slot", "core.wake", "core.unwatched", "core.calls")

SCENES = [
    Scene("hand-off", hand_off.__doc__ or "", hand_off, (*_CLAIMS, "monitor", "application")),
    Scene("bell", bell.__doc__ or "", bell, ("monitor", "Monitor", "core.unwatched", "core.calls")),
    Scene(
        "steal",
        steal.__doc__ or "",
        steal,
        ("core.lock", "core.victim", "core.parked", "core.poll"),
    ),
    Scene(
        "left-alone",
        left_alone.__doc__ or "",
        left_alone,
        (*_CLAIMS, "core.lookout", "core.watching", "core.driver", "driverless", "Driverless"),
    ),
    Scene("slow-kinds", slow_kinds.__doc__ or "", slow_kinds, (*_CLAIMS, "core.blocked")),
    Scene(
        "close-write", close_write.__doc__ or "", close_write, ("core.lock", "client", "exchange")
    ),
    Scene("drain-accept", drain_accept.__doc__ or "", drain_accept, ("core", "client", "drain")),
    Scene("timeout", timeout.__doc__ or "", timeout, ("core.poll", "client", "core.lock")),
    Scene("doorman", doorman.__doc__ or "", doorman, (*_CLAIMS, "core.door", "core.parked")),
    Scene("claim", claim.__doc__ or "", claim, ("Turn", "Watch", "core.lock", "Spares")),
    Scene("bodies", bodies.__doc__ or "", bodies, ("exchange", "client", "core.lock")),
    Scene("threads", threads_change.__doc__ or "", threads_change, _CLAIMS),
]
