"""examples/chat.py: its members live on different loops and hear each other."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.apps.asgi_served import AsgiServed
from tests.apps.raw_websocket import RawWebSocket
from tests.support.server import ROOT

pytest.importorskip("fastapi", reason="FastAPI has no wheels for this interpreter")


@pytest.fixture(scope="module")
def server() -> Iterator[AsgiServed]:
    """One server for all tests here."""
    with AsgiServed("chat:app", "--loops", "4", cwd=ROOT / "examples") as running:
        yield running
    assert "Traceback" not in running.log, running.log


def hear(member: RawWebSocket, kind: str) -> dict[str, object]:
    """The next message of that kind."""
    while (found := member.document())["kind"] != kind:
        pass
    return dict(found)


def hear_text(member: RawWebSocket, text: str) -> None:
    """Read until somebody says that."""
    while hear(member, "said")["text"] != text:
        pass


def test_page(server: AsgiServed) -> None:
    """The page is there."""
    with server.raw() as client:
        assert b"<title>nogilserve: chat</title>" in client.get("/").body


def test_members_on_different_loops(server: AsgiServed) -> None:
    """Eight members on four loops: all hear everything, in the order each one spoke."""
    with ExitStack() as stack:
        members = [stack.enter_context(server.websocket()) for _ in range(8)]
        loops = set()
        for number, member in enumerate(members):
            member.open(f"/chat?name=m{number}")
            loops.add(hear(member, "welcome")["loop"])
        assert len(loops) == 4
        for turn in range(5):
            for member in members:
                member.say(f"turn {turn}")
        for member in members:
            heard = [hear(member, "said") for _ in range(40)]
            for number in range(8):
                mine = [said["text"] for said in heard if said["name"] == f"m{number}"]
                assert mine == [f"turn {turn}" for turn in range(5)]
        members[0].leave()
        assert "m0" not in str(hear(members[7], "members")["names"])


def test_who_comes_later_hears_what_was_said(server: AsgiServed) -> None:
    """The last messages are kept."""
    with server.websocket() as first:
        first.open("/chat?name=early")
        first.say("for those who come later")
        hear_text(first, "for those who come later")
        with server.websocket() as second:
            second.open("/chat?name=late")
            hear_text(second, "for those who come later")
            second.leave()
        first.leave()


def test_one_who_does_not_read_holds_up_nobody(server: AsgiServed) -> None:
    """A member that stops reading is let go after a while; the others go on talking."""
    with server.websocket(4096) as deaf, server.websocket() as speaker:
        deaf.open("/chat?name=deaf")
        speaker.open("/chat?name=speaker")
        for number in range(2000):
            text = f"{number}".rjust(500)
            speaker.say(text)
            hear_text(speaker, text)
        speaker.leave()
