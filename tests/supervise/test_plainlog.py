"""The log of a master says what `logging` would."""

import json
import logging
import re
import time

import pytest

from nogilserve.observe.formatters import formatter
from nogilserve.supervise.plainlog import PlainLog


def written(form: str, text: str, *values: object) -> str:
    """What other processes write, now."""
    record = logging.LogRecord("nogilserve", logging.ERROR, "", 0, text, values, None)
    return formatter(form).format(record)


def without_time(line: str) -> str:
    """It is another one for each line."""
    return re.sub(r"\d\d:\d\d:\d\d(\.\d+Z)?", "", line)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    ("text", "values"),
    [("all is %s", ("well",)), ("100%", ()), ("[abc] failed\n  File x", ()), ("%s", ("a\nb",))],
)
def test_lines_are_those_of_logging(
    form: str, text: str, values: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """In both forms, to the letter."""
    log = PlainLog()
    log.configure("info", form)
    log.error(text, *values)
    assert (
        without_time(capsys.readouterr().err) == without_time(written(form, text, *values)) + "\n"
    )


def test_what_is_less_grave_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Until the level changes; the form stays."""
    log = PlainLog()
    log.configure("error", "json")
    log.warning("one")
    log.configure("warning")
    log.warning("two")
    log.info("three")
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "two"


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_error_of_ours_has_a_traceback(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told as grave as can be."""
    log = PlainLog()
    log.configure("critical", form)
    try:
        raise ValueError("broken")
    except ValueError:
        log.failure("internal error")
    said = capsys.readouterr().err
    assert "critical" in said.lower()
    assert "Traceback (most recent call last)" in said
    assert "ValueError: broken" in said


def test_the_time_is_local_with_its_zone(capsys: pytest.CaptureFixture[str]) -> None:
    """As `logging` tells it."""
    log = PlainLog()
    log.configure("info", "text")
    log.info("now")
    moment = capsys.readouterr().err.partition(" [")[0]
    told = time.mktime(time.strptime(moment[:19], "%Y-%m-%d %H:%M:%S"))
    assert abs(time.time() - told) < 60
    assert moment[20:] == time.strftime("%z")
