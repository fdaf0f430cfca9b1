"""The doctor's lists against the libraries themselves, and the report as text."""

import importlib.util

from nogilserve.doctor.report import Extension, Finding, Preparing, Python, Report
from nogilserve.doctor.table import table
from nogilserve.doctor.threadbound import POOLED, THREAD_BOUND
from tests.test_loopbound_types import LOOK, child

# Only in builds of that library that have its C part.
ELSEWHERE = "mysql.connector.connection_cext:CMySQLConnection"


def test_thread_bound_types_have_the_names_that_they_are_listed_by() -> None:
    """As far as the libraries are installed; those of the standard library always are."""
    entries = [
        entry
        for entry in (*THREAD_BOUND, *POOLED)
        if entry != ELSEWHERE
        and importlib.util.find_spec(entry.partition(":")[0].partition(".")[0]) is not None
    ]
    assert "sqlite3:Connection" in entries
    assert child(LOOK, *entries).split() == []


def report(*findings: Finding, extensions: int = 0) -> Report:
    """A report on an application."""
    return Report(
        app="main:app",
        interface="asgi",
        python=Python("3.14.7", True, False, False),
        runtime="threads",
        reason="a reason " * 20,
        cores=1,
        threads=16,
        threads_reason="another",
        extensions=[Extension("m", "d", "1", True, "keeps it off")] * extensions,
        standard_extensions=20,
        findings=findings,
        lifespan="started",
        prepare=Preparing(["freeze"], {"frozen": 4000}, 0.256, ["defer: the GIL is on"]),
    )


def test_lines_are_as_wide_as_asked() -> None:
    """Between 60 and 100 columns."""
    for width, most in ((10, 60), (80, 80), (500, 100)):
        lengths = [len(line) for line in table(report(), width).splitlines()]
        assert most - 12 < max(lengths) <= most


def test_findings_of_one_kind_stand_together() -> None:
    """What there is to say of them is said once, and problems come first."""
    problem = [Finding(True, "loop", f"main:{name}", "asyncio.Lock", "is bound") for name in "ab"]
    note = Finding(False, "cache", "main:c", "f(), main.py:3", "is changed")
    text = table(report(*problem, note, extensions=1), 80)
    assert text.count("is bound") == 1
    assert text.index("main:a") < text.index("main:b") < text.index("is bound")
    assert text.index("is bound") < text.index("Worth a look") < text.index("main:c")
    assert "simple scan" in text
    assert text.endswith("2 problems found.\n")
    assert "  m       d 1           yes         keeps it off\n" in text


def test_what_was_done_is_told() -> None:
    """To the application, before it is served, and what was not."""
    lines = " ".join(table(report(), 100).split())
    assert "lifespan started and ended" in lines
    assert "--prepare freeze; objects: 4000 frozen in 0.26 s; not defer: the GIL is on" in lines


def test_last_line_says_how_it_stands() -> None:
    """Nothing, nothing bad, or how many problems."""
    note = Finding(False, "package", "grpc", "imported", "why")
    problem = Finding(True, "package", "gevent", "imported", "why")
    assert table(report()).endswith("between this application and free threading.\n")
    assert table(report(note)).endswith("No problem found.\n")
    assert table(report(note, problem)).endswith("1 problem found.\n")
    assert "none but 20 of the standard library" in table(report())
