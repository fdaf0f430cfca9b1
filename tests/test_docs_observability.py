"""docs/observability.md: its options, metrics and paths are those of the code, its commands run."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nogilserve.cli import main
from nogilserve.config import COMMANDS
from nogilserve.config.options import OPTIONS
from nogilserve.supervise.telling import status, watched
from tests.support.server import Server
from tests.test_admin import TOKEN, ask, get

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "observability.md").read_text()
OF_COMMANDS = {"--json", "--watch", "--wait", "--off", "--seconds", "--growth"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An event-loop server with an admin address and a control socket of its own."""
    control = tmp_path_factory.mktemp("control") / "c.sock"
    with Server(
        "tests.apps.asgi_observed:app",
        *("--admin", "127.0.0.1:0", "--admin-token", TOKEN, "--control-socket", str(control)),
    ) as started:
        yield started


class Run:
    """Gives commands to a server, as the command line does."""

    def __init__(self, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
        self.control = server.command[server.command.index("--control-socket") + 1]
        self.capsys = capsys

    def __call__(self, *words: str) -> str:
        """What it prints."""
        assert main([*words, "--control-socket", self.control]) == 0
        return self.capsys.readouterr().out


def test_options_exist() -> None:
    """Every flag that the page names is an option or belongs to a command."""
    known = {flag for option in OPTIONS for flag in option.flags} | OF_COMMANDS
    known |= {flag.replace("--", "--no-", 1) for flag in known}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", PAGE)) <= known
    for name in re.findall(r"nogilserve ([a-z-]+)(?= |`)", PAGE):
        assert name in COMMANDS or name == "main", name


def test_metrics_are_documented(server: Server) -> None:
    """What /metrics has stands in the table, and the other way round."""
    get(server, "/")
    text = ask(server, "/metrics")[2]
    found = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    base = {re.sub(r"_total$", "", name) for name in found}
    stated = {re.sub(r"_total$", "", name) for name in re.findall(r"`(nogilserve_[a-z_]+)`", PAGE)}
    stated |= {
        f"nogilserve_process_{rest.removesuffix('_total')}"
        for rest in re.findall(r"`…_([a-z_]+)`", PAGE)
    }
    # Those are there where there are certificates.
    assert {name for name in stated if "certificate" not in name} <= base
    missing = {name for name in base - stated if not name.startswith("python_")}
    assert missing <= {
        "nogilserve_application_requests",
        "nogilserve_batch_wait_seconds",
        "nogilserve_batch_wait_longest_seconds",
        "nogilserve_gil_enabled",
    } | {name for name in missing if "http2" in name}


def test_paths_answer(server: Server) -> None:
    """Each path of the table is there, with the token."""
    for path in ("/", "/metrics", "/healthz", "/readyz", "/api/status", "/api/look", "/api/stacks"):
        assert f"`{path}`" in PAGE
        assert ask(server, path, token=TOKEN)[0] == 200


def test_commands_run(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands of the page do what it says, as text and as JSON."""
    run = Run(server, capsys)
    assert f"#token={TOKEN}" in run("status")
    assert run("status", "--wait").startswith("nogilserve ")
    assert "loop-0" in run("stacks")
    assert "objects in" in run("gc")
    assert "Changed in" in run("log-level", "info")
    assert "drain --off" in run("drain") + run("status")
    assert "again" in run("drain", "--off")
    graph = tmp_path / "flame.svg"
    assert "Written to" in run("profile", "--seconds", "0.3", "-o", str(graph))
    assert graph.read_text().startswith("<svg")
    assert "type" in run("memory", "--growth", "0.1")
    assert run("memory", "--json").startswith("{")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("threads",), "needs a value"),
        (("threads", "many"), "no number of threads"),
        (("threads", "+-5"), "no number of threads"),
        (("profile", "--seconds", "0"), "no number of seconds"),
        (("stacks", "--control-socket", "/nowhere"), "no server runs"),
    ],
)
def test_mistakes_are_explained(
    words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that cannot be given says what is wrong."""
    assert main(words) in (1, 2)
    assert says in capsys.readouterr().err


def test_watching_tells_rates() -> None:
    """Two looks give rates, threads and what is inside."""
    counters = {"requests": 10, "accepted": 2, "sent": 0, "hand_offs": 0, "steals": 0}
    later = counters | {"requests": 110}
    now = {
        "threads": 4,
        "busy": 1,
        "open": 3,
        "connections": {"idle": 2, "running": 1},
        "lanes": [{"name": "core-0", "state": "application", "what": "GET /", "seconds": 0.5}],
        "inside": [{"method": "GET", "path": "/", "seconds": 0.5}],
    }
    header = {"text": "nogilserve", "drained": True}
    first = {"at": 1.0, "status": header, "looks": {"1": {"totals": {"counters": counters}}}}
    then = {"totals": {"counters": later}, "now": now}
    text = "\n".join(watched({"at": 3.0, "status": header, "looks": {"1": then}}, first))
    assert "50 requests/s" in text
    assert "1 of 4 threads" in text
    assert "core-0       application for 0.500 s  GET /" in text
    assert any("drain --off" in line for line in status(header))
