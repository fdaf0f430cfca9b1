"""Lines of the access log: atoms, named formats, escaping."""

import json
import os
import re
import time
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.messages import RequestRecord
from nogilserve.observe.accesslog import compile_format

STARTED = 1_700_000_000.25


@pytest.fixture(autouse=True)
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A time zone that is not UTC."""
    monkeypatch.setenv("TZ", "CET-1")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def record(**changes: Any) -> RequestRecord:
    """A finished request."""
    values: dict[str, Any] = {
        "request_id": "f00d",
        "client": "192.0.2.7",
        "method": "GET",
        "target": "/path?x=1",
        "minor": 1,
        "headers": [("host", "a"), ("referer", "http://b/"), ("user-agent", "test/1")],
        "status": 200,
        "response_headers": [("Content-Type", "text/plain"), ("X-A", "1"), ("x-a", "2")],
        "sent": 5,
        "received": 7,
        "started": STARTED,
        "seconds": 1.2345678,
    }
    return RequestRecord(**(values | changes))


def line(form: str, **changes: Any) -> str:
    """The line of a request in a format."""
    return compile_format(form)(record(**changes))


def basic(credentials: bytes) -> list[tuple[str, str]]:
    """The header fields of a request with Basic credentials."""
    return [("authorization", "Basic " + b64encode(credentials).decode())]


@pytest.mark.parametrize(
    ("atom", "expected"),
    [
        ("%h", "192.0.2.7"),
        ("%a", "192.0.2.7"),
        ("%l", "-"),
        ("%u", "-"),
        ("%t", "[14/Nov/2023:23:13:20 +0100]"),
        ("%r", "GET /path?x=1 HTTP/1.1"),
        ("%m", "GET"),
        ("%v", "a"),
        ("%U", "/path"),
        ("%q", "?x=1"),
        ("%H", "HTTP/1.1"),
        ("%s", "200"),
        ("%>s", "200"),
        ("%<s", "200"),
        ("%b", "5"),
        ("%B", "5"),
        ("%f", "http://b/"),
        ("%T", "1"),
        ("%M", "1234"),
        ("%D", "1234567"),
        ("%L", "1.234568"),
        ("%p", f"<{os.getpid()}>"),
        ("%X", "+"),
        ("%{UNIQUE_ID}e", "f00d"),
        ("%{UNIQUE_ID}e%X", "f00d+"),
        ("%{User-Agent}i", "test/1"),
        ("%{user-AGENT}i", "test/1"),
        ("%{X-Missing}i", "-"),
        ("%{Content-Type}o", "text/plain"),
        ("%{x-a}o", "1, 2"),
        ("%{X-Missing}o", "-"),
        ("%%", "%"),
        ("%%h %h%h", "%h 192.0.2.7192.0.2.7"),
        ("plain", "plain"),
    ],
    ids=lambda text: text.replace(str(os.getpid()), "PID"),
)
def test_atom(atom: str, expected: str) -> None:
    """What each atom stands for, as Apache and gunicorn have it."""
    assert line(atom) == expected


@pytest.mark.parametrize(
    ("atom", "changes", "expected"),
    [
        ("%h", {"client": ""}, "-"),
        ("%h", {"client": "2001:db8::1"}, "2001:db8::1"),
        ("%q", {"target": "/path"}, ""),
        ("%q", {"target": "/path?"}, "?"),
        ("%U", {"target": "*"}, "*"),
        ("%H", {"minor": 0}, "HTTP/1.0"),
        ("%b", {"sent": 0}, "-"),
        ("%B", {"sent": 0}, "0"),
        ("%s", {"status": 0}, "-"),
        ("%D", {"seconds": 0.0}, "0"),
        ("%X", {"complete": False}, "X"),
        ("%{user-agent}i", {"headers": [("user-agent", "")]}, "-"),
    ],
)
def test_absent_values(atom: str, changes: dict[str, Any], expected: str) -> None:
    """What is missing is a dash, so that the columns stay."""
    assert line(atom, **changes) == expected


def test_common_and_combined() -> None:
    """The named formats, column by column."""
    common = '192.0.2.7 - - [14/Nov/2023:23:13:20 +0100] "GET /path?x=1 HTTP/1.1" 200 5'
    assert line("common") == common
    assert line("combined") == common + ' "http://b/" "test/1"'


def test_json() -> None:
    """One JSON object a line, with the request's id and times in UTC."""
    assert json.loads(line("json")) == {
        "time": "2023-11-14T22:13:20.250000Z",
        "id": "f00d",
        "client": "192.0.2.7",
        "method": "GET",
        "target": "/path?x=1",
        "protocol": "HTTP/1.1",
        "status": 200,
        "complete": True,
        "refusal": None,
        "sent": 5,
        "received": 7,
        "seconds": 1.234568,
        "referer": "http://b/",
        "user_agent": "test/1",
    }
    cut = json.loads(
        line("json", status=0, complete=False, headers=[], started=1_699_999_999.999_999_9)
    )
    assert cut["complete"] is False
    assert json.loads(line("json", refusal="no Host"))["refusal"] == "no Host"
    assert (cut["status"], cut["referer"], cut["user_agent"]) == (None, None, None)
    assert re.fullmatch(r"2023-11-14T22:1[23]:\d\d\.\d{6}Z", cut["time"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text's", "plain text's"),
        ('a "quote"', r"a \x22quote\x22"),
        (r"back\slash", r"back\x5cslash"),
        ("line\r\nbreak", r"line\x0d\x0abreak"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\0\t\x7f", r"\x00\x09\x7f"),
        ("\xe9\x9b\x85", r"\xe9\x9b\x85"),
        ("\u2603\u2028", r"\xe2\x98\x83\xe2\x80\xa8"),
        ("\udc80", r"\x3f"),
    ],
)
def test_escaping(text: str, expected: str) -> None:
    """Nothing a client sends starts a new line, ends a column or moves a terminal's cursor."""
    assert line("%{user-agent}i", headers=[("user-agent", text)]) == expected
    assert line("%{x}o", response_headers=[("X", text)]) == expected
    assert line("%f", headers=[("referer", text)]) == expected
    assert line("%h", client=text) == expected
    assert line("%m", method=text) == expected
    assert line("%r", target=text) == f"GET {expected} HTTP/1.1"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (basic(b"alice:secret"), "alice"),
        (basic(b"alice"), "alice"),
        (basic(b":secret"), "-"),
        (basic(b"a\nb\x1b:c"), r"a\x0ab\x1b"),
        (basic(b"\xc3\xa9:c"), r"\xc3\xa9"),
        ([("authorization", "bAsIc  YWxpY2U6eA== ")], "alice"),
        ([("authorization", "Basic !!!")], "-"),
        ([("authorization", "Basic YWxp")], "ali"),
        ([("authorization", "Basic YWx\xe9")], "-"),
        ([("authorization", "Basic")], "-"),
        ([("authorization", "Bearer YWxpY2U6eA==")], "-"),
        ([("x-authorization", "Basic YWxpY2U6eA==")], "-"),
    ],
)
def test_user(headers: list[tuple[str, str]], expected: str) -> None:
    """%u is the user of Basic credentials (RFC 7617), never the password."""
    assert line("%u", headers=headers) == expected


