"""Orders that are on their way to what stood in the core's table before."""

from collections.abc import Callable

import pytest

from nogilserve.engine.connection import Connection
from nogilserve.engine.http2 import begin
from nogilserve.engine.preamble import Beginning
from nogilserve.engine.wheel import NEVER
from nogilserve.messages import Exchange
from nogilserve.protocols.proxy import Preamble
from tests.engine.rig import Rig, get, reply
from tests.support import http2 as h2

Order = Callable[[Connection], Callable[[object], bool]]


@pytest.mark.parametrize("order", [lambda c: c.stop, lambda c: c.resume], ids=["stop", "resume"])
def test_an_order_from_before_does_nothing(order: Order) -> None:
    """It was meant for the connection that spoke HTTP/1: it reads nothing of what is the session's,
    and begins no second one."""
    with Rig() as rig:
        rig.core.begin_http2 = begin
        peer = rig.connect().send(h2.PREFACE + h2.settings() + h2.headers(1))
        assert rig.drive()
        session = rig.core.table[peer.connection.fd]
        assert session is not peer.connection
        rig.core.submit(order(peer.connection))
        peer.send(h2.headers(3))
        assert rig.drive()
        assert rig.core.table[peer.connection.fd] is session
        assert rig.ran == ["/", "/"]
        frames = h2.parse(peer.taken())
        assert not h2.goaways(frames)
        assert [one.stream for one in frames if one.kind == h2.HEADERS] == [1, 3]
        peer.sock.close()
        assert rig.drive()


def test_stop_of_a_beginning_that_is_over() -> None:
    """The PROXY header has come, and the request runs: it has no deadline, and gets its answer."""
    deadlines: list[float] = []

    def long(exchange: Exchange) -> None:
        rig.steal()
        rig.core.submit(beginning.stop)
        assert rig.drive()
        deadlines.append(peer.connection.deadline)
        reply(exchange, b"late")

    with Rig({"/long": long}) as rig:
        peer = rig.connect()
        beginning = Beginning(peer.connection, Preamble(required=True))
        rig.core.table[peer.connection.fd] = beginning
        peer.send(b"PROXY TCP4 192.0.2.7 192.0.2.8 1000 80\r\n" + get("/long"))
        assert not rig.drive()
        assert rig.drive()
        assert deadlines == [NEVER]
        assert peer.bodies() == [b"late"]


def test_patient_core_waits_for_the_header() -> None:
    """As long as ever: another process serves on, and the client has been accepted."""
    with Rig() as rig:
        peer = rig.connect()
        beginning = Beginning(peer.connection, Preamble(required=True))
        rig.core.table[peer.connection.fd] = beginning
        before = peer.connection.deadline
        rig.core.stopping = rig.core.patient = True
        rig.core.submit(beginning.stop)
        assert rig.drive()
        assert peer.connection.deadline == before
        peer.send(b"PROXY TCP4 192.0.2.7 192.0.2.8 1000 80\r\n" + get("/"))
        assert rig.drive()
        assert peer.bodies() == [b"hello"]
