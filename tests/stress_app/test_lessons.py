"""What is learnt from answers, and what is then called wrong."""

import uuid

import pytest

from nogilserve.stress.answers import Answer
from nogilserve.stress.asks import Ask
from nogilserve.stress.lessons import Lesson, Memory, failure_key
from nogilserve.stress.templates import Template

HTML = (("content-type", "text/html"),)


def answer(body: str, status: int = 200, marker: str = "", **fields: str) -> Answer:
    """An answer with a text body."""
    headers = (*HTML, *((name.replace("_", "-"), value) for name, value in fields.items()))
    return Answer(status, headers, body.encode(), marker=marker)


def lesson(*answers: Answer, process: int = 1) -> Lesson:
    """What is learnt from some answers."""
    made = Lesson(Ask("GET", "/"))
    for each in answers:
        made.learn(each, process)
    made.settle()
    return made


def kind(made: Lesson, given: Answer, memory: Memory | None = None) -> str:
    """What is wrong with an answer, "" if nothing is."""
    found = made.judge(given, memory or Memory())
    return found.kind if found else ""


def test_template_keeps_what_stays() -> None:
    """Gaps where samples differ; text around them must be there."""
    template = Template()
    for text in ("<p>Hello 1, at 12:01:02</p>", "<p>Hello 22, at 12:01:03</p>"):
        template.learn(text)
    assert template.expected() == "<p>Hello …, at …</p>"
    assert template.values("<p>Hello 333, at noon</p>") == ["333", "noon"]
    assert template.values("<p>Bye 333, at noon</p>") is None
    assert template.values("<p>Hello 333, at noon</p>!") is None


def test_template_of_lists_that_grow() -> None:
    """Insertions make one gap, not one for each comma."""
    template = Template()
    for count in (1, 3, 2):
        template.learn(f"items: [{', '.join(str(n) for n in range(count, 2 * count))}] end")
    assert template.values("items: [7, 8, 9, 10] end") is not None
    assert template.values("items: none end") is None


@pytest.mark.parametrize(
    "varies",
    [
        lambda n: f"id {uuid.UUID(int=n * 7919)}",
        lambda n: f"at 2026-11-22T10:00:{n:02}Z",
        lambda n: f'{{"csrf": "{"abcdef"[n] * 12}", "ok": true}}',
        lambda n: f"took {n}.5 ms",
    ],
)
def test_what_varies_alone_may_vary(varies: object) -> None:
    """Tokens, dates, identifiers, durations."""
    assert callable(varies)
    made = lesson(*(answer(varies(n)) for n in range(4)))
    assert kind(made, answer(varies(5))) == ""
    assert kind(made, answer("something else")) == "body"


def test_dates_of_today_are_never_compared() -> None:
    """Also where they were the same while it was learnt."""
    made = lesson(answer("at 2026-11-22 10:00:00"), answer("at 2026-11-22 10:00:00"))
    assert kind(made, answer("at 2026-11-22 10:00:01")) == ""


def test_status_head_and_body() -> None:
    """Each is compared with what was learnt for that status."""
    made = lesson(answer("yes"), answer("no", 404), answer("yes", cookie="a"))
    assert kind(made, answer("yes", 500)) == "status"
    assert kind(made, answer("yes", location="/x")) == "head"
    assert kind(made, answer("maybe")) == "body"
    assert kind(made, answer("no", 404)) == ""
    assert kind(made, answer("yes", date="whatever", cookie="a")) == ""
    assert kind(made, Answer(problem="hang")) == "hang"


def test_marker_of_another_request() -> None:
    """One's own may be there; another's must not be, unless it is there alone, too."""
    mine, other = "ngs000000000001", "ngs000000000002"
    made = lesson(answer(f"Hello {mine}", marker=mine), answer(f"Hello {other}", marker=other))
    assert kind(made, answer(f"Hello {mine}", marker=mine)) == ""
    found = made.judge(answer(f"Hello {other}", marker=mine), Memory())
    assert found is not None
    assert (found.kind, other in found.actual) == ("marker", True)
    shows = lesson(answer(f"{other} was here", marker=mine), answer("nobody was here"))
    assert kind(shows, answer(f"{other} was here", marker=mine)) == ""


def test_number_that_is_given_once() -> None:
    """Counted up alone: no two answers of a process may have the same."""
    made = Lesson(Ask("GET", "/"))
    for number in range(1, 6):
        made.learn(answer(f"visitor {number}"), 1, run=1)
    made.settle()
    memory = Memory()
    assert kind(made, answer("visitor 8"), memory) == ""
    assert kind(made, answer("visitor 9"), memory) == ""
    assert kind(made, answer("visitor 8"), memory) == "twice"
    assert kind(made, answer("visitor 8"), Memory()) == ""
    assert kind(made, answer("visitor none"), memory) == "body"


def test_number_that_does_not_count() -> None:
    """One that repeats, or grows unevenly, says nothing."""
    for numbers in ((1, 1, 2, 2, 3), (1, 2, 4, 5, 9)):
        made = Lesson(Ask("GET", "/"))
        for number in numbers:
            made.learn(answer(f"visitor {number}"), 1, run=1)
        made.settle()
        memory = Memory()
        assert kind(made, answer("visitor 8"), memory) == ""
        assert kind(made, answer("visitor 8"), memory) == ""


def test_what_a_process_makes_once() -> None:
    """The same in all answers of a process, another in the next one."""
    made = Lesson(Ask("GET", "/"))
    for process, key in ((1, "aaa"), (1, "aaa"), (2, "bbb"), (2, "bbb")):
        made.learn(answer(f"key {key}"), process)
    made.settle()
    memory = Memory()
    assert kind(made, answer("key ccc"), memory) == ""
    assert kind(made, answer("key ccc"), memory) == ""
    assert kind(made, answer("key ddd"), memory) == "constant"


def test_body_that_has_nothing_in_common() -> None:
    """Is not compared; status and head still are."""
    words = ["one two", "red green blue fish", "a b c d e f g", "to be or not"]
    made = lesson(*(answer(" ".join(f"{w}{n} x" for w in words)) for n in range(9)))
    made.learn(answer("completely - different; content, here: 1 2 3 4 5 6 7 8 9"), 1)
    made.settle()
    assert kind(made, answer("anything", 500)) == "status"


def test_failures_of_a_kind() -> None:
    """The type of an exception; of a logged line its words without numbers."""
    assert failure_key("Traceback …\n  File\nKeyError: 'a'") == "KeyError"
    assert failure_key("gave up after 3 tries") == "gave up after N tries"
