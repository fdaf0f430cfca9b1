"""Questions on behalf of others: whom they are for, when they are answered, what is never lost."""

from typing import Any, cast

import pytest

from nogilserve.supervise.child import Child
from nogilserve.supervise.control import Request
from nogilserve.supervise.inquiries import Inquiries


class Told:
    """What a generation is told, in place of its process."""

    def __init__(self, *, loaded: bool = True) -> None:
        self.served = {"app": "main:app"} if loaded else {}
        self.messages: list[dict[str, Any]] = []

    def send(self, name: str, **data: Any) -> None:
        """A message for it."""
        self.messages.append({"name": name, **data})


def family(**told: Told) -> dict[int, Child]:
    """Children by number, written n1=…"""
    return {int(name[1:]): cast(Child, child) for name, child in told.items()}


def totals(requests: int) -> dict[str, Any]:
    """The answer of a generation to a look."""
    return {"totals": {"counters": {"requests": requests}, "requests": {}}, "now": {}}


def due(inquiries: Inquiries) -> float | None:
    """When something is due."""
    return inquiries.deadline


def answered(request: Request) -> dict[str, Any]:
    """Its answer, which is there by now."""
    return request._answer.get_nowait()


def test_a_look_asks_all_and_adds_what_is_gone() -> None:
    """Both generations answer; when one is gone, what it has counted stays in the sum."""
    inquiries, old, new = Inquiries(), Told(), Told()
    children = family(n1=old, n2=new)
    request = Request("look")
    inquiries.pass_on(request, children, 2, 0.0)
    number = old.messages[0]["id"]
    inquiries.heard(1, {"id": number, "answer": totals(5)})
    inquiries.heard(1, {"id": number, "answer": totals(99)})  # twice counts once
    inquiries.heard(2, {"id": number, "answer": totals(1)})
    found = answered(request)
    assert set(found["answers"]) == {"1", "2"}
    assert found["past"] == {}
    inquiries.counted(1, totals(7)["totals"])
    inquiries.lost(1)
    again = Request("look")
    inquiries.pass_on(again, family(n2=new), 2, 1.0)
    inquiries.heard(2, {"id": new.messages[1]["id"], "answer": totals(2)})
    assert answered(again)["past"]["counters"]["requests"] == 7


def test_a_generation_that_ends_does_not_keep_others_waiting() -> None:
    """Nor does one that does not answer, beyond the deadline."""
    inquiries, old, new = Inquiries(), Told(), Told()
    request = Request("gc")
    inquiries.pass_on(request, family(n1=old, n2=new), 2, 0.0)
    collected = {"collected": 1, "longest_seconds": 0.5}
    inquiries.heard(2, {"id": new.messages[0]["id"], "answer": collected})
    inquiries.lost(1)
    assert set(answered(request)["answers"]) == {"2"}
    assert due(inquiries) is None
    late = Request("stacks")
    inquiries.pass_on(late, family(n2=new), 2, 0.0)
    inquiries.tick(due(inquiries) or 0.0)
    found = answered(late)
    assert not found["ok"]
    assert "in time" in found["text"]
    inquiries.heard(2, {"id": new.messages[1]["id"], "answer": {}})  # too late, and no harm


def test_questions_go_to_the_current_generation_or_a_named_one() -> None:
    """One that does not import yet is not asked; one that is not there is said to be missing."""
    inquiries, old, new = Inquiries(), Told(), Told(loaded=False)
    children = family(n1=old, n2=new)
    inquiries.pass_on(Request("stacks"), children, 1, 0.0)
    assert [message["question"] for message in old.messages] == ["stacks"]
    for arguments, says in (({"generation": 2}, "generation 2"), ({"generation": 9}, "9")):
        request = Request("stacks", arguments)
        inquiries.pass_on(request, children, 1, 0.0)
        found = answered(request)
        assert not found["ok"]
        assert says in found["text"]
    assert new.messages == []


def test_errors_are_passed_on() -> None:
    """What a generation cannot answer is said in its words."""
    inquiries, only = Inquiries(), Told()
    request = Request("threads", {"to": 5})
    seen: list[Any] = []
    inquiries.pass_on(request, family(n1=only), 1, 0.0, seen.append)
    inquiries.heard(1, {"id": only.messages[0]["id"], "answer": {"error": "not here"}})
    assert answered(request) == {"ok": False, "text": "not here"}
    assert seen == [{1: {"error": "not here"}}]


@pytest.mark.parametrize(
    "arguments",
    [
        {"seconds": "x"},
        {"seconds": None},
        {"seconds": 1e308},
        {"seconds": -1},
        {"seconds": float("nan")},
        {"generation": [1]},
        {"generation": float("inf")},
    ],
)
def test_arguments_that_are_no_numbers(arguments: dict[str, Any]) -> None:
    """They are refused at once, and nobody is asked."""
    inquiries, only = Inquiries(), Told()
    request = Request("profile", arguments)
    inquiries.pass_on(request, family(n1=only), 1, 0.0)
    assert not answered(request)["ok"]
    assert only.messages == []
    assert due(inquiries) is None


@pytest.mark.parametrize("seconds", [0, 30])
def test_the_time_a_question_takes_is_waited_for(seconds: float) -> None:
    """A profile of half a minute is given half a minute more."""
    inquiries, only = Inquiries(), Told()
    inquiries.pass_on(Request("profile", {"seconds": seconds}), family(n1=only), 1, 100.0)
    assert inquiries.deadline is not None
    assert inquiries.deadline >= 105 + seconds
