"""Handshakes on an event loop: certificates that come later, and that never come."""

import ssl
from collections.abc import Sequence
from typing import Any

import pytest

from nogilserve.engine.encryption import Context, Encryption, Ready
from nogilserve.engine.loop import direct
from nogilserve.engine.loop.core import Accepted
from nogilserve.engine.loop.kinds import make_client
from nogilserve.tls.context import make_context
from tests.engine.loop.rig import LoopRig, Peer, get, has_bytes, on_loop, reply
from tests.support.certificates import NEEDS_OPENSSL, Authority, client_hello, trusting

pytestmark = NEEDS_OPENSSL

UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"


class Later:
    """A source that has a certificate when the test says so. Owner: the test's thread."""

    def __init__(self, context: Context | None) -> None:
        self.context = context
        self.waiting: list[Ready] = []

    def find(self, name: str, protocols: Sequence[str]) -> Context | None:
        """One for all names."""
        return self.context

    def request(self, name: str, protocols: Sequence[str], ready: Ready) -> bool:
        """Names that begin with "never" get none."""
        self.waiting.append(ready)
        return not name.startswith("never")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One for all tests here."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def context(authority: Authority) -> Context:
    """A certificate for later.test."""
    certificate, key = authority.issue("later.test")
    return make_context(str(certificate), str(key))


async def connect(rig: LoopRig, *, local: bool = False) -> Peer:
    """A connection that is to speak TLS."""
    ours, peer = rig.pair(local=local)
    rig.shares.assign(0)
    rig.core._make_client = make_client
    before = len(rig.core.clients)
    client = None if local else ("192.0.2.1", "1234")
    rig.core.adopt_soon([Accepted(ours.detach(), ours.family, client, ("test", "443"))])
    await rig.until(lambda: len(rig.core.clients) > before)
    return peer


async def greet(peer: Peer, tls: ssl.SSLObject, ours: ssl.MemoryBIO, theirs: ssl.MemoryBIO) -> None:
    """The client's part of a handshake."""
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            await peer.send(theirs.read())
            ours.write(await peer.receive())
        else:
            await peer.send(theirs.read())
            return


class Speaker:
    """A client that speaks TLS. Owner: the test's coroutine."""

    def __init__(self, peer: Peer, authority: Authority) -> None:
        self.peer = peer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = trusting(authority)
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="later.test")

    async def greet(self) -> None:
        """The handshake, and the tickets that follow it."""
        await greet(self.peer, self._tls, self._incoming, self._outgoing)
        await self.ask("/first")

    def say(self, target: str) -> None:
        """A request that is there before the loop goes on."""
        self._tls.write(get(target))
        self.peer.sock.send(self._outgoing.read())

    async def hear(self, end: bytes) -> bytes:
        """What comes, up to `end`."""
        received = b""
        while not received.endswith(end):
            try:
                received += self._tls.read(65536)
            except ssl.SSLWantReadError:
                self._incoming.write(await self.peer.receive())
        return received

    async def ask(self, target: str) -> None:
        """A request, and its response."""
        self.say(target)
        await self.hear(target.encode())


def test_responses_wait_for_each_other(
    authority: Authority, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those to requests that were ready together leave together, encrypted in their order."""
    arrived: list[int] = []
    peers: list[Peer] = []

    async def looking(exchange: Any) -> None:
        arrived.append(sum(map(has_bytes, peers)))
        await reply(exchange)

    async def main(rig: LoopRig) -> None:
        speakers = []
        for _ in range(3):
            speaker = Speaker(await connect(rig, local=True), authority)
            await speaker.greet()
            speakers.append(speaker)
        peers.extend(speaker.peer for speaker in speakers)
        monkeypatch.setattr(direct, "monotonic", lambda: 1e9)
        for speaker in speakers:
            speaker.say("/look")
        for speaker in speakers:
            await speaker.hear(b"/look")
        speakers[0].say("/look")
        speakers[0].say("/last")
        await speakers[0].hear(b"/last")

    on_loop(main, {"/look": looking}, encryption=Encryption(Later(context)))
    assert arrived[:3] == [0, 0, 0]


def test_certificate_that_comes_later(authority: Authority, context: Context) -> None:
    """The handshake is parked, and goes on when there is a certificate."""
    source = Later(None)

    async def main(rig: LoopRig) -> bytes:
        peer = await connect(rig)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusting(authority).wrap_bio(incoming, outgoing, server_hostname="later.test")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        await peer.send(outgoing.read())
        await rig.until(lambda: source.waiting)
        rig.look_after(30)  # longer than a handshake may take
        source.waiting.pop()(context)
        incoming.write(await peer.receive())
        await greet(peer, tls, incoming, outgoing)
        tls.write(get("/"))
        await peer.send(outgoing.read())
        received = b""
        while not received.endswith(b"late"):
            incoming.write(await peer.receive())
            try:
                received += tls.read(65536)
            except ssl.SSLWantReadError:
                continue
        return received

    routes: dict[str, Any] = {"/": reply_late}
    encryption = Encryption(source, timeout=10.0, waiting=60.0)
    assert b"200 OK" in on_loop(main, routes, encryption=encryption)


async def reply_late(exchange: Any) -> None:
    """What is served."""
    exchange.prepare("200 OK", [])
    exchange.send_whole(b"late")


@pytest.mark.parametrize("name", ["later.test", "never.test"])
def test_certificate_that_never_comes(name: str) -> None:
    """The client gets the alert that says which name is the trouble (RFC 6066 §3)."""
    source = Later(None)

    async def main(rig: LoopRig) -> tuple[bytes, dict[str, int]]:
        peer = await connect(rig)
        await peer.send(client_hello(name))
        await rig.until(lambda: source.waiting)
        source.waiting.pop()(None)
        return await peer.rest(), dict(rig.refused)

    alert, refused = on_loop(main, encryption=Encryption(source))
    assert alert == UNRECOGNIZED_NAME
    assert refused == {"TLS: no certificate for the name": 1}


def test_handshake_that_does_not_go_on(context: Context) -> None:
    """It is given up when its time is over."""

    async def main(rig: LoopRig) -> tuple[bytes, dict[str, int]]:
        peer = await connect(rig)
        await peer.send(client_hello("later.test")[:20])
        await rig.turn()
        rig.look_after(12)
        return await peer.rest(), dict(rig.refused)

    found = on_loop(main, encryption=Encryption(Later(context)))
    assert found == (b"", {"TLS handshake too slow": 1})


def test_client_leaves_while_it_waits(context: Context) -> None:
    """The certificate comes for a connection that is not there any more."""
    source = Later(None)

    async def main(rig: LoopRig) -> None:
        peer = await connect(rig)
        await peer.send(client_hello("later.test"))
        await rig.until(lambda: source.waiting)
        peer.reset()
        await rig.until(lambda: not rig.core.clients)
        source.waiting.pop()(context)
        await rig.turn()

    on_loop(main, encryption=Encryption(source))
