"""What an application does that has got hold of its process's ways to the master: the master and
the others are none the worse for it."""

import array
import json
import os
import queue
import signal
import socket
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import pytest

from nogilserve.engine.meter import BOUNDS
from nogilserve.observe.flame import svg
from nogilserve.observe.metrics import render
from nogilserve.runtimes.intake import Intake, feed_pair
from nogilserve.runtimes.sums import are_totals, merged
from nogilserve.supervise import channel as channel_module
from nogilserve.supervise import telling
from nogilserve.supervise.board import Board
from nogilserve.supervise.channel import Channel
from nogilserve.supervise.child import Child
from nogilserve.supervise.control import Request
from nogilserve.supervise.identity import Identity
from nogilserve.supervise.inquiries import Inquiries
from tests.supervise.test_inquiries import Told, answered, family, totals
from tests.support.leaks import descriptors

pytestmark = pytest.mark.skipif(os.name != "posix", reason="as processes talk on POSIX")


def with_sockets(way: socket.socket, text: bytes, *sockets: socket.socket) -> None:
    """Send a message with descriptors."""
    rights = array.array("i", [sock.fileno() for sock in sockets])
    way.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """A channel whose other end an application has, and that end."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours, wary=True)
    yield channel, theirs
    channel.close()
    theirs.close()


def test_descriptors_that_nobody_wants_are_closed(ends: tuple[Channel, socket.socket]) -> None:
    """Those beside a message to the master."""
    channel, theirs = ends
    before = descriptors()
    with socket.socket() as one, socket.socket() as two:
        with_sockets(theirs, b'{"name": "x"}\n', one, two)
        assert channel.receive() == {"name": "x"}
    assert channel.sockets == []
    assert descriptors() == before


@pytest.mark.parametrize("text", [b"0 0\0GET / HTTP/1.1\r\n", b"", b"\xff\xff", b"no number"])
def test_connections_come_back_one_by_one(text: bytes) -> None:
    """Several in one message of the way back, or one without a word, leave nothing open."""
    sending, receiving = feed_pair()
    intake = Intake(receiving, socket.AF_INET, ("", ""), None, returning=True)
    before = descriptors()
    with socket.socket() as one, socket.socket() as two, sending, receiving:
        with_sockets(sending, text, one, two)
        try:
            connection, _ = intake.accept()
            connection.close()
        except OSError:
            assert not text.startswith(b"0 0")
        inside = descriptors()
        mine = {sock.fileno() for sock in (one, two)}
        assert {found for found in inside - before if found[0] not in mine} == set()


@pytest.mark.parametrize(
    "line", [b"5\n", b"[]\n", b"{}\n", b'{"name": 5}\n', b"x\n", b"[" * 50_000 + b"\n"]
)
def test_nonsense_is_no_message(ends: tuple[Channel, socket.socket], line: bytes) -> None:
    """Whoever reads learns it as ValueError, and ends the process."""
    channel, theirs = ends
    theirs.settimeout(5)
    theirs.sendall(line)
    with pytest.raises(ValueError, match=r".*"):
        channel.receive()


def test_messages_have_an_end(
    ends: tuple[Channel, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory of the master is not filled with what never ends."""
    monkeypatch.setattr(channel_module, "_LONGEST", 100_000)
    channel, theirs = ends
    theirs.sendall(b"x" * 100_000)
    theirs.sendall(b"x")
    with pytest.raises(ValueError, match="no end"):
        channel.receive()