@given(
    st.text(),
    st.text(),
    st.binary(),
    st.floats(0, 1e6),
    st.integers(0, 2**40),
    st.floats(0, 4e9),
)
def test_one_record_is_one_printable_line(
    first: str, second: str, user: bytes, seconds: float, size: int, started: float
) -> None:
    """Whatever a record holds, its line is printable ASCII without a line break."""
    changes: dict[str, Any] = {
        "client": first,
        "method": second,
        "target": first,
        "headers": [*basic(user), ("referer", second), ("user-agent", first)],
        "response_headers": [(first, second), ("x", second)],
        "seconds": seconds,
        "sent": size,
        "started": started,
    }
    atoms = (
        " ".join("%" + letter for letter in "hlutrmUqHsbBfaTMDLp")
        + " %{x}o %{referer}i %{UNIQUE_ID}e"
    )
    for form in ("common", "combined", "json", atoms):
        made = line(form, **changes)
        assert re.fullmatch(r"[\x20-\x7e]+", made), ascii(made)


@given(st.text(), st.text())
def test_json_is_always_valid(target: str, agent: str) -> None:
    """A JSON line gives back what was put in."""
    made = json.loads(line("json", target=target, headers=[("user-agent", agent)]))
    assert (made["target"], made["user_agent"]) == (target, agent)


def test_whose_line_it_is() -> None:
    """The tenant in a log that several share; what it is called cannot break the line."""
    made = compile_format("%v %m", 3, 'shop"/en')
    assert made(record()) == "shop\\x22/en GET"
    found = json.loads(compile_format("json", 3, "shop")(record()))
    assert (found["generation"], found["tenant"]) == (3, "shop")
    assert "tenant" not in json.loads(compile_format("json", 3)(record()))
