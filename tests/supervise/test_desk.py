"""Who waits for a generation is answered once: when it has taken over, or when it will not."""

from typing import Any

import pytest

from nogilserve.supervise.control import Request
from nogilserve.supervise.desk import Desk


def answers(request: Request) -> list[dict[str, Any]]:
    """What it was told."""
    found = []
    while not request._answer.empty():
        found.append(request._answer.get_nowait())
    return found


@pytest.mark.parametrize("failed_first", [False, True])
def test_generation_that_fails(failed_first: bool) -> None:
    """Also one whose process could not be started, before anybody could wait for it."""
    desk, request = Desk(), Request("reload")
    if failed_first:
        desk.failed(2, "no process")
        desk.wait_for(2, request)
    else:
        desk.wait_for(2, request)
        desk.failed(2, "no process")
    desk.taken_over(3)
    assert answers(request) == [{"ok": False, "text": "no process"}]


def test_later_generation_takes_over() -> None:
    """It serves the code that was asked for, too; one after a failure is another matter."""
    desk, request, next_one = Desk(), Request("reload"), Request("reload")
    desk.wait_for(2, request)
    desk.failed(3, "broken")
    desk.wait_for(4, next_one)
    assert desk.taken_over(4) == "Generation 4 has taken over"
    for waiting in (request, next_one):
        assert answers(waiting) == [{"ok": True, "text": "Generation 4 has taken over"}]
