"""What `./dev bench all` is made of: real sockets, real processes, real files."""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import copies, everyone, openload, page, pinning, report, seed_table
from benchmarks.__main__ import _parser
from benchmarks.arguments import names
from benchmarks.chart import Curve, Graph, draw
from benchmarks.openload import Timetable, percentile
from benchmarks.report import summarise
from tests.test_benchmarks import DEADLINE, ROOT, linux_only, measurement

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Answer = Callable[[int, socket.socket], bool]
"""(number of the request, its connection) → whether the connection goes on."""


@contextmanager
def server(answer: Answer) -> Iterator[int]:
    """A server of kept connections, a thread for each; its port."""
    number = iter(range(10**9))
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            while b"\r\n\r\n" in connection.recv(65536) and answer(next(number), connection):
                pass

    def accept() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            connection.settimeout(DEADLINE)
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    listener = socket.create_server(("127.0.0.1", 0))
    threads.append(threading.Thread(target=accept))
    threads[0].start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(DEADLINE)


def timetable(port: int, connections: int = 1) -> Timetable:
    """Twenty requests in a fifth of a second."""
    return Timetable(port, "/", 100.0, 0.2, connections)


class TestOpenLoad:
    """Requests by a timetable."""

    def test_every_request_is_answered(self) -> None:
        """As many as are due, and nothing else is counted."""

        def answer(number: int, connection: socket.socket) -> bool:
            connection.sendall(OK)
            return True

        with server(answer) as port:
            outcome = openload.run(timetable(port, 4))
        assert len(outcome.waits) == 20
        assert (outcome.failed, outcome.resent, outcome.unanswered) == (0, 0, 0)

    def test_queued_requests_wait_from_when_they_were_due(self) -> None:
        """One answer that takes 0.3 s is felt by all that were due behind it."""
        slow = 0.3

        def answer(number: int, connection: socket.socket) -> bool:
            if number == 0:
                threading.Event().wait(slow)
            connection.sendall(OK)
            return True

        with server(answer) as port:
            waits = openload.run(timetable(port)).waits
        assert len(waits) == 20
        assert waits[0] >= slow
        # The eleventh is due after 0.1 s and waits for the rest of the 0.3.
        assert waits[10] >= slow - 0.11

    def test_a_connection_closed_without_an_answer_is_tried_again(self) -> None:
        """Once, on a new connection: nothing is lost."""

        def answer(number: int, connection: socket.socket) -> bool:
            if number == 3:
                return False
            connection.sendall(OK)
            return True

        with server(answer) as port:
            outcome = openload.run(timetable(port))
        assert (len(outcome.waits), outcome.resent, outcome.failed) == (20, 1, 0)

    def test_half_an_answer_is_a_failure(self) -> None:
        """So are other statuses; the others go on."""

        def answer(number: int, connection: socket.socket) -> bool:
            if number == 3:
                connection.sendall(OK[:-1])
                return False
            connection.sendall(OK.replace(b"200", b"503") if number == 5 else OK)
            return True

        with server(answer) as port:
            outcome = openload.run(timetable(port))
        assert (len(outcome.waits), outcome.resent, outcome.failed) == (18, 0, 2)

    def test_nobody_listens(self) -> None:
        """Each request fails, and the whole ends."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        outcome = openload.run(timetable(port))
        assert (len(outcome.waits), outcome.failed) == (0, 20)

    def test_chunked_answers_are_whole_with_their_last_chunk(self) -> None:
        """A response in chunks has no length."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

        def answer(number: int, connection: socket.socket) -> bool:
            connection.sendall(head + b"2\r\nok\r\n")
            connection.sendall(b"0\r\n\r\n")
            return True

        with server(answer) as port:
            assert len(openload.run(timetable(port)).waits) == 20

    def test_events_happen_when_they_are_due(self) -> None:
        """Between the requests, on the caller's thread."""
        happened: list[float] = []

        def answer(number: int, connection: socket.socket) -> bool:
            connection.sendall(OK)
            return True

        started = time.perf_counter()
        with server(answer) as port:
            openload.run(
                timetable(port), {0.1: lambda: happened.append(time.perf_counter() - started)}
            )
        assert len(happened) == 1
        assert happened[0] >= 0.1

    def test_percentiles(self) -> None:
        """The value that so many do not exceed."""
        values = [float(n) for n in range(1000)]
        assert percentile(values, 0.5) == 500
        assert percentile(values, 0.999) == 999
        assert percentile([], 0.99) == 0


