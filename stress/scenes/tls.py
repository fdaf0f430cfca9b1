"""Scenes of TLS on both engines: handshakes, keys and farewells at the wrong moment."""

from functools import partial
from importlib.util import find_spec
from typing import Any

from stress.encrypted import (
    LATE,
    EncryptedGuest,
    EncryptedStreamer,
    RekeyingStreamer,
    encryption,
)
from stress.scenes.guests import (
    Client,
    answered,
    dawdling,
    idling,
    leaving,
    pipelined,
    request,
)
from stress.scenes.http2 import asking, on_cores, on_two_loops
from stress.scenes.scene import Scene
from stress.stage import Gone, Guest, Stage, perform, piece
from stress.world import World

__all__ = ["SCENES"]

_MANY = 64


def awaiting(*asks: tuple[str, int]) -> Client:
    """A guest whose certificate has to be got first."""

    def guest(stage: Stage) -> None:
        client = EncryptedGuest(stage, name=LATE)
        for nonce in [client.ask(kind, number) for kind, number in asks]:
            client.expect(nonce)
        client.leave()

    return guest


def breaking_off(after: int) -> Client:
    """A guest who goes in the middle of a handshake, when so many messages have come; 0: when the
    first one of his own is on its way."""

    class Hasty(EncryptedGuest):
        def _receive(self) -> bytes:
            if self.heard >= after:
                raise Gone
            self.heard += 1
            return super()._receive()

        heard = 0

        def _begin(self) -> None:
            try:
                super()._begin()
            finally:
                self.leave()

    def guest(stage: Stage) -> None:
        for name in ("a.test", LATE):
            try:
                Hasty(stage, name=name)
            except (Gone, OSError):
                pass

    return guest


def slowly(stage: Stage) -> None:
    """A guest whose handshake takes about as long as one may."""
    client = Guest(stage)
    try:
        client.send(b"\x16\x03\x01")
        stage.world.sleep("client.dawdle", 2.0)
        client.send(b"\x02\x00")
        client._receive()
    except Gone:
        pass
    client.leave()


def waving(*asks: tuple[str, int]) -> Client:
    """A guest who says farewell behind his requests, and wants the answers all the same, and a
    farewell."""

    def guest(stage: Stage) -> None:
        client = EncryptedGuest(stage)
        nonces = [client.ask(kind, number) for kind, number in asks]
        client.wave()
        for (kind, number), nonce in zip(asks, nonces, strict=True):
            whole = b"".join(piece(nonce, place) for place in range(number))
            client.expect(nonce, whole if kind == "stream" else nonce.encode())
        try:
            client._more()
        except Gone:
            pass
        if not client.farewell:
            stage.world.fail("a farewell was not answered")
        client.leave()

    return guest


def cut_short(stage: Stage) -> None:
    """A guest whose answer breaks off: that must not look like its end."""
    client = EncryptedGuest(stage)
    client.ask("break", 3)
    try:
        client.receive()
        stage.world.fail("an answer that broke off came whole")
    except Gone:
        pass
    client.leave()


def rekeying(stage: Stage) -> None:
    """A guest who has keys renewed while answers come; where nothing can encrypt that, nobody."""
    if find_spec("cryptography") is None:
        return
    client = RekeyingStreamer(stage)
    client.start("stream", 4)
    client.start("sleep", 2)
    client.rekey()
    client.take()
    client.start("big", 4000)
    client.rekey()
    client.finish()
    client.leave()


def spoiling(stage: Stage) -> None:
    """A guest who sends nonsense while answers come."""
    client = EncryptedStreamer(stage)
    client.start("stream", 6)
    client.start("stream", 6)
    client.take()
    try:
        client.spoil()
        while True:
            client.take()
    except Gone:
        pass
    client.leave()


def soon(stage: Stage) -> None:
    """Stop while hands are shaken."""
    stage.world.sleep("drain.soon", 0.0003)
    stage.drain()


