"""Requests of a burst wait for each other, in threads and on event loops."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from nogilserve.stress.stage import Stage, StagedAsgi, StagedWsgi, Witness
from nogilserve.stress.tickets import ENVIRON_KEY, FIELD, Ticket
from nogilserve.stress.turns import CURRENT

SECONDS = 20.0


def ticket(index: int, together: int, burst: int = 1, **more: Any) -> str:
    """The text of a ticket without pauses."""
    return str(Ticket(burst, index, together, 1, 0, **more))


def test_ticket_round_trip() -> None:
    """What is written is read."""
    for given in (Ticket(1, 2, 3, 4, 5), Ticket(9, 0, 1, 0, 0, detail=True, hold=True)):
        assert Ticket.read(str(given)) == given
    with pytest.raises(ValueError, match="unpack"):
        Ticket.read("1/2")


def test_threads_meet() -> None:
    """None gets into the application before all are here: the barrier inside would never open
    otherwise. Two bursts at the same time do not mix."""
    barriers = {"1": threading.Barrier(4), "2": threading.Barrier(3)}
    stage = Stage()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        assert ENVIRON_KEY not in environ
        barriers[environ["burst"]].wait(SECONDS)
        return [b"done"]

    staged = StagedWsgi(application, stage)

    def call(burst: int, index: int, together: int) -> bool:
        environ = {"burst": str(burst), ENVIRON_KEY: ticket(index, together, burst)}
        return staged(environ, lambda *_: None) == [b"done"]

    calls = [(1, index, 4) for index in range(4)] + [(2, index, 3) for index in range(3)]
    with ThreadPoolExecutor(7) as pool:
        assert all(pool.map(lambda each: call(*each), calls))
    assert sorted(turn.ticket.index for turn in stage.leave(1)) == [0, 1, 2, 3]
    assert len(stage.leave(2)) == 3


def test_one_that_never_comes_is_not_waited_for() -> None:
    """The server may have answered it itself."""
    staged = StagedWsgi(lambda environ, start_response: [b"alone"], Stage())
    assert staged({ENVIRON_KEY: ticket(0, 2)}, lambda *_: None) == [b"alone"]


def test_loops_meet() -> None:
    """Requests on two event loops, one thread each, begin together."""
    meeting = threading.Barrier(2)
    stage = Stage()
    order: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert scope["headers"] == [(b"a", b"b")]
        assert CURRENT.get() is not None
        order.append("in")

    staged = StagedAsgi(application, stage)

    async def both(first: int) -> None:
        await asyncio.to_thread(meeting.wait, SECONDS)
        headers = [(b"a", b"b")]
        await asyncio.gather(
            *(
                staged(
                    {
                        "type": "http",
                        "headers": [*headers, (FIELD.encode(), ticket(index, 4).encode())],
                    },
                    None,
                    None,
                )
                for index in (first, first + 1)
            )
        )

    threads = [threading.Thread(target=asyncio.run, args=(both(first),)) for first in (0, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert order == ["in"] * 4
    assert stage.waiting() == []


def test_threads_are_held_until_they_are_let_go() -> None:
    """So that a request runs in another thread than usual."""
    stage = Stage()
    staged = StagedWsgi(lambda environ, start_response: [b"no"], stage)

    def hold() -> list[bytes]:
        return list(staged({ENVIRON_KEY: ticket(0, 1, hold=True)}, lambda *_: None))

    with ThreadPoolExecutor(3) as pool:
        held = [pool.submit(hold) for _ in range(3)]
        while stage.held < 3:
            pass
        assert not any(each.done() for each in held)
        stage.let_go()
        assert [each.result(SECONDS) for each in held] == [[b"held\n"]] * 3


def test_failures_are_noted() -> None:
    """What is raised at once, while the body is read, or only logged."""

    def body() -> Any:
        yield b"a"
        raise KeyError("body")

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        logger.error("only logged")
        if environ["raise"]:
            raise ValueError("at once")
        return body()

    logger = logging.getLogger("stressed application")
    logger.addHandler(Witness())
    stage = Stage()
    staged = StagedWsgi(application, stage)
    with pytest.raises(ValueError, match="at once"):
        staged({"raise": True, ENVIRON_KEY: ticket(0, 1)}, lambda *_: None)
    with pytest.raises(KeyError):
        list(staged({"raise": False, ENVIRON_KEY: ticket(1, 1)}, lambda *_: None))
    CURRENT.set(None)
    first, second = (turn.failures for turn in stage.leave(1))
    assert [text.splitlines()[-1] for text in first] == ["only logged", "ValueError: at once"]
    assert [text.splitlines()[-1] for text in second] == ["only logged", "KeyError: 'body'"]


def test_requests_without_a_ticket_pass() -> None:
    """Those of a hook, and everything that is no request."""
    staged = StagedWsgi(lambda environ, start_response: [b"plain"], Stage())
    assert staged({}, lambda *_: None) == [b"plain"]
    seen = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(StagedAsgi(application, Stage())({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]
