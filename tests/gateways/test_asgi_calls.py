"""What ASGI applications send and receive, in the right order and in wrong ones."""

import asyncio
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nogilserve.errors import ClientDisconnected
from nogilserve.gateways.asgi.calls import at_home, leave_home, only_gone
from tests.engine.loop.rig import LoopRig, get, turn
from tests.engine.threads import Running
from tests.gateways.asgi_served import Application, answer, on_asgi, respond

START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"fine"}


def sends(*messages: Any) -> Application:
    """An application that sends these."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


def test_an_ordinary_response() -> None:
    """One start, one body."""
    assert answer(sends(START, BODY)).endswith(b"\r\n\r\nfine")


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [START],
        [BODY],
        [START, START],
        [{"type": "http.response.start"}],
        [{"type": "http.response.start", "status": "200"}],
        [{"type": "http.response.start", "status": None}],
        [{"type": "http.response.start", "status": [200]}],
        [{"type": "http.response.start", "status": True}],
        [{"type": "http.response.start", "status": 99}],
        [{"type": "http.response.start", "status": 1000}],
        [START | {"headers": None}],
        [START | {"headers": [("a", "b")]}],
        [START | {"headers": [(b"a",)]}],
        [START | {"headers": [(b"a\r\n", b"b")]}],
        [START | {"headers": [(b"a", b"b\r\nc: d")]}],
        [START, BODY | {"body": "text"}],
        [START, BODY | {"body": None}],
        [START, BODY | {"body": "text", "more_body": True}],
        [START | {"headers": [(b"content-length", b"3")]}, BODY],
        [START | {"headers": [(b"content-length", b"5")]}, BODY],
        [START | {"headers": [(b"content-length", b"3")]}, BODY | {"more_body": True}],
        [START, {"type": "websocket.accept"}],
        [START, {"type": "http.response.trailers"}],
        [{"type": "nonsense"}],
        [{}],
        [None],
    ],
)
def test_mistakes_before_anything_was_sent(
    messages: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets a whole 500, the log the reason and the id that the client was told."""
    got = answer(sends(*messages))
    assert got.startswith(b"HTTP/1.1 500 "), got
    assert b"fine" not in got
    assert got.count(b"HTTP/1.1") == 1
    record = caplog.records[-1]
    assert record.levelno == logging.ERROR
    request_id = record.getMessage().partition("]")[0].lstrip("[")
    assert request_id.encode() in got


