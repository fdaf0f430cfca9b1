"""The file given with --check."""

from pathlib import Path
from typing import Any, cast

import pytest

from nogilserve.errors import ConfigError
from nogilserve.stress.client import Client
from nogilserve.stress.growth import Growth
from nogilserve.stress.hook import Hook, HookClient, read_hook
from nogilserve.stress.process import Subject

GOOD = """
counters = ["get /count", "POST /report"]
masks = [r"build-\\d+"]
def setup(client):
    client.headers["X-A"] = "b"
    client.cookies["session"] = "s"
def check(client):
    assert client.sent["GET /"] == 3
"""


def nobody() -> Client:
    """A client of a process that is never asked."""
    return Client(cast(Subject, None), 1)


def test_all_parts(tmp_path: Path) -> None:
    """Counters, masks, set-up with header fields and cookies, a check with what was sent."""
    (tmp_path / "hook.py").write_text(GOOD)
    hook = read_hook(str(tmp_path / "hook.py"))
    assert [ask.label for ask in hook.counters] == ["GET /count", "POST /report"]
    assert [mask.pattern for mask in hook.masks] == [r"build-\d+"]
    assert hook.prepare(nobody()) == {"X-A": "b", "Cookie": "session=s"}
    assert hook.complaint(nobody(), {"GET /": 3}) == ""
    assert "hook.py:8" in hook.complaint(nobody(), {"GET /": 2})
    assert Hook().prepare(nobody()) == {}
    assert Hook().complaint(nobody(), {}) == ""


BAD = [
    ("setup = 1", "setup is no function"),
    ("x = 1", "it defines none of setup, check, counters, masks"),
    ("def setup(client:\n  pass", r"hook.py:1: "),
    ("1 / 0", r"the file failed, .*hook.py:1: ZeroDivisionError"),
    ("counters = ['/count']", 'should be like "GET /count"'),
    ("counters = [1]", 'should be like "GET /count"'),
    ("masks = ['(']", "is no pattern"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[row[0][:12] for row in BAD])
def test_bad_hook_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """With the line, where there is one."""
    (tmp_path / "hook.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_hook(str(tmp_path / "hook.py"))


def test_absent_hook_is_refused(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(ConfigError, match="there is no such file"):
        read_hook(str(tmp_path / "hook.py"))


def test_functions_that_fail_are_told_apart(tmp_path: Path) -> None:
    """Whatever set-up raises is a mistake of the hook, and what check raises but an assertion."""
    (tmp_path / "hook.py").write_text(
        "def setup(client):\n    assert 0, 'no'\ndef check(client):\n    {}['x']\n"
    )
    hook = read_hook(str(tmp_path / "hook.py"))
    with pytest.raises(ConfigError, match=r"setup\(\) failed, .*hook.py:2: no$"):
        hook.prepare(nobody())
    with pytest.raises(ConfigError, match=r"check\(\) failed, .*hook.py:4: KeyError"):
        hook.complaint(nobody(), {})


def test_assertions_without_words_show_their_line(tmp_path: Path) -> None:
    """What did not hold is to be read in the report; with words, these."""
    path = tmp_path / "wordless.py"
    path.write_text(
        "def setup(client):\n    assert client.sent == 1\n"
        "def check(client):\n    assert client.sent is None, 'tea is lost'\n"
    )
    hook = read_hook(str(path))
    with pytest.raises(ConfigError, match=r"wordless.py:2: assert client.sent == 1$"):
        hook.prepare(nobody())
    assert hook.complaint(nobody(), {}) == f"check() failed, {path}:4: tea is lost"


def test_client_starts_with_what_setup_left() -> None:
    """So that a check is logged in, too."""
    client = HookClient(nobody(), {"Cookie": "a=b"}, {"GET /": 1})
    assert client.all_headers() == {"Cookie": "a=b"}
    assert (client.sent["GET /"], client.sent["GET /other"]) == (1, 0)


def grown(sizes: list[int]) -> Any:
    """The verdict on a process of these sizes in MiB, one for each look."""
    left = iter(sizes)
    growth = Growth(lambda: next(left) << 20)
    for number in range(len(sizes)):
        growth.look(float(number), number * 10)
    return growth.verdict()


def test_growth() -> None:
    """Much, and without an end; what is made at the beginning and kept is nothing."""
    assert grown([100] * 20) is None
    assert grown([100, *range(100, 290, 10)][:8]) is None
    assert grown([100, 200, 300, *[300] * 17]) is None
    assert grown([*range(100, 300, 10)[:10], *[195] * 10]) is None
    found = grown(list(range(100, 300, 10)))
    assert (found.size >> 20, found.requests) == (140, 140)
    assert str(found) == "140 MiB in 140 requests, 1024.0 KiB each"
    assert grown([0] * 20) is None
