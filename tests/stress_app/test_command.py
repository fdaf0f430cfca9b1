"""The command line of `nogilserve stress`."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nogilserve.cli import main
from nogilserve.errors import ConfigError
from nogilserve.stress.answers import Answer
from nogilserve.stress.arguments import parse
from nogilserve.stress.asks import Ask
from nogilserve.stress.markers import with_markers
from tests.stress_app.runs import ROOT
from tests.support.server import Output

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]
"""


def test_own_options_and_those_for_serving() -> None:
    """What is not ours is left for the configuration."""
    own, left = parse(["main:app", "--seed", "3", "--threads", "4", "--methods", "get, POST"])
    assert (own.seed, own.methods, own.together) == (3, {"GET", "POST"}, 12)
    assert left == ["main:app", "--threads", "4"]
    assert parse(["main:app"])[0].seed != parse(["main:app"])[0].seed
    assert parse(["--crawl", "--seed", "1"])[0].crawl == "/"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--together", "1"], "one request cannot race"),
        (["--seconds", "0"], "--seconds should be 0.5 or more"),
        (["--deadline", "0"], "--deadline should be 0.1 or more"),
    ],
)
def test_impossible_numbers_are_refused(arguments: list[str], message: str) -> None:
    """With what is possible."""
    with pytest.raises(ConfigError, match=message):
        parse(arguments)


USAGE = [
    ((), "no application given"),
    (("main:app", "--seed", "x"), "invalid int value"),
    (("main:app", "--frobnicate"), "--frobnicate"),
    (("main:app", "--requests", "absent.http"), "absent.http: No such file"),
    (("main:app", "--openapi", "api.yaml"), "YAML is not read"),
    (("main:app", "--check", "absent.py"), "there is no such file"),
    (("main:app", "--openapi", "/nowhere.json"), "answers no JSON there"),
    (("main:app", "--methods", "DELETE"), "there is no request to replay"),
    (("main:app", "--crawl", "x"), "a path is wanted"),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE, ids=[row[1][:20] for row in USAGE])
def test_mistakes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    """Status 2, and what is wrong."""
    (tmp_path / "main.py").write_text(APP)
    (tmp_path / "api.yaml").write_text("openapi: 3.0.0\n")
    monkeypatch.chdir(tmp_path)
    try:
        status = main(["stress", *arguments])
    except SystemExit as ended:  # argparse's own way
        status = int(ended.code or 0)
    said = capfd.readouterr().err
    assert status == 2, said
    assert message in said
    assert "Traceback" not in said


def test_application_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Status 3, as for serving; also where its import ends the process."""
    (tmp_path / "gone.py").write_text("import os\nos._exit(7)\n")
    monkeypatch.chdir(tmp_path)
    assert main(["stress", "absent:app", "--quiet"]) == 3
    assert "absent" in capfd.readouterr().err
    assert main(["stress", "gone:app", "--quiet"]) == 3
    assert "the process that imported gone:app ended with status 7" in capfd.readouterr().err


def test_interruption(tmp_path: Path) -> None:
    """Ctrl-C ends it with a report of what there is."""
    (tmp_path / "main.py").write_text(APP)
    with subprocess.Popen(
        [sys.executable, "-m", "nogilserve", "stress", "main:app", "--seconds", "99"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        report = Output(process.stdout, "report")
        said = Output(process.stderr, "progress")
        said.wait("at the same time", 60)
        process.send_signal(signal.SIGINT)
        report.wait("Interrupted before the time was over", 60)
        process.wait(20)
        for each in (report, said):
            each.thread.join(5)
    assert process.returncode == 130


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no pseudo terminals")
def test_progress_on_a_terminal(tmp_path: Path) -> None:
    """A bar that is written over, and is gone at the end; the report stays clean."""
    (tmp_path / "main.py").write_text(APP)
    mine, its = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "nogilserve", "stress", "main:app", "--seconds", "1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=its,
    ) as process:
        os.close(its)
        said = b""
        while piece := _read(mine):
            said += piece
        assert process.stdout is not None
        report = process.stdout.read().decode()
    os.close(mine)
    assert process.returncode == 0, said
    assert b"\r\x1b[K[" in said
    assert b"% " in said
    assert "No race found." in report
    assert "\x1b" not in report


def _read(descriptor: int) -> bytes:
    """The next bytes of a terminal, b"" when nobody writes to it any more."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def test_markers_where_they_come_back() -> None:
    """Query, path, fields, cookies, form and JSON, if the status stays and the answer has it."""

    def send(ask: Ask) -> Answer:
        sent = ask.marked("ngs000000000001")
        text = f"{sent.target} {sent.body.decode()}"
        status = 404 if "/ngs" in sent.target else 200
        hidden = text.replace("secret=ngs", "secret=").encode()
        return Answer(status, (), hidden, marker="ngs000000000001")

    ask = Ask("GET", "/hello/world?name=a&secret=b", origin="x")
    marked = with_markers(ask, send(ask), send)
    assert marked is not None
    assert marked.target == "/hello/world?name={marker}&secret=b"
    assert marked.origin == "x, with a marker"
    form = (("Content-Type", "application/x-www-form-urlencoded"),)
    posted = with_markers(Ask("POST", "/", form, b"a=1&b=2"), send(Ask("POST", "/")), send)
    assert posted is not None
    assert posted.body == b"a={marker}&b={marker}"
    fields = (("Accept", "a"), ("X-User", "b"), ("Cookie", "c=1; d=2"))

    def echo(ask: Ask) -> Answer:
        sent = ask.marked("ngs000000000001")
        return Answer(200, (), str(sent.headers[1:]).encode(), marker="ngs000000000001")

    headed = with_markers(Ask("GET", "/", fields), echo(Ask("GET", "/", fields)), echo)
    assert headed is not None
    assert headed.headers == (
        *(("Accept", "a"), ("X-User", "{marker}"), ("Cookie", "c={marker}; d={marker}")),
    )
    json = (("Content-Type", "application/json"),)
    body = b'{"n": 1, "a": ["x", {"b": "y"}]}'
    posted = with_markers(Ask("POST", "/", json, body), send(Ask("POST", "/")), send)
    assert posted is not None
    assert posted.body == b'{"n": 1, "a": ["{marker}", {"b": "{marker}"}]}'
    assert with_markers(posted, send(posted), send) is None
    assert with_markers(Ask("GET", "/"), Answer(200), send) is None
