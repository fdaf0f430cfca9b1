"""Values: kinds, addresses, environment files, access log formats."""

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.config import Bind
from nogilserve.config.addresses import parse_bind
from nogilserve.config.envfile import parse_env_file
from nogilserve.config.formats import ACCESS_FORMAT
from nogilserve.config.kinds import (
    ABSOLUTE_PATH,
    ACCOUNT,
    FLAG,
    GLOB,
    LOG_FILE,
    OCTAL,
    PID_FILE,
    PREFIX_PATH,
    TEXT,
    TYPE,
    UMASK,
    VARIABLE,
    Kind,
    choice,
    integer,
    seconds,
    size,
)
from nogilserve.config.networks import NETWORK
from nogilserve.config.options.listening import ADDRESS, HOST
from nogilserve.messages import RequestRecord
from nogilserve.observe.accesslog import compile_format

COUNT = integer(1, 4096)
COUNT_OR_AUTO = integer(1, 64, zero="auto")
DURATION = seconds(0, 86400)
BYTES = size(64, 1024**4)
BODY = size(1, 1024**4, zero="no limit")

GOOD: list[tuple[Kind[Any], str, object]] = [
    (COUNT, "1", 1),
    (COUNT, "0016", 16),
    (COUNT, "4096", 4096),
    (COUNT_OR_AUTO, "AUTO", 0),
    (COUNT_OR_AUTO, "0", 0),
    (COUNT_OR_AUTO, "64", 64),
    (DURATION, "5", 5.0),
    (DURATION, "0", 0.0),
    (DURATION, "2.5", 2.5),
    (DURATION, ".5", 0.5),
    (DURATION, "500ms", 0.5),
    (DURATION, "30s", 30.0),
    (DURATION, "2m", 120.0),
    (DURATION, "2 min", 120.0),
    (DURATION, "1h", 3600.0),
    (BYTES, "8190", 8190),
    (BYTES, "64KiB", 65536),
    (BYTES, "64 kib", 65536),
    (BYTES, "64k", 65536),
    (BYTES, "10MB", 10_000_000),
    (BYTES, "10MiB", 10_485_760),
    (BYTES, "1G", 1024**3),
    (BODY, "0", 0),
    (FLAG, "TRUE", True),
    (FLAG, "on", True),
    (FLAG, "1", True),
    (FLAG, "no", False),
    (OCTAL, "660", 0o660),
    (OCTAL, "0660", 0o660),
    (OCTAL, "0o777", 0o777),
    (VARIABLE, "A=b=c", ("A", "b=c")),
    (VARIABLE, "A=", ("A", "")),
    (LOG_FILE, "-", "-"),
    (LOG_FILE, "true", "-"),
    (LOG_FILE, "off", ""),
    (LOG_FILE, "access.log", "access.log"),
    (choice("auto", "wsgi"), "WSGI", "wsgi"),
    (HOST, "[::1]", "::1"),
    (HOST, "::", "::"),
    (HOST, "*", ""),
    (HOST, "fe80::1%eth0", "fe80::1%eth0"),
    (HOST, "localhost", "localhost"),
    (NETWORK, "*", "*"),
    (NETWORK, "UNIX", "unix"),
    (NETWORK, "127.0.0.1", "127.0.0.1"),
    (NETWORK, "10.0.0.0/8", "10.0.0.0/8"),
    (NETWORK, "10.0.0.1/32", "10.0.0.1"),
    (NETWORK, "[2001:DB8::1]", "2001:db8::1"),
    (NETWORK, "2001:db8::/32", "2001:db8::/32"),
    (UMASK, "022", 0o022),
    (TYPE, "asyncpg.pool:Pool", "asyncpg.pool:Pool"),
    (TYPE, "a:B.C", "a:B.C"),
    (PREFIX_PATH, "", ""),
    (PREFIX_PATH, "/", ""),
    (PREFIX_PATH, "/über/b", "/über/b"),
    (ABSOLUTE_PATH, "", ""),
    (ABSOLUTE_PATH, "/health?full=1", "/health?full=1"),
    (ACCOUNT, "", ""),
    (ACCOUNT, "www-data", "www-data"),
    (ACCOUNT, "1000", "1000"),
    (PID_FILE, "", ""),
    (PID_FILE, "/run/80.pid", "/run/80.pid"),
    (GLOB, "**/*.html", "**/*.html"),
    (ACCESS_FORMAT, "json", "json"),
    (ACCESS_FORMAT, "%{UNIQUE_ID}e %X", "%{UNIQUE_ID}e %X"),
    (ACCESS_FORMAT, '%h "%r" %>s %{User-Agent}i %%', '%h "%r" %>s %{User-Agent}i %%'),
]

