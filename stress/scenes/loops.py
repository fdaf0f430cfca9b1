"""Scenes of the event loops: the dispatcher, connections, WebSockets, sends from other loops."""

from functools import partial

from stress.loopstage import Talker, on_loops
from stress.scenes.guests import (
    Client,
    dawdling,
    idling,
    knocking,
    leaving,
    pipelined,
    several,
)
from stress.scenes.scene import Scene
from stress.stage import Gone, Stage, perform
from stress.world import World

__all__ = ["SCENES"]

_MANY = 64
"""Requests that may be inside an asynchronous application."""


def soon(stage: Stage) -> None:
    """Stop while the guests come."""
    stage.world.sleep("drain.soon", 0.00005)
    stage.drain()


def dispatch(world: World) -> None:
    """The dispatcher hands connections over to loops that are stopping."""
    guests = [knocking] * 4
    perform(world, partial(on_loops, 2), _MANY, *guests, meanwhile=soon)


def loop_close_write(world: World) -> None:
    """Clients that go while their answer is sent, and such that read slowly."""
    perform(
        world,
        partial(on_loops, 2),
        _MANY,
        leaving("stream", 30, read=1),
        leaving("big", 200_000, read=2),
        dawdling("big", 200_000),
        dawdling("stream", 40),
        pipelined(("sleep", 3), ("fast", 0), ("block", 2), ("fast", 0)),
        several(("fast", 0), ("fast", 0)),
    )


def hearing(kind: str, number: int, leave_after: int) -> Client:
    """A guest who is sent messages, and leaves politely after some of them."""

    def guest(stage: Stage) -> None:
        client = Talker(stage)
        try:
            if client.open(kind, number):
                for expected in range(leave_after):
                    heard = client.hear()
                    if heard != f"{expected}":
                        stage.world.fail(f"message {expected} came as {heard!r}")
                client.bye()
                expected = leave_after
                while not isinstance(heard := client.hear(), int):
                    if heard != f"{expected}":
                        stage.world.fail(f"message {expected} came as {heard!r}")
                    expected += 1
                if heard != 1000:
                    stage.world.fail(f"a Close of 1000 was answered with {heard}")
        except Gone:
            stage.world.fail("a Close was not answered")
        client.leave()

    return guest


def slamming(kind: str, number: int) -> Client:
    """A guest who goes without a word."""

    def guest(stage: Stage) -> None:
        client = Talker(stage)
        try:
            if client.open(kind, number):
                client.hear()
        except Gone:
            pass
        client.leave()

    return guest


def crossing(stage: Stage) -> None:
    """A guest whose Close crosses that of the application."""
    client = Talker(stage)
    try:
        client.open("hang-up")
        client.say("go")
        client.bye()
        code = client.hear()
        if code not in (4000, 1000):
            stage.world.fail(f"two Close frames that crossed gave {code!r}")
    except Gone:
        stage.world.fail("a connection ended without a Close")
    client.leave()


def websocket_close(world: World) -> None:
    """Messages of the application and the Close of the client, and the other way round."""
    perform(
        world,
        partial(on_loops, 2),
        _MANY,
        hearing("push", 6, 2),
        hearing("push", 3, 3),
        slamming("push", 20),
        crossing,
        several(("fast", 0), ("fast", 0)),
    )


def chatting(words: int) -> Client:
    """A guest who speaks and hears everybody, whatever loop they are on, until sent away."""

    def guest(stage: Stage) -> None:
        try:
            client = Talker(stage)
            if not client.open("chat"):
                return
            mine = stage.nonce()
            for number in range(words):
                client.say(f"{mine}-{number}")
            own = 0
            while own < words:
                heard = client.hear()
                if isinstance(heard, int):
                    if heard != 1001:
                        stage.world.fail(f"sent away with {heard}")
                    return
                if heard.startswith(f"{mine}-"):
                    if heard != f"{mine}-{own}":
                        stage.world.fail(f"{mine}-{own} came back as {heard}")
                    own += 1
            client.bye()
            client.leave()
        except (Gone, OSError):
            pass  # where the server stops

    return guest


def chat(world: World) -> None:
    """Everybody sends to everybody on another loop, and some leave meanwhile."""
    perform(
        world,
        partial(on_loops, 2),
        _MANY,
        chatting(3),
        chatting(2),
        slamming("push", 2),
        chatting(3),
    )


def websocket_drain(world: World) -> None:
    """The server stops while people chat: each is told to go, or was answered."""
    guests = [chatting(3), chatting(2), hearing_until_sent_away, idling(("fast", 0), ("fast", 0))]
    perform(world, partial(on_loops, 2), _MANY, *guests, meanwhile=soon)


def hearing_until_sent_away(stage: Stage) -> None:
    """A guest who says nothing."""
    try:
        client = Talker(stage)
        if client.open("push", 2):
            while not isinstance(code := client.hear(), int):
                pass
            if code != 1001:
                stage.world.fail(f"sent away with {code}")
            client.bye()
        client.leave()
    except (Gone, OSError):
        pass  # not accepted any more


_LOOP = ("loop", "client", "queue", "dispatcher", "core.give_way")

SCENES = [
    Scene("dispatch", dispatch.__doc__ or "", dispatch, (*_LOOP, "drain")),
    Scene("loop-close-write", loop_close_write.__doc__ or "", loop_close_write, _LOOP),
    Scene("websocket-close", websocket_close.__doc__ or "", websocket_close, _LOOP),
    Scene("chat", chat.__doc__ or "", chat, _LOOP),
    Scene("websocket-drain", websocket_drain.__doc__ or "", websocket_drain, (*_LOOP, "drain")),
]