@pytest.mark.parametrize(
    "messages",
    [
        [START, BODY | {"more_body": True}],
        [START, BODY | {"more_body": True}, BODY | {"body": 3}],
        [START, BODY | {"more_body": True}, START],
        [START | {"headers": [(b"content-length", b"9")]}, BODY | {"more_body": True}, BODY],
        [START | {"headers": [(b"content-length", b"5")]}, BODY | {"more_body": True}, BODY],
        [START | {"trailers": True}, BODY],
        [START | {"trailers": True}, BODY, BODY],
    ],
)
def test_mistakes_in_the_middle(messages: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    """The connection ends without what would make the response complete, and it is logged."""
    got = answer(sends(*messages))
    assert got.startswith(b"HTTP/1.1 200 ")
    assert not got.endswith(b"0\r\n\r\n")
    assert caplog.records[-1].levelno == logging.ERROR


def test_messages_after_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """The response is sent, whatever the application does next; that is logged."""
    assert answer(sends(START, BODY, BODY)).endswith(b"fine")
    assert "after the response was complete" in caplog.text


def test_trailers() -> None:
    """They stand behind the body, those of several messages together."""
    trailers = {"type": "http.response.trailers", "headers": [(b"a", b"1")], "more_trailers": True}
    last = {"type": "http.response.trailers", "headers": [(b"b", b"2")]}
    got = answer(sends(START | {"trailers": True}, BODY, trailers, last))
    assert got.endswith(b"4\r\nfine\r\n0\r\na: 1\r\nb: 2\r\n\r\n")


def test_debug_information_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """http.response.debug goes to the log, and does not disturb the response."""
    debug = {"type": "http.response.debug", "info": {"template": "x.html"}}
    with caplog.at_level(logging.DEBUG, "nogilserve.error"):
        assert answer(sends(debug, START, BODY), debug=True).endswith(b"fine")
    assert "x.html" in caplog.text


# ---- files


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing", "wrong"])
def test_paths_that_are_no_files(kind: str, tmp_path: Path) -> None:
    """500, at once, and no descriptor is left open (see the leak guard)."""
    path: Any = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "wrong":
        path = 3.5
    else:
        path = str(path)
    message = {"type": "http.response.pathsend", "path": path}
    assert answer(sends(START, message)).startswith(b"HTTP/1.1 500 ")


def test_a_path(tmp_path: Path) -> None:
    """The whole file, with its length."""
    path = tmp_path / "file"
    path.write_bytes(bytes(100000))
    got = answer(sends(START, {"type": "http.response.pathsend", "path": str(path)}))
    assert b"Content-Length: 100000\r\n" in got
    assert got.endswith(bytes(100000))


@pytest.mark.parametrize("kind", ["folder", "closed", "number", "none", "pipe"])
def test_descriptors_that_are_no_files(kind: str, tmp_path: Path) -> None:
    """500, and no descriptor is left open, or closed that is not ours."""
    folder = os.open(tmp_path, os.O_RDONLY)
    near, far = os.pipe()
    closed = open(tmp_path / "x", "wb")  # noqa: SIM115
    closed.close()
    file: Any = {"folder": folder, "closed": closed, "number": 987654, "none": None, "pipe": near}
    message = {"type": "http.response.zerocopysend", "file": file[kind]}
    try:
        assert answer(sends(START, message)).startswith(b"HTTP/1.1 500 ")
    finally:
        for fd in (folder, near, far):
            os.close(fd)


def test_a_descriptor_may_be_closed_meanwhile(tmp_path: Path) -> None:
    """A part of a file, at its position, from a file that the application closes while it is
    sent."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 100000)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        with open(path, "rb") as file:
            file.seek(5)
            sending = asyncio.ensure_future(
                send({"type": "http.response.zerocopysend", "file": file})
            )
            await turn()
        await sending

    assert answer(app).endswith(path.read_bytes()[5:])


# ---- receive


def test_receive_after_the_response() -> None:
    """It is http.disconnect, however often it is asked, also for who waits already."""
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.request"
        waiting = asyncio.ensure_future(receive())
        await turn()
        await respond(send)
        told.append((await waiting)["type"])
        told.append((await receive())["type"])

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(get("/1") + get("/2"))
        await peer.until(b"fine")
        await peer.until(b"fine")
        await rig.until(lambda: len(told) == 4)

    on_asgi(app, main)
    assert set(told) == {"http.disconnect"}


def test_an_application_that_outlives_its_response_does_not_touch_the_next() -> None:
    """Neither its messages nor its failure reach the request that follows on the connection."""
    errors: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, scope["path"].encode())
        if scope["path"] == "/one":
            await second.wait()
            for message in (START, BODY):
                try:
                    await send(message)
                except Exception as exc:
                    errors.append(exc)
            raise RuntimeError("late")
        second.set()

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(get("/one") + get("/two") + get("/three", "Connection: close"))
        data = await peer.rest()
        assert [data.count(path) for path in (b"/one", b"/two", b"/three")] == [1, 1, 1]
        assert data.count(b"HTTP/1.1 200") == 3

    second = asyncio.Event()
    on_asgi(app, main)
    assert len(errors) == 2


# ---- from other loops


def test_send_and_receive_from_another_loop() -> None:
    """They work from any thread's loop, and the response is the same."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def elsewhere() -> None:
            assert (await receive())["body"] == b"abc"
            await respond(send, b"from afar")

        await asyncio.to_thread(asyncio.run, elsewhere())
        await asyncio.get_running_loop().shutdown_default_executor()

    request = get("/", "Content-Length: 3", "Connection: close").replace(b"GET", b"POST") + b"abc"
    assert answer(app, request).endswith(b"from afar")


def test_mistakes_from_another_loop() -> None:
    """They are raised there."""
    raised: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def elsewhere() -> None:
            try:
                await send(BODY)
            except Exception as exc:
                raised.append(exc)

        await asyncio.to_thread(asyncio.run, elsewhere())
        await asyncio.get_running_loop().shutdown_default_executor()
        await respond(send)

    assert answer(app).endswith(b"fine")
    assert len(raised) == 1


async def _nothing() -> None:
    pass


@pytest.mark.parametrize("when", ["closed before", "ends meanwhile", "ended, not closed yet"])
def test_a_loop_that_has_ended_is_not_waited_for(when: str) -> None:
    """Who calls it hears that nobody is there, as of a client that is gone."""
    home = asyncio.new_event_loop()
    if when != "ends meanwhile":
        leave_home(home)
    if when == "closed before":
        home.close()

    async def visit() -> None:
        with pytest.raises(ClientDisconnected):
            await at_home(home, _nothing)

    visiting = Running(lambda: asyncio.run(visit()))
    if when == "ends meanwhile":
        # The loop never runs: whether the call is noted before or after this, it must be failed.
        while visiting.alive():
            leave_home(home)
            with suppress(TimeoutError):
                visiting.result(0.01)
    visiting.result()
    if when != "closed before":
        home.close()


def test_what_says_only_that_the_client_is_gone() -> None:
    """Our exception, groups of it and what frameworks make of it; not an error in handling it."""

    class ClientDisconnect(Exception):
        """As Starlette names it."""

    def raised(make: Any, cause: BaseException | None = None) -> BaseException:
        try:
            try:
                raise ClientDisconnected("gone")
            except OSError:
                raise make from cause
        except BaseException as exc:
            return exc

    gone = ClientDisconnected("gone")
    assert only_gone(gone)
    assert only_gone(raised(ClientDisconnect()))
    assert only_gone(raised(RuntimeError("x"), gone))
    assert only_gone(BaseExceptionGroup("tasks", [gone, raised(ClientDisconnect())]))
    assert not only_gone(raised(ValueError("in the handler")))
    assert not only_gone(ExceptionGroup("tasks", [gone, ValueError("x")]))
    assert not only_gone(ClientDisconnect())