BAD: list[tuple[Kind[Any], str]] = [
    *(
        (COUNT, text)
        for text in ("", "0", "4097", "-1", "+1", "1.0", "1_0", " 1", "\uff11", "x", "1e3")
    ),
    *((COUNT_OR_AUTO, text) for text in ("", "65", "-1", "none", "00")),
    *(
        (NETWORK, text)
        for text in ("", "a", "10.0.0.1/8", "10.0.0.0/33", "1.2.3", "fe80::1%eth0", "01.2.3.4")
    ),
    *((TYPE, text) for text in ("", "a", "a:", ":B", "a:b:c", "a b:C", "1a:B", "a:B()")),
    *(
        (PREFIX_PATH, text)
        for text in ("a", "/a/", "//a", "/a//b", "/.", "/a/..", "/a?b", "/a#b", "/%61", "/a\n")
    ),
    *((ABSOLUTE_PATH, text) for text in ("a", "//a", "/a b", "/ä", "/a#b", "/a\n", "http://a/")),
    *((ACCOUNT, text) for text in ("a b", "a:b", "-x", "ä", "a\n")),
    *((PID_FILE, text) for text in ("80", "a\0")),
    *((GLOB, text) for text in ("", "a\0")),
    *((DURATION, text) for text in ("", "-1", "inf", "nan", "1e3", "1d", "86401", "25h", "5 5")),
    *((BYTES, text) for text in ("", "63", "0", "-1", "1.5MB", "10 XB", "10MBit", "9999999TiB")),
    *((FLAG, text) for text in ("", "2", "maybe", "tru")),
    *((OCTAL, text) for text in ("", "8", "66", "0x660", "888", "1777", "rw")),
    *((VARIABLE, text) for text in ("", "A", "=b", "A=\0")),
    *((TEXT, text) for text in ("", "a\0b")),
    *((HOST, text) for text in ("", "a b", "http://x", "a:b:z", "a/b", "[]")),
    *(
        (ACCESS_FORMAT, text)
        for text in ("", "Combined", "%", "%!", "%Z", "%{x", "%{x}q", "%{x}e", "%(h)s", "%h\n")
    ),
]


@pytest.mark.parametrize(("kind", "text", "value"), GOOD)
def test_good_value_is_read(kind: Kind[Any], text: str, value: object) -> None:
    """Each accepted spelling means what it says, and survives being written and read again."""
    read = kind.parse(text)
    assert value == read
    assert type(value) is type(read)
    assert value == kind.parse(kind.show(read))


@pytest.mark.parametrize(("kind", "text"), BAD)
def test_bad_value_is_refused(kind: Kind[Any], text: str) -> None:
    """What is not on the list of accepted spellings is a ValueError, never guessed."""
    with pytest.raises(ValueError):  # noqa: PT011  the text may be empty
        kind.parse(text)