def going(*, streams: bool) -> list[Client]:
    """Guests who come when the server goes."""
    late = asking(("fast", 0), ("sleep", 2), kind=EncryptedStreamer)
    ask = idling(("fast", 0), ("fast", 0))
    return [awaiting_or_not, reluctant(ask), reluctant(ask), late if streams else reluctant(ask)]


def reluctant(guest: Client) -> Client:
    """A guest whose handshake may fail, because the server stops."""

    def tries(stage: Stage) -> None:
        try:
            guest(stage)
        except Gone:
            pass

    return tries


def awaiting_or_not(stage: Stage) -> None:
    """A guest whose certificate has to be got, and may come too late."""
    try:
        client = EncryptedGuest(stage, name=LATE)
    except (Gone, OSError):
        return
    nonce = stage.nonce()
    try:
        client.send(request("fast", nonce))
        answered(stage, client, nonce)
    except Gone:
        pass  # it was not run
    client.leave()


_SHAKING = [
    awaiting_or_not,
    breaking_off(0),
    breaking_off(1),
    slowly,
    reluctant(idling(("fast", 0), ("sleep", 2), ("fast", 0))),
]
_ENDING = [
    awaiting(("fast", 0)),
    waving(("fast", 0), ("stream", 3)),
    waving(("sleep", 2)),
    cut_short,
    leaving("stream", 20, read=1),
    dawdling("big", 100_000),
    pipelined(("sleep", 2), ("fast", 0)),
]
_STREAMS = [
    rekeying,
    spoiling,
    asking(("stream", 4), ("sleep", 2), ("fast", 0), kind=EncryptedStreamer),
]


def _on_cores(stage: Stage) -> Any:
    return on_cores(stage, encryption=encryption(stage))


def _on_loops(stage: Stage) -> Any:
    return on_two_loops(stage, encryption=encryption(stage))


_on_four = partial(perform, client=EncryptedGuest)


def tls(world: World) -> None:
    """Handshakes that are broken off, too slow, or wait for their certificate."""
    _on_four(world, _on_cores, 4, *_SHAKING, jump=2.0)


def tls_close(world: World) -> None:
    """Farewells that cross answers, answers that break off, clients that go."""
    _on_four(world, _on_cores, 4, *_ENDING)


def tls_http2(world: World) -> None:
    """Keys renewed, and nonsense sent, while threads send: reading has to write."""
    _on_four(world, _on_cores, 4, *_STREAMS)


def tls_drain(world: World) -> None:
    """The engine stops while hands are shaken."""
    _on_four(world, _on_cores, 4, *going(streams=True), meanwhile=soon)


def loop_tls(world: World) -> None:
    """The same handshakes on event loops."""
    _on_four(world, _on_loops, _MANY, *_SHAKING, jump=2.0)


def loop_tls_close(world: World) -> None:
    """The same ends on event loops, and HTTP/2 whose keys are renewed."""
    _on_four(world, _on_loops, _MANY, *_ENDING, *_STREAMS)


def loop_tls_drain(world: World) -> None:
    """Event loops stop while hands are shaken."""
    _on_four(world, _on_loops, _MANY, *going(streams=True), meanwhile=soon)


_CORE = ("secure", "core.lock", "client", "certificate", "LockedSecureSocket")
_LOOP = ("loop", "client", "certificate", "dispatcher")

SCENES = [
    Scene("tls", tls.__doc__ or "", tls, _CORE),
    Scene("tls-close", tls_close.__doc__ or "", tls_close, _CORE),
    Scene("tls-http2", tls_http2.__doc__ or "", tls_http2, (*_CORE, "Pump")),
    Scene("tls-drain", tls_drain.__doc__ or "", tls_drain, (*_CORE, "drain")),
    Scene("loop-tls", loop_tls.__doc__ or "", loop_tls, _LOOP),
    Scene("loop-tls-close", loop_tls_close.__doc__ or "", loop_tls_close, _LOOP),
    Scene("loop-tls-drain", loop_tls_drain.__doc__ or "", loop_tls_drain, (*_LOOP, "drain")),
]
