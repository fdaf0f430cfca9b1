"""Scenes of the thread engine: cores, threads that take them from each other, and connections."""

from collections.abc import Callable
from functools import partial
from typing import Any

from nogilserve.engine.settings import Settings
from nogilserve.messages import TimeLimits
from stress import stage as stages
from stress.scenes.scene import Scene
from stress.stage import Gone, Guest, Stage, on_threads, piece
from stress.world import JUMP, World

__all__ = ["SCENES"]

Client = Callable[[Stage], None]


def perform(
    world: World, *guests: Client, meanwhile: Client | None = None, jump: float = JUMP, **shape: Any
) -> None:
    """One execution: a runtime of that shape and these guests. Raises Failure."""
    settings = Settings(gateway=lambda: lambda _: None, **shape)
    build = partial(on_threads, settings)
    stages.perform(world, build, settings.threads, *guests, meanwhile=meanwhile, jump=jump)


def several(*asks: tuple[str, int], within: float = 600.0) -> Client:
    """A guest who asks one thing after the other on one connection."""

    def guest(stage: Stage) -> None:
        client = Guest(stage)
        for kind, number in asks:
            client.expect(client.ask(kind, number), within=within)
        client.leave()

    return guest


def pipelined(*asks: tuple[str, int]) -> Client:
    """A guest who asks everything at once."""

    def guest(stage: Stage) -> None:
        client = Guest(stage)
        for nonce in [client.ask(kind, number) for kind, number in asks]:
            client.expect(nonce)
        client.leave()

    return guest


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


# ---- close against write


def leaving(kind: str, number: int, read: int = 0, receive_buffer: int = 4096) -> Client:
    """A guest who goes in the middle of the answer."""

    def guest(stage: Stage) -> None:
        client = Guest(stage, receive_buffer)
        try:
            client.ask(kind, number)
            client.ask("fast")
            for _ in range(read):
                client._more()
        except Gone:
            pass
        client.leave()

    return guest


def dawdling(kind: str, number: int) -> Client:
    """A guest who reads a large answer in small pieces."""

    def guest(stage: Stage) -> None:
        client = Guest(stage, 4096)
        nonce = client.ask(kind, number)
        stage.world.sleep("client.dawdle", 0.2)
        whole = nonce.encode() * number
        if kind == "stream":
            whole = b"".join(piece(nonce, place) for place in range(number))
        client.expect(nonce, whole)
        client.expect(client.ask("fast"))
        client.leave()

    return guest


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


def knocking(stage: Stage) -> None:
    """A guest who comes when the server goes: a request that was run is answered."""
    for _ in range(3):
        nonces: list[str] = []
        try:
            client = Guest(stage)
            nonces.append(client.ask("fast"))
            reply = client.receive()
        except (Gone, OSError):
            if any(map(stage.was_run, nonces)):
                stage.world.fail(f"{nonces} was run, and not answered")
            return
        if reply.body != nonces[0].encode():
            stage.world.fail(f"{nonces} was answered with {reply}")
        client.leave()


def drain_accept(world: World) -> None:
    """The runtime drains while connections wait to be accepted."""

    def leave_early(stage: Stage) -> None:
        stage.world.sleep("drain.soon", 0.00005)
        stage.drain()

    perform(world, knocking, knocking, knocking, meanwhile=leave_early, threads=3, cores=2)


# ---- pipelining against timeout


def just_in_time(seconds: float) -> Client:
    """A guest whose next requests come, together, about when the connection's time is over."""

    def guest(stage: Stage) -> None:
        client = Guest(stage)
        first, *others = stage.nonce(), stage.nonce(), stage.nonce()
        try:
            client.send(request("fast", first))
            answered(stage, client, first)
            stage.world.sleep("client.dawdle", seconds)
            client.send(request("sleep", others[0], 2) + request("fast", others[1]))
            for nonce in others:
                answered(stage, client, nonce)
        except Gone:
            # The server may end an idle connection, but not one whose request it has taken up.
            taken = [nonce for nonce in others if stage.was_run(nonce)]
            if len(taken) == 1:
                stage.world.fail(f"of {others} only {taken} was run, then the end")
        client.leave()

    return guest


