"""A drain that another process makes up for: idle connections may ask once more."""

import socket
from time import monotonic

import pytest

from tests.runtimes.served import SECONDS, Listening, Served, echo_target
from tests.support.waiting import wait_until


def test_idle_connection_may_ask_once_more() -> None:
    """It is answered, told that the connection ends, and then ended."""
    with Served(echo_target, threads=2, cores=1, keep_alive=100.0) as served:
        with served.connect() as client, served.connect() as fresh:
            assert client.get("/").get("Connection") == ""
            served.runtime.drain(patient=True)
            assert not served.runtime.join(monotonic() + 0.1)
            for one in (client, fresh):
                assert one.get("/again").get("Connection") == "close"
                one.wait_closed()
        assert served.runtime.join(monotonic() + SECONDS)
        served.ended = True


def test_patience_ends_with_the_keep_alive_time() -> None:
    """A connection that does not ask is ended when it would have been anyway."""
    with Served(echo_target, threads=2, cores=1, keep_alive=0.2) as served, served.connect() as one:
        assert one.get("/").status == 200
        served.runtime.drain(patient=True)
        assert served.runtime.join(monotonic() + SECONDS)
        served.ended = True
        one.wait_closed()


@pytest.mark.parametrize("joined", [True, False])
def test_patience_can_be_lost(joined: bool) -> None:
    """A second drain without it ends idle connections at once, whenever it comes."""
    stopped: list[str] = []
    with Served(echo_target, threads=2, cores=2, keep_alive=100.0) as served:
        with served.connect() as client:
            assert client.get("/").status == 200
            served.runtime.drain(lambda: stopped.append("stopped"), patient=True)
            if joined:
                assert not served.runtime.join(monotonic() + 0.1)
                assert stopped == ["stopped"]
            served.runtime.drain()
            assert served.runtime.join(monotonic() + SECONDS)
            client.wait_closed()
        served.ended = True
    assert stopped == ["stopped"]


def test_further_sockets_can_be_watched() -> None:
    """What `accept` is given is served like what `start` was given, and let go by `drain`."""
    with (
        Served(echo_target, threads=2, cores=2) as served,
        socket.create_server(("127.0.0.1", 0)) as second,
    ):
        second.setblocking(False)
        address: tuple[str, int] = second.getsockname()
        with served.connect() as client:
            assert client.get("/first").body == b"/first"
        served.runtime.accept([Listening(second, (address[0], str(address[1])))])
        first, served.address = served.address, address
        with served.connect() as client:
            assert client.get("/second").body == b"/second"
        served.address = first
        assert served.stop()
        wait_until(lambda: not served.runtime.accepting)
