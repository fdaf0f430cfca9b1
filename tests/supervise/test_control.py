"""The control socket without a master: over a unix socket, and over a port with a token."""

import json
import os
import queue
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nogilserve.errors import ControlError
from nogilserve.supervise.control import Control, Request, ask

Events = queue.SimpleQueue[tuple[str, int, Any]]


def answer_all(events: Events) -> None:
    """Be the master: say what was asked, until told to end."""
    while (event := events.get())[0] == "control":
        request: Request = event[2]
        request.answer(request.command, arguments=dict(request.arguments), size="x" * 300_000)


@pytest.fixture(params=[False, True], ids=["unix", "loopback"])
def control(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Control]:
    """A control socket with somebody who answers."""
    if not request.param and not hasattr(socket, "AF_UNIX"):
        pytest.skip("no unix sockets here")
    events: Events = queue.SimpleQueue()
    made = Control(str(tmp_path / "c.sock"), events, loopback=request.param)
    thread = threading.Thread(target=answer_all, args=(events,))
    thread.start()
    try:
        yield made
    finally:
        made.close()
        events.put(("end", 0, None))
        thread.join(10)


def test_commands_with_arguments(control: Control) -> None:
    """What is given arrives, and an answer may be long."""
    answer = ask(control.path, "threads", 10, {"to": 24})
    assert answer["text"] == "threads"
    assert answer["arguments"] == {"to": 24}
    assert len(answer["size"]) == 300_000


def test_its_file_is_the_users(control: Control) -> None:
    """Nobody else may read what opens it; it is gone afterwards."""
    if os.name == "posix":
        assert stat.S_IMODE(os.lstat(control.path).st_mode) == 0o600
    control.close()
    assert not os.path.lexists(control.path)
    with pytest.raises(ControlError):
        ask(control.path, "status", 1)


def test_many_at_once(control: Control) -> None:
    """Commands of several threads get their own answers each."""
    found: list[dict[str, Any]] = []

    def give(number: int) -> None:
        found.append(ask(control.path, "x", 20, {"number": number})["arguments"])

    threads = [threading.Thread(target=give, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(item["number"] for item in found) == list(range(24))


def test_without_the_token_nothing_is_answered(tmp_path: Path) -> None:
    """Whoever can reach the port, but not read the file, gets nothing."""
    events: Events = queue.SimpleQueue()
    control = Control(str(tmp_path / "c.sock"), events, loopback=True)
    try:
        place = json.loads(Path(control.path).read_text())
        for token in ({}, {"token": ""}, {"token": "0" * 32}):
            with socket.create_connection(("127.0.0.1", place["port"]), 10) as sock:
                sock.sendall(json.dumps({"command": "stop", **token}).encode() + b"\n")
                assert sock.recv(100) == b""
        assert events.empty()
    finally:
        control.close()


def test_a_file_that_says_nothing(tmp_path: Path) -> None:
    """Something else in its place is named."""
    path = tmp_path / "c.sock"
    path.write_text("{}")
    with pytest.raises(ControlError, match="does not say"):
        ask(str(path), "status", 1)