def request(kind: str, nonce: str, number: int = 0) -> bytes:
    """The bytes of one."""
    return f"GET /{kind}/{nonce}/{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def answered(stage: Stage, client: Guest, nonce: str) -> None:
    """The next response is the one to that request. Raises Gone where the server has ended an idle
    connection."""
    try:
        reply = client.receive()
    except Gone:
        if stage.was_run(nonce):
            stage.world.fail(f"request {nonce} was run, and not answered")
        raise
    if reply.status != 200 or reply.body != nonce.encode():
        stage.world.fail(f"request {nonce} was answered with {reply}")


def idling(*asks: tuple[str, int]) -> Client:
    """A guest who asks one thing after the other, and may be late."""

    def guest(stage: Stage) -> None:
        client = Guest(stage)
        for kind, number in asks:
            nonce = stage.nonce()
            try:
                client.send(request(kind, nonce, number))
                answered(stage, client, nonce)
            except Gone:
                break
        client.leave()

    return guest


def half_a_head(stage: Stage) -> None:
    """A guest whose head takes about as long as a head may."""
    client = Guest(stage)
    nonce = stage.nonce()
    head = f"GET /fast/{nonce}/0 HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    client.send(head[:20])
    stage.world.sleep("client.dawdle", 1.0)
    try:
        client.send(head[20:])
        reply = client.receive()
    except Gone:
        client.leave()
        return
    if reply.status not in (200, 408) or (reply.status == 200) != stage.was_run(nonce):
        stage.world.fail(f"half a head was answered with {reply}")
    client.leave()


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


def refusable(*asks: tuple[str, int]) -> Client:
    """A guest who may be told to come again."""

    def guest(stage: Stage) -> None:
        client = Guest(stage)
        for kind, number in asks:
            nonce = client.ask(kind, number)
            reply = client.receive()
            if reply.status == 503:
                stage.counts["refused"] += 1
                if stage.was_run(nonce):
                    stage.world.fail(f"request {nonce} was run and refused")
            elif reply.status != 200 or reply.body != nonce.encode():
                stage.world.fail(f"request {nonce} was answered with {reply}")
            if reply.seconds > 0.5 and number < 100:
                stage.world.fail(f"request {nonce} has waited for {reply.seconds:.3f} s")
        client.leave()

    return guest


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


def patient(number: int) -> Client:
    """A guest whose request takes about as long as it may."""

    def guest(stage: Stage) -> None:
        stage.threads = 16  # those that were given up are replaced
        client = Guest(stage)
        nonce = client.ask("sleep", number)
        reply = client.receive()
        good = reply.status == 200 and reply.body == nonce.encode()
        if not good and reply.status != 504:
            stage.world.fail(f"request {nonce} was answered with {reply}")
        if good:
            client.expect(client.ask("fast"))
        client.leave()

    return guest


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


def expecting(stage: Stage) -> None:
    """A guest who sends the body when it is told to."""
    client = Guest(stage)
    nonce = stage.nonce()
    head = f"POST /upload/{nonce}/0 HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n"
    client.send(f"{head}Expect: 100-continue\r\n\r\n".encode())
    client._until(b"100 Continue\r\n\r\n")
    client.send(b"x" * 70_000)
    client.expect(nonce, b"70000")
    client.leave()


def half_a_body(stage: Stage) -> None:
    """A guest who goes in the middle of what the application reads."""
    client = Guest(stage)
    head = f"POST /upload/{stage.nonce()}/0 HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n"
    try:
        client.send(f"{head}Expect: 100-continue\r\n\r\n".encode() + b"x" * 100)
    except Gone:
        pass
    client.leave()


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
