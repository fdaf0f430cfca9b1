"""What is on its way for a connection that HTTP/2 has taken over."""

from collections.abc import Callable

import pytest

from nogilserve.engine.connection import Connection
from nogilserve.engine.http2 import begin
from tests.engine.rig import Rig
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