@given(st.text(max_size=20))
def test_no_value_makes_a_kind_fail_otherwise(text: str) -> None:
    """Whatever the text, a kind gives a value or a ValueError."""
    for kind in {id(kind): kind for kind, *_ in GOOD}.values():
        try:
            value = kind.parse(text)
        except ValueError:
            continue
        assert value == kind.parse(kind.show(value))


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:8000", Bind("tcp", "127.0.0.1", 8000)),
        (":8000", Bind("tcp", "", 8000)),
        ("*:8000", Bind("tcp", "", 8000)),
        ("8080", Bind("tcp", "127.0.0.1", 8080)),
        ("localhost", Bind("tcp", "localhost", 8000)),
        ("my-host.example:0", Bind("tcp", "my-host.example", 0)),
        ("tcp://0.0.0.0:80", Bind("tcp", "0.0.0.0", 80)),
        ("[::1]:8000", Bind("tcp", "::1", 8000)),
        ("[::]", Bind("tcp", "::", 8000)),
        ("[fe80::1%eth0]:1", Bind("tcp", "fe80::1%eth0", 1)),
        ("unix:/run/app.sock", Bind("unix", path="/run/app.sock")),
        ("unix:///run/app.sock", Bind("unix", path="/run/app.sock")),
        ("unix:app.sock", Bind("unix", path="app.sock")),
        ("fd://3", Bind("fd", fd=3)),
    ],
)
def test_address_is_read(text: str, bind: Bind) -> None:
    """Every documented way to write an address gives the Bind it means."""
    assert bind == parse_bind(text)
    assert bind == parse_bind(str(bind))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "empty"),
        ("::1", "[::1]:8000"),
        ("::1:8000", "brackets: [::1]:8000"),
        ("fe80::1:80", "brackets: [fe80::1]:80"),
        ("2001:db8:0:0:0:0:0:10", "brackets: [2001:db8:0:0:0:0:0:10]:8000"),
        ("1:2:3", "brackets: [1:2:3]:8000"),
        ("tcp:80", "write 127.0.0.1:80, or :80 for every interface"),
        ("tcp:127.0.0.1:80", "write the address alone: 127.0.0.1:80"),
        ("http:localhost", "write the address alone: localhost"),
        ("fd:3", "write fd://3"),
        ("http://127.0.0.1:8000/", "write the address alone: 127.0.0.1:8000"),
        ("localhost:http", "'http' is no port"),
        ("localhost:", "'' is no port"),
        ("localhost:65536", "'65536' is no port"),
        ("localhost:-1", "'-1' is no port"),
        ("[::1]:", "'' is no port"),
        ("[::1", "brackets"),
        ("a b:80", "neither a host name nor an address"),
        ("/run/app.sock", "unix:/run/app.sock"),
        ("app.sock", "unix:app.sock"),
        ("unix:", "path"),
        ("unix://", "path"),
        ("fd://", "number of a descriptor"),
        ("fd://x", "number of a descriptor"),
    ],
)
def test_bad_address_says_what_is_wrong(text: str, hint: str) -> None:
    """An address that cannot be meant is refused with a hint at the right spelling."""
    with pytest.raises(ValueError, match=r".") as caught:
        ADDRESS.parse(text)
    assert hint in str(caught.value)


@pytest.mark.parametrize("letter", string.ascii_letters)
@pytest.mark.parametrize("form", ["%{}", "%>{}", "%{{host}}{}"])
def test_accepted_atoms_are_those_the_access_log_knows(form: str, letter: str) -> None:
    """A format is accepted exactly if every atom in it is replaced by something."""
    text = form.format(letter)
    record = RequestRecord(
        *("id", "192.0.2.1", "GET", "/", 1, [("host", "x")], 200, [("host", "x")]),
        *(1, 1, 1.0, 1.0),
    )
    try:
        ACCESS_FORMAT.parse(text)
    except ValueError:
        assert compile_format(text)(record) == text
    else:
        assert compile_format(text)(record) != text


def test_environment_file_is_read() -> None:
    """Comments, export, quotes, escapes and spaces mean what they do in shells and .env files."""
    text = "\n".join(
        [
            "\ufeff# a comment",
            "",
            "A=1",
            "  export B = two words  # not this",
            "C='single # \\n \"x\"'  # gone",
            'D="line\\nnext \\"q\\" \\\\ \\$"',
            "E=",
            "F=# nothing",
            "G=a#b",
            "A=last\r",
        ]
    )
    assert dict(parse_env_file(text)) == {
        "A": "last",
        "B": "two words",
        "C": 'single # \\n "x"',
        "D": 'line\nnext "q" \\ $',
        "E": "",
        "F": "",
        "G": "a#b",
    }


@pytest.mark.parametrize("line", ["A", "=1", "1A=2", "A='x", 'A="x', "A='x'y", 'A="x\\"', "A B=1"])
def test_bad_line_of_an_environment_file_is_named(line: str) -> None:
    """A line that cannot be read is refused by its number, not skipped."""
    with pytest.raises(ValueError, match="line 3"):
        dict(parse_env_file(f"A=1\n\n{line}\n"))