@linux_only
class TestPinning:
    """Which processors servers run on."""

    def test_lists_are_read_as_linux_writes_them(self) -> None:
        """Numbers and ranges; anything else is refused."""
        assert pinning.cpu_set("0-2,8") == {0, 1, 2, 8}
        for text in ("", "a", "3-1", "1,,2"):
            with pytest.raises(argparse.ArgumentTypeError):
                pinning.cpu_set(text)

    def test_servers_get_theirs_and_the_caller_keeps_its_own(self) -> None:
        """In a process of its own, because it moves to the processors of the client."""
        code = """
import argparse, os, subprocess, sys
from benchmarks import pinning
first = min(os.sched_getaffinity(0))
last = max(os.sched_getaffinity(0))
pinning.apply(argparse.Namespace(server_cpus=frozenset({last}), client_cpus=frozenset({first})))
ask = [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"]
with pinning.for_servers():
    assert subprocess.check_output(ask, text=True).strip() == str({last})
assert subprocess.check_output(ask, text=True).strip() == str({first})
assert pinning.server_processors() == 1
"""
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE
        )
        assert done.returncode == 0, done.stderr


class TestParts:
    """Command lines of the parts."""

    @pytest.mark.parametrize("part", everyone.MINUTES)
    def test_what_is_said_to_all_is_said_to_each(self, part: str, tmp_path: Path) -> None:
        """Each part's own parser takes it."""
        words = ["all", "--quick", "--rounds", "3", "--duration", "4", "--server-cpus", "0-1,3"]
        words += ["--client-cpus", "2", "--gil-python", sys.executable, "--results", str(tmp_path)]
        command = everyone._command(part, _parser().parse_args(words))
        options = _parser().parse_args(command[3:])
        assert (options.rounds, options.duration, options.quick) == (3, 4, True)
        assert (options.server_cpus, options.client_cpus) == ({0, 1, 3}, {2})
        assert options.results == tmp_path
        assert getattr(options, "gil_python", None) == (
            sys.executable if part in ("seed", "copies") else None
        )

    def test_names_may_be_none(self) -> None:
        """A half is left out with "none"; an unknown name is refused."""
        parse = names(["a", "b"], or_none=True)
        assert parse("b,a") == ["b", "a"]
        assert parse("none") == []
        with pytest.raises(argparse.ArgumentTypeError):
            parse("a,c")

    def test_none_is_a_name_like_any_other(self) -> None:
        """Where it is none of the names, nothing to measure is a mistake."""
        assert names(["none", "defer"])("none") == ["none"]
        with pytest.raises(argparse.ArgumentTypeError):
            names(["a"])("none")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["all", "--parts", "bogus"], "unknown: bogus; there are seed, peers"),
            (["seed", "--gil-python", "/no/python"], "'/no/python': no such program"),
            (["targets", "--server-cpus", "x"], "'x': processors, such as 0-3,8"),
        ],
    )
    def test_arguments_can_be_looked_at_alone(self, words: list[str], said: str) -> None:
        """So a mistake is said before anything is installed or measured."""
        command = [sys.executable, "-m", "benchmarks", "--check"]
        for arguments, status in ((words, 2), (words[:1], 0)):
            done = subprocess.run(
                [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE
            )
            assert done.returncode == status, done.stderr
            assert (said in done.stderr) == (status == 2)

    def test_interrupted_parts_end_first(self) -> None:
        """A part gets SIGTERM and time for its servers, and only then are we done."""
        code = (
            "import signal, sys, os\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('ended', flush=True)))\n"
            "os.kill(os.getppid(), signal.SIGINT)\n"
            "signal.pause()\n"
        )
        outer = (
            "import sys\nfrom benchmarks import everyone\n"
            f"try: everyone._run_part([sys.executable, '-c', {code!r}])\n"
            "except KeyboardInterrupt: print('interrupted')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", outer],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert done.stdout.split() == ["ended", "interrupted"], done.stderr


class TestSeedTable:
    """Who is compared with whom."""

    def where(self, folder: Path, gil_python: str = "") -> seed_table.Field:
        """Two processors."""
        return seed_table.Field(folder, gil_python, 2)

    def test_caddy_snake_is_left_out_where_it_is_not_installed(self, tmp_path: Path) -> None:
        """And that is said."""
        where = self.where(tmp_path)
        found = seed_table.entries(where)
        assert not [entry for entry in found if entry.family == "Caddy Snake"]
        assert any("Caddy Snake left out" in line for line in where.skipped)

    def test_caddy_snake_runs_in_the_environment_of_its_python(self, tmp_path: Path) -> None:
        """Its program is found beside that; the Caddyfile names environment and workers."""
        packages = tmp_path / "venv" / "lib" / "python3.14" / "site-packages"
        packages.mkdir(parents=True)
        (packages / "caddysnake-cli").touch()
        where = self.where(tmp_path, str(tmp_path / "venv" / "bin" / "python"))
        entry = next(e for e in seed_table.entries(where) if e.family == "Caddy Snake")
        command = entry.server.argv("module:app", 2)
        assert str(packages / "caddysnake-cli") in command
        config = Path(command[command.index("--config") + 1]).read_text()
        assert f'venv "{tmp_path}/venv"' in config
        assert "workers 2" in config
        assert 'module_wsgi "module:app"' in config

    def test_equal_means_as_many_workers_as_processors(self, tmp_path: Path) -> None:
        """Nobody has two equal settings."""
        equal = [e for e in seed_table.entries(self.where(tmp_path)) if e.equal]
        assert all(entry.workers == 2 for entry in equal)
        assert len({(e.framework, e.family) for e in equal}) == len(equal)

    def test_the_best_setting_has_the_most_requests(self, tmp_path: Path) -> None:
        """Settings without a valid trial do not count."""
        found = [
            e
            for e in seed_table.entries(self.where(tmp_path))
            if (e.framework, e.family) == ("Flask", "nogilserve")
        ]
        few, many = (entry.contestant for entry in found[:2])
        trials = [measurement(few, "seed-flask", rate=10.0), measurement(many, "seed-flask", 20.0)]
        best = seed_table.best_of(summarise(trials), found)
        assert best["Flask", "nogilserve"].contestant == many.label
        trials[1] = measurement(many, "seed-flask", rate=20.0, valid=False)
        best = seed_table.best_of(summarise(trials), found)
        assert best["Flask", "nogilserve"].contestant == few.label


def result(folder: Path, name: str, document: dict[str, Any], text: str = "") -> None:
    """A result as the commands write it."""
    options = argparse.Namespace(results=folder)
    setting: dict[str, object] = {
        "machine": {"processor": "P", "processors": 2},
        "python": {"version": "3", "pgo": True, "lto": False, "free_threaded": True},
        "commit": "c",
        "created": "now",
    }
    payload: dict[str, object] = {**document}
    graph = Graph("g", ["1", "2"], "x", [Curve("a", [1.0, None], True), Curve("b", [2.0, 3.0])])
    report.save(options, name, setting, payload, text, [[graph]])


def row(server: str, rate: float, threads: int = 2, trials: int = 1) -> dict[str, Any]:
    """A line of a summary."""
    figures = {"rate": rate, "cpu_us": 1e6 / rate, "p99_us": 1e8 / rate, "pss_bytes": 2**20}
    label = f"{server} x{threads}"
    return {
        "contestant": label,
        "server": server,
        "threads": threads,
        "workload": "flask",
        "trials": trials,
        **figures,
    }


class TestPage:
    """The page of figures."""

    def test_marks_are_filled_and_filled_again(self) -> None:
        """What stands between is replaced, the rest stays; an unknown mark is an error."""
        text = "a\n<!-- figures: seed -->\nold\n<!-- end of figures -->\nb\n"
        once = page.fill(text, {"seed": "new"})
        assert "old" not in once
        assert once.startswith("a\n")
        assert once.endswith("b\n")
        assert page.fill(once, {"seed": "new"}) == once
        with pytest.raises(KeyError):
            page.fill(text, {})

    def test_the_page_has_marks_that_are_known(self, tmp_path: Path) -> None:
        """Each section of the real page can be filled, and no section lacks its mark."""
        known = page.sections(tmp_path, tmp_path / "page.md")
        marks = [match[2] for match in page.MARK.finditer(page.PAGE.read_text())]
        assert sorted(marks) == sorted(known)

    def test_losses_are_found(self) -> None:
        """Better by more than noise, in either direction of better; invalid ones were left out."""
        rows = [row("nogilserve", 100.0), row("fast", 120.0), row("same", 101.0)]
        found = {line[1]: line[3] for line in page.losses("w", rows)}
        assert found["requests/s"] == "fast x2 120"
        assert found["p99, ms"] == "fast x2 833.33"
        assert "memory, MiB" not in found

    def test_no_loss_without_ours(self) -> None:
        """There is nothing to compare with."""
        assert page.losses("w", [row("fast", 120.0)]) == []

    def test_sections_have_tables_and_charts(self, tmp_path: Path) -> None:
        """From results of this machine, and of another in a folder of its own."""
        results, target = tmp_path / "results", tmp_path / "docs" / "page.md"
        target.parent.mkdir()
        summary = [row("nogilserve threads", 10.0, 1), row("gunicorn", 20.0, 2)]
        footprint = {"workload": "model", "way": "gunicorn", "copies": 4, "loaded": 7 * 2**20}
        result(results, "copies", {"summary": summary, "footprints": [footprint]})
        result(results / "wide", "copies", {"summary": summary, "footprints": []})
        text = "# t\n\n## Two each\n\n| a |\n| - |\n| 77 |\n\nend"
        result(results, "seed", {"summary": summary, "skipped": ["nobody"]}, text)
        found = page.sections(results, target)
        assert "| 77 |" in found["seed"]
        assert "nobody" in found["seed"]
        assert "**model: memory after requests, MiB**" in found["copies"]
        for name in ("bench-copies.svg", "bench-wide-copies.svg", "bench-seed.svg"):
            ET.parse(target.parent / "pictures" / name)
            assert name in found["copies"] + found["seed"]
        assert found["peers"] == page.NONE


def test_a_graph_has_a_point_for_each_value() -> None:
    """None leaves a gap; the scale reaches the highest value."""
    curves = [Curve("ours", [1.0, None, 4.0], True), Curve("theirs", [2.0, 3.0, 17.0])]
    root = ET.fromstring(draw("t", [[Graph("g", ["1", "2", "4"], "threads", curves)]], "f"))
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{space}circle")) == 5
    heights = [float(c.attrib["cy"]) for c in root.findall(f".//{space}circle")]
    assert min(heights) > 0
    assert "threads" in [text.text for text in root.findall(f".//{space}text")]


@linux_only
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_copies_of_real_servers(tmp_path: Path) -> None:
    """Plain hello by one thread and by one copy: speed, and memory before and after requests."""
    command = [sys.executable, "-m", "benchmarks", "copies", "--quick", "--counts", "1"]
    command += ["--workloads", "hello", "--memory", "hello", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "copies-quick.json").read_text())
    by_way = {one["way"]: one for one in document["footprints"]}
    assert 10 * 2**20 < by_way[copies.OURS]["started"] < 2**30
    assert by_way[copies.OURS]["processes"] == 2  # with the master
    assert by_way["nogilserve processes"]["processes"] == 3
    assert {row["server"] for row in document["summary"]} >= {copies.OURS, "nogilserve processes"}
    assert all(row["trials"] for row in document["summary"])


@linux_only
def test_latency_of_a_real_server(tmp_path: Path) -> None:
    """Beside a blocked thread nothing is lost, and the block took place."""
    command = [sys.executable, "-m", "benchmarks", "latency", "--duration", "3", "--rate", "50"]
    command += ["--scenes", "blocked", "--servers", "nogilserve", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((tmp_path / "latency.json").read_text())
    wsgi = next(one for one in document["summary"] if one["interface"] == "wsgi")
    assert wsgi["happened"]
    assert wsgi["answered"] == 150
    assert os.path.getsize(tmp_path / "latency.svg") > 0