def test_who_reads_no_more_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped does not stop the master, which sends it questions."""
    monkeypatch.setattr(channel_module, "_PATIENCE", 1)
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    child = Child(1, "test", Identity(), events)
    try:
        os.kill(child.pid, signal.SIGSTOP)
        for number in range(100):
            child.send("ask", id=number, question="x" * 10_000)
            if child.channel.deaf:
                break
        assert child.channel.deaf
        assert events.get(timeout=10)[0] == "exited"
    finally:
        child.kill()
        child.close()


def scribble(board: Board, text: bytes) -> None:
    """Write onto a board without its rules."""
    memory: Any = board._memory
    memory[4:8] = struct.pack("=I", len(text))
    memory[8 : 8 + len(text)] = text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b'{"beat": "x", "running": 5, "counters": [1], "pid": 1}', {}),
        (b'{"beat": Infinity, "counters": {"a": 1e999, "b": "x", "refused": {"d": []}}}', None),
        (b'{"counters": {"requests": 1' + b"0" * 400 + b"}}", {"counters": {}}),
        (b"[" * 30_000, {}),
        (
            b'{"prepared": {"frozen": "x", "gc": 5, "left": {"\\u001b[2J": 1, "a": "b", "c": 1}}}',
            {"prepared": {"left": {"c": 1}}},
        ),
        (
            b'{"collections": {"0": {"number": 1, "seconds": []}, "2": 5, "x": {}}}',
            {"collections": {"0": {"number": 1}}},
        ),
        (b'{"beat": 1.5, "counters": {"requests": 2, "refused": {"x": 1}}}', None),
    ],
)
def test_boards_say_nothing_else(text: bytes, wanted: dict[str, Any] | None) -> None:
    """What the master reads of a process are numbers where it expects numbers."""
    board = Board.create("test")
    try:
        scribble(board, text)
        found = board.read()
        if wanted is not None:
            assert found == wanted
        elif b"Infinity" in text:
            assert found == {"counters": {"refused": {}}}
        else:
            counters = {"requests": 2, "refused": {"x": 1}}
            assert found == {"beat": 1.5, "counters": counters}
    finally:
        board.close()


@pytest.mark.parametrize(
    "data",
    [
        5,
        {"counters": 5},
        {"counters": {"requests": "x"}},
        {"counters": {"refused": 5}},
        {"requests": {"GET": {}}},
        {"requests": {"GET 200 /": {"x": 1}}},
        {"requests": {"GET 200 /": 1}},
        {"waits": []},
        {"more": {}},
        {"counters": {"requests": float("nan")}},
        {"counters": {"requests": -1}},
        {"counters": {"made_up": 1}},
        {"counters": {"refused": {"x" * 1000: 1}}},
        {"counters": {"refused": {"\ud800": 1}}},
        {"counters": {"refused": {f"reason {i}": 1 for i in range(6000)}}},
        {"collections": 5},
        {"collections": {"3": {"number": 1}}},
        {"collections": {"0": {"number": float("nan")}}},
        {"collections": {"0": {"made_up": 1}}},
        {"collections": {"0": 1}},
        {"requests": {"GET  /": {"0": 1}}},
        {"requests": {"GET 200 \ud800": {"0": 1}}},
        {"requests": {"GET 200 a\nb": {"0": 1}}},
        {"requests": {"G\x1bT 200 /": {"0": 1}}},
        {"requests": {f"GET 200 /{i}": {"0": 1} for i in range(6000)}},
    ],
)
def test_sums_of_all_stay_sums(data: Any) -> None:
    """Counters of one that make no sense are left out; those of others go on."""
    assert not are_totals(data)
    inquiries, bad, good = Inquiries(), Told(), Told()
    request = Request("look")
    inquiries.pass_on(request, family(n1=bad, n2=good), 2, 0.0)
    number = bad.messages[0]["id"]
    inquiries.counted(1, data)
    inquiries.heard(1, {"id": number, "answer": {"totals": data}})
    inquiries.heard(2, {"id": number, "answer": totals(3)})
    assert answered(request)["ok"]
    inquiries.lost(1)
    inquiries.lost(2)
    again = Request("look")
    inquiries.pass_on(again, family(n3=good), 3, 1.0)
    inquiries.heard(3, {"id": good.messages[1]["id"], "answer": 5})
    assert not answered(again)["ok"]
    assert inquiries._past["counters"]["requests"] == 3


@pytest.mark.parametrize(
    "now",
    [
        5,
        {"threads": "x", "busy": float("nan"), "connections": {"idle": []}, "in_flight": 10**400},
        {"connections": {f"state {i}": 1 for i in range(1000)}},
        {"connections": {"\ud800": 1}},
        {"loops": [5, {}, {"lag": "x", "blocked": 0}, {"lag": 1}], "interpreters": [{"no": 1}]},
        {"inside": [{"key": 1, "method": "GET", "path": {"deep": {}}, "seconds": 1}] * 5000},
        {"lanes": {"name": "x"}, "cores": [[]], "made_up": [1]},
        {"failures": [{"at": 1, "text": "\ud800" * 100_000}], "pauses": [{"at": -1}]},
    ],
)
def test_metrics_go_on_whatever_one_says(now: Any) -> None:
    """Of a process that tells nonsense; those of others are there, and what is told can be sent."""
    pytest.importorskip("prometheus_client")
    inquiries, bad, good = Inquiries(), Told(), Told()
    request = Request("look")
    inquiries.pass_on(request, family(n1=bad, n2=good), 2, 0.0)
    number = bad.messages[0]["id"]
    inquiries.heard(1, {"id": number, "answer": {"totals": totals(4)["totals"], "now": now}})
    loops = [{"lag": 0.5, "blocked": 1}]
    mine = {"threads": 3, "busy": 1, "connections": {"idle": 2}, "loops": loops}
    inquiries.heard(2, {"id": number, "answer": {**totals(3), "now": mine}})
    answer = answered(request)
    json.dumps(answer).encode()
    looks = answer["answers"].values()
    assert all(len(look["now"].get("inside", ())) <= 1000 for look in looks)
    assert len(json.dumps(answer)) < 1_000_000
    seen = {
        "totals": merged([answer["past"], *(look["totals"] for look in looks)]),
        "now": merged(look["now"] for look in looks),
        "bounds": BOUNDS,
        "status": {},
        "processes": [],
    }
    text, _ = render(seen, "")
    assert b"\nnogilserve_application_requests_total 7.0\n" in text
    assert b"\nnogilserve_threads 3.0\n" in text
    assert b"\nnogilserve_event_loop_lag_seconds 0.5\n" in text


EVIL = "\x1b[2J\ud800\n" + "x" * 50_000
PLACES = [["file", 1, EVIL]] * 5000


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("stacks", {"threads": 5, "tasks": {}, "problems": 5}),
        (
            "stacks",
            {"threads": [5, {}, {"key": "x"}, {"key": 1, "stack": 5}], "problems": [[EVIL]]},
        ),
        ("stacks", {"threads": [{"key": 1, "name": EVIL, "stack": PLACES}] * 100}),
        ("stacks", {"threads": [{"key": 1, "stack": [5, [], ["x", "y", "z"], [1, 2, 3]]}]}),
        ("stacks", {"tasks": [{"key": 1, "text": EVIL, "member": []}, 5, {"text": "x"}] * 9000}),
        ("profile", {}),
        ("profile", {"folded": [], "samples": 1, "seconds": 1}),
        ("profile", {"folded": {"a;b": 1}, "samples": "x", "seconds": 1}),
        ("profile", {"folded": {EVIL: 1, "a": "x", "b": -1, "c": 0}, "samples": 1, "seconds": 1}),
        ("profile", {"folded": {f"{i}{EVIL}": 1 for i in range(500)}, "samples": 1, "seconds": 1}),
        ("memory", {}),
        ("memory", {"objects": float("nan"), "types": {}}),
        ("memory", {"objects": 1, "types": {EVIL: {"count": 1, "bytes": 1}, "x": 5, "y": {}}}),
        (
            "memory",
            {"objects": 1, "types": {f"{i}{EVIL}": {"count": 1, "bytes": 1} for i in range(500)}},
        ),
        ("gc", {}),
        ("gc", {"collected": [], "longest_seconds": 1}),
        ("gc", {"collected": 1, "longest_seconds": float("inf")}),
        ("threads", {"now": EVIL}),
        ("log-level", {"processes": -1}),
        ("stacks", {"error": EVIL}),
        ("memory", 5),
    ],
)
def test_commands_go_on_whatever_one_says(question: str, answer: Any) -> None:
    """What one of several answers to a command makes sense, is bounded, and does nothing to a
    terminal; what the other answers is told."""
    inquiries, bad, good = Inquiries(), Told(), Told()
    request = Request(question)
    inquiries.pass_on(request, family(n1=bad, n2=good), 2, 0.0, every=True)
    number = bad.messages[0]["id"]
    proper: dict[str, dict[str, Any]] = {
        "stacks": {
            "threads": [{"key": 1, "name": "core-0", "stack": [["a.py", 3, "run"]]}],
            "tasks": [{"key": 2, "text": "one\ntwo"}],
            "problems": ["some"],
        },
        "profile": {"folded": {"core-0;run": 3}, "samples": 3, "seconds": 0.5, "problems": []},
        "memory": {"objects": 7, "types": {"dict": {"count": 7, "bytes": 640}}},
        "gc": {"collected": 3, "longest_seconds": 0.25},
        "threads": {"now": 5},
        "log-level": {"processes": 1},
    }
    honest = proper[question]
    inquiries.heard(1, {"id": number, "answer": answer})
    inquiries.heard(2, {"id": number, "answer": honest})
    answers = json.loads(json.dumps(answered(request)))
    assert answers["ok"]
    assert answers["answers"]["2"] == honest
    assert len(json.dumps(answers)) < 20_000_000
    found = answers["answers"]["1"]
    texts = {
        "stacks": lambda: telling.stacks(answers),
        "memory": lambda: telling.memory(answers["answers"], answers["answers"]),
        "gc": lambda: telling.collected(answers),
        "threads": lambda: telling.threads(answers),
        "log-level": lambda: telling.levels(answers),
        "profile": lambda: [] if "error" in found else telling.profile(found),
    }[question]()
    if question == "memory":
        texts += telling.memory(answers["answers"], None)
    assert "\x1b" not in "\n".join(texts)
    "\n".join(texts).encode()
    if question == "profile" and "error" not in found:
        ET.fromstring(svg(found["folded"], "title"))


def test_what_is_gone_does_not_fill_the_memory() -> None:
    """One that dies and comes again, with other kinds of requests each time."""
    inquiries = Inquiries()
    for turn in range(6):
        rows = {f"GET 200 /{turn}/{i}": {"0": 1} for i in range(5000)}
        inquiries.counted(turn, {"counters": {"requests": 1}, "requests": rows})
        inquiries.lost(turn)
    assert len(inquiries._past["requests"]) == 20_000
    assert inquiries._past["counters"]["requests"] == 6
