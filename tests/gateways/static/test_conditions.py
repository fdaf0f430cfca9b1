"""Entity tags, dates and the order of conditions (RFC 9110 §8.8, §13)."""

import calendar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.gateways.static.conditions import (
    entity_tag,
    http_date,
    may_continue,
    parse_date,
    precondition,
)

TAG = '"5-7"'
WHEN = 784111777
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = http_date(WHEN - 1)
AFTER = http_date(WHEN + 1)


@pytest.mark.parametrize(
    "text", [DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_three_forms_of_a_date_are_read(text: str) -> None:
    """The examples of RFC 9110 §5.6.7."""
    assert parse_date(text) == WHEN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT",
        DATE + ", " + DATE,
        " " + DATE,
    ],
)
def test_other_dates_are_none(text: str) -> None:
    """What is no HTTP date does not count, and does not raise."""
    assert parse_date(text) is None


def test_two_digit_years_are_in_the_past() -> None:
    """What would be more than 50 years ahead is of the last century."""
    assert parse_date("Saturday, 01-Jan-00 00:00:00 GMT") == calendar.timegm((2000, 1, 1, 0, 0, 0))
    assert parse_date("Friday, 31-Dec-99 00:00:00 GMT") == calendar.timegm((1999, 12, 31, 0, 0, 0))


@given(st.integers(0, 253402300799))
def test_a_date_that_was_written_is_read(seconds: int) -> None:
    """Every second of 1970 to 9999."""
    assert parse_date(http_date(seconds)) == seconds


@given(st.text())
def test_no_text_makes_reading_fail(text: str) -> None:
    """Conditions of clients never raise."""
    parse_date(text)
    for field in ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since"):
        assert precondition("GET", {field: text}, TAG, WHEN) in {200, 304, 412}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"if-none-match": TAG}, 304),
        ({"if-none-match": "W/" + TAG}, 304),
        ({"if-none-match": f'"a", W/"b" , {TAG}'}, 304),
        ({"if-none-match": f",, {TAG},"}, 304),
        ({"if-none-match": '"a,b", "5-7'}, 200),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": " * "}, 304),
        ({"if-none-match": '"other"'}, 200),
        ({"if-none-match": "5-7"}, 200),
        ({"if-none-match": ""}, 200),
        # The tag decides, whatever the date says (§13.1.3).
        ({"if-none-match": '"other"', "if-modified-since": DATE}, 200),
        ({"if-modified-since": DATE}, 304),
        ({"if-modified-since": AFTER}, 304),
        ({"if-modified-since": BEFORE}, 200),
        ({"if-modified-since": "nonsense"}, 200),
        ({"if-match": TAG}, 200),
        ({"if-match": "W/" + TAG}, 412),  # strong comparison
        ({"if-match": "*"}, 200),
        ({"if-match": '"other"'}, 412),
        ({"if-match": TAG, "if-unmodified-since": BEFORE}, 200),
        ({"if-match": TAG, "if-none-match": TAG}, 304),
        ({"if-match": '"other"', "if-none-match": TAG}, 412),
        ({"if-unmodified-since": DATE}, 200),
        ({"if-unmodified-since": BEFORE}, 412),
        ({"if-unmodified-since": "nonsense"}, 200),
        ({"if-unmodified-since": BEFORE, "if-none-match": TAG}, 412),
    ],
)
def test_conditions_in_order(fields: dict[str, str], status: int) -> None:
    """RFC 9110 §13.2.2, for GET and HEAD alike."""
    assert precondition("GET", fields, TAG, WHEN) == status
    assert precondition("HEAD", fields, TAG, WHEN) == status


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        (None, True),
        (TAG, True),
        ("W/" + TAG, False),
        ('"other"', False),
        (DATE, True),
        (AFTER, False),
        (BEFORE, False),
        ("nonsense", False),
    ],
)
def test_if_range_is_exact(value: str | None, holds: bool) -> None:
    """Only the very same file is continued."""
    assert may_continue(value, TAG, WHEN) is holds


@given(st.integers(0, 2**63), st.integers(0, 2**63), st.sampled_from(["", "gzip", "br"]))
def test_a_tag_names_itself_only(mtime: int, size: int, coding: str) -> None:
    """A tag we sent matches; those of other sizes and codings do not."""
    tag = entity_tag(mtime, size, coding)
    assert precondition("GET", {"if-none-match": tag}, tag, 0) == 304
    for other in (entity_tag(mtime, size + 1, coding), entity_tag(mtime, size, coding + "x")):
        assert precondition("GET", {"if-none-match": other}, tag, 0) == 200
