"""The benchmarks' own arithmetic, on real processes where it is about processes."""

import argparse
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from wsproto.frame_protocol import FrameProtocol

from benchmarks import procs, profiler, report, runtimes, servers, targets, wrk, wsload
from benchmarks.asgi_figures import figures
from benchmarks.asgi_servers import ASGI_SERVERS
from benchmarks.chart import Bar, Panel, draw
from benchmarks.compare import contestants_for
from benchmarks.servers import SERVERS, Contestant
from benchmarks.trial import Measurement
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).parent.parent
DEADLINE = 30

linux_only = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="the benchmarks read /proc"
)

WRK_OUTPUT = """\
Running 1s test @ http://127.0.0.1:37211/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.30ms    0.97ms  22.40ms   95.06%
  33126 requests in 1.00s, 4.42MB read

RESULT {"requests":33126,"duration_us":1003990,"bytes":4637640,"connect":0,"read":0,"write":0,\
"status":0,"timeout":0,"mean_us":1804.2,"p50_us":1343.0,"p90_us":3200.0,"p99_us":5772.0,\
"p999_us":9000.0,"max_us":22400.0}
"""


def measurement(
    contestant: Contestant,
    workload: str = "hello",
    rate: float = 1000.0,
    cpu_us: float = 10.0,
    turn: int = 0,
    valid: bool = True,
) -> Measurement:
    """A trial with these figures, the rest ordinary."""
    return Measurement(
        contestant=contestant.label,
        server=contestant.server.name,
        threads=contestant.threads,
        workload=workload,
        rate=rate,
        cpu_us=cpu_us,
        user_us=cpu_us / 2,
        system_us=cpu_us / 2,
        p50_us=500.0,
        p99_us=900.0,
        max_us=1000.0,
        pss_bytes=2**20,
        switches_per_request=0.1,
        wrk_cpu_us=5.0,
        others_cpu=0.0,
        requests=1000,
        seconds=1.0,
        errors=0 if valid else 3,
        bad_status=0,
        gil=False,
        valid=valid,
        round=turn,
    )


class TestWrk:
    """What wrk says."""

    def test_parses_its_result_line(self) -> None:
        """Counts, seconds and microseconds come out of the line that our script prints."""
        result = wrk.parse(WRK_OUTPUT, own_cpu=0.5)
        assert result.requests == 33126
        assert result.duration == pytest.approx(1.00399)
        assert result.rate == pytest.approx(32994, abs=1)
        assert (result.p50, result.p99) == (1343.0, 5772.0)
        assert result.own_cpu == 0.5
        assert result.valid

    @pytest.mark.parametrize("name", ["connect", "read", "write", "status", "timeout"])
    def test_any_error_makes_a_run_invalid(self, name: str) -> None:
        """A run with a socket error or a bad status is never a figure."""
        result = wrk.parse(WRK_OUTPUT.replace(f'"{name}":0', f'"{name}":2'))
        assert not result.valid
        assert result.socket_errors + result.bad_status == 2

    def test_output_without_a_result_is_an_error_that_quotes_it(self) -> None:
        """What wrk said instead is shown."""
        with pytest.raises(wrk.WrkError, match="unable to connect"):
            wrk.parse("unable to connect to 127.0.0.1:1 Connection refused")

    def test_missing_wrk_says_how_to_install_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without wrk the message names the package."""
        monkeypatch.setenv("PATH", "")
        with pytest.raises(wrk.WrkError, match="apt-get install wrk"):
            wrk.path()


@pytest.fixture
def busy_family() -> Iterator[subprocess.Popen[str]]:
    """A process that says "ready", with a child that burns 0.2 s of processor time and says so."""
    child = (
        "import time\nwhile time.process_time() < 0.2: pass\nprint('burnt', flush=True)\ninput()\n"
    )
    parent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-I', '-c', {child!r}], stdin=0)\n"
        "child.wait()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", parent],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.communicate("\n", timeout=DEADLINE)


@linux_only
class TestProcs:
    """What the kernel says of processes."""

    def test_counts_processor_time_of_the_whole_tree(
        self, busy_family: subprocess.Popen[str]
    ) -> None:
        """A child's work is found through its parent, within what it burnt and a start-up."""
        assert busy_family.stdout is not None
        assert busy_family.stdout.readline() == "burnt\n"
        pids = procs.tree(busy_family.pid)
        assert len(pids) == 2
        spent = procs.cpu_seconds(pids)
        assert 0.2 <= spent < 2.0
        user, system = procs.cpu_split(pids)
        assert user + system == pytest.approx(spent, abs=0.1)
        assert procs.pss_bytes(pids) > 2**20
        assert procs.threads(pids) >= 2

    def test_a_process_that_is_gone_costs_nothing(self) -> None:
        """Reading a process that has ended is no error."""
        with subprocess.Popen([sys.executable, "-I", "-c", ""]) as process:
            process.wait(DEADLINE)
        pids = [process.pid]
        assert procs.cpu_seconds(pids) == 0
        assert procs.pss_bytes(pids) == 0
        assert procs.switches(pids) == procs.Switches(0, 0)

    def test_waiting_shows_as_voluntary_switches(self) -> None:
        """Every wait for the system is one wake-up."""
        before = procs.switches([os.getpid()])
        for _ in range(20):
            select.poll().poll(1)
        assert (procs.switches([os.getpid()]) - before).voluntary >= 20

    def test_finds_the_port_a_process_listens_on(self) -> None:
        """A listening socket is found, one that only connects is not."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)) as client:
                ports = procs.listening_ports([os.getpid()])
                assert port in ports
                assert client.getsockname()[1] not in ports


class TestProfiler:
    """What perf says."""

    def test_reads_call_chains(self) -> None:
        """The innermost function counts as the top, a group counts anywhere in the chain."""
        script = (
            "     ffffffff81 finish_task_switch.isra.0 ([kernel.kallsyms])\n"
            "     ffffffff82 do_futex ([kernel.kallsyms])\n"
            "         5590ab _PyMutex_LockTimed+0x10 (/usr/bin/python3.14t)\n"
            "\n"
            "         5590cd _PyEval_EvalFrameDefault (/usr/bin/python3.14t)\n"
            "\n"
        )
        found = profiler.digest(profiler.parse_samples(script.splitlines()))
        assert found.samples == 2
        assert dict(found.top)["finish_task_switch.isra.0 [k]"] == 0.5
        locks = next(group for group in profiler.CONTENTION if group.startswith("locks"))
        assert found.shares[locks] == 0.5
        assert found.shares["garbage collection"] == 0

    def test_reads_system_call_counts(self) -> None:
        """Counted calls are read, calls that could not be counted are left out."""
        text = (
            "478,,syscalls:sys_enter_futex,1000,100.00,,\n"
            "<not supported>,,syscalls:sys_enter_read,0,100.00,,\n"
        )
        assert profiler.parse_counts(text) == {"futex": 478}


class TestServers:
    """Who takes part."""

    def test_a_missing_peer_is_named_with_its_remedy(self) -> None:
        """A server that is not installed is skipped, and the line says how to get it."""
        absent = servers.Server("absent", ("no-such-distribution",), lambda *_: [], "")
        SERVERS["absent"] = absent
        try:
            chosen, skipped = servers.choose(["nogilserve", "absent"], [2, 4])
        finally:
            del SERVERS["absent"]
        assert [c.label for c in chosen] == ["nogilserve x2", "nogilserve x4"]
        assert len(skipped) == 1
        assert "absent: not installed" in skipped[0]
        assert "pip install no-such-distribution" in skipped[0]

    def test_the_mixed_workload_gets_enough_threads(self) -> None:
        """Fewer threads than slow connections would measure the queue, not the server."""
        asked = [Contestant(SERVERS[name], 2) for name in ("nogilserve", "granian-lean")]
        chosen = contestants_for(WORKLOADS["mixed"], asked)
        assert [c.label for c in chosen] == ["nogilserve x16"]


class TestReport:
    """From trials to tables and charts."""

    def test_medians_leave_invalid_trials_out(self) -> None:
        """An invalid trial is counted but never measured."""
        ours = Contestant(SERVERS["nogilserve"], 2)
        trials = [measurement(ours, rate=rate) for rate in (900.0, 1000.0, 1300.0)]
        trials.append(measurement(ours, rate=9999.0, valid=False))
        (summary,) = report.summarise(trials)
        assert summary.rate == 1000
        assert (summary.trials, summary.invalid) == (3, 1)
        assert summary.rate_spread == pytest.approx(0.4)

    def test_draws_a_well_formed_chart(self) -> None:
        """The chart is XML with a bar for each value, drawn to scale, names escaped."""
        bars = [Bar("a < b", 10.0, "10", ours=True), Bar("half", 5.0, "5"), Bar("none", 0.0, "0")]
        root = ET.fromstring(draw("T & T", [[Panel("p", bars)]], "here"))
        space = "{http://www.w3.org/2000/svg}"
        widths = [float(r.get("width", "")) for r in root.findall(f"{space}rect[@fill!='white']")]
        assert widths == [300.0, 150.0, 1.0]
        assert "a < b" in [text.text for text in root.iter(f"{space}text")]

    def test_a_quick_run_never_replaces_measurements(self, tmp_path: Path) -> None:
        """Its files have names of their own."""
        setting: dict[str, object] = {
            "machine": {"processor": "p", "processors": 2},
            "python": {"version": "3.14", "free_threaded": True, "pgo": True, "lto": True},
            "commit": "c",
            "created": "now",
        }
        options = argparse.Namespace(results=tmp_path, quick=True)
        report.save(options, "wsgi", setting, {}, "text", [[]])
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["wsgi-quick.json", "wsgi-quick.md", "wsgi-quick.svg"]


class TestTargets:
    """Judging the targets."""

    def test_compares_within_rounds(self) -> None:
        """A machine that gets slower from round to round does not move the ratio."""
        trials = []
        for turn, speed in enumerate((1.0, 0.5, 0.25)):
            trials.append(measurement(targets.OURS_FEW, rate=1200 * speed, turn=turn))
            trials.append(measurement(targets.LEAN, rate=1000 * speed, turn=turn))
        found = targets.verdict(targets.RATIOS[0], trials)
        assert found.met
        assert found.measured.startswith("1.20 (1.20-1.20)")

    def test_an_invalid_trial_spoils_its_round(self) -> None:
        """What remains decides; nothing remaining is a target that was not met."""
        trials = [
            measurement(targets.OURS_FEW, rate=9000, turn=0),
            measurement(targets.LEAN, rate=1000, turn=0, valid=False),
        ]
        found = targets.verdict(targets.RATIOS[0], trials)
        assert (found.measured, found.met) == ("not measured", False)


class TestAsgi:
    """The figures of ASGI servers, and the load of WebSockets."""

    def test_the_best_setting_of_each_is_compared(self) -> None:
        """Of a server with several settings the one counts that is best for the figure."""
        trials = []
        for name, loops, cpu_us in (
            ("nogilserve-uvloop", 1, 20.0),
            ("nogilserve-uvloop", 2, 15.0),
            ("granian", 1, 25.0),
            ("granian", 2, 40.0),
        ):
            contestant = Contestant(ASGI_SERVERS[name], loops)
            trials.append(measurement(contestant, rate=1e6 / cpu_us, cpu_us=cpu_us))
        first = figures(trials)[0]
        assert first.target == "hello, CPU/request, nogilserve-uvloop x2 : granian x1"
        assert first.measured.startswith("0.60")
        assert first.met

    def test_figures_without_contestants_are_left_out(self) -> None:
        """A run of some servers judges what it can."""
        trials = [measurement(Contestant(ASGI_SERVERS["uvicorn"], 2))]
        assert figures(trials) == []

    @pytest.mark.parametrize("size", [0, 64, 126, 65535, 70000])
    def test_frames_are_what_a_server_reads(self, size: int) -> None:
        """Frames are masked, and their length is written as RFC 6455 asks."""
        payload = bytes(size)
        protocol = FrameProtocol(client=False, extensions=[])
        protocol.receive_bytes(wsload.frame(wsload.BINARY, payload))
        payloads = [frame.payload for frame in protocol.received_frames()]
        assert b"".join(piece for piece in payloads if isinstance(piece, bytes)) == payload


@linux_only
def test_one_second_of_websockets(tmp_path: Path) -> None:
    """The whole way for WebSockets; each first message is compared byte for byte."""
    command = [sys.executable, "-m", "benchmarks", "asgi", "--quick", "--threads", "1"]
    command += ["--servers", "nogilserve-asyncio", "--workloads", "ws-64,ws-64k"]
    command += ["--connections", "4", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "asgi-quick.json").read_text())
    assert [trial["workload"] for trial in document["trials"]] == ["ws-64", "ws-64k"]
    for trial in document["trials"]:
        assert trial["valid"]
        assert trial["requests"] > 50


@linux_only
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_one_second_against_nogilserve(tmp_path: Path) -> None:
    """The whole way once: server, check, wrk, accounts, table and files."""
    command = [sys.executable, "-m", "benchmarks", "wsgi", "--quick", "--servers", "nogilserve"]
    command += ["--workloads", "hello", "--connections", "8", "--results", str(tmp_path)]
    first = min(os.sched_getaffinity(0))
    command += ["--server-cpus", str(first), "--client-cpus", str(max(os.sched_getaffinity(0)))]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        output, progress = process.communicate(timeout=DEADLINE)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, progress
    assert "nogilserve" in output
    assert "1 processors for servers, 1 for wrk" in output
    document = json.loads((tmp_path / "wsgi-quick.json").read_text())
    (trial,) = document["trials"]
    assert trial["valid"]
    assert trial["requests"] > 100
    assert 1 < trial["cpu_us"] < 100_000
    assert document["conditions"]["wrk"].startswith("wrk")


# ---- runtimes --------------------------------------------------------------------------------


def test_interpreter_is_asked_what_it_is() -> None:
    """Version and build come from the interpreter itself, and decide which runtimes there are."""
    found = runtimes.find(sys.executable, ["h11"])
    assert found.version.startswith(".".join(str(part) for part in sys.version_info[:3]))
    new = runtimes.Interpreter("python", "3.14.7")
    old = runtimes.Interpreter("python", "3.13.15t")
    assert new.runtimes() == ("threads", "subinterpreters", "processes")
    assert old.runtimes() == ("threads", "processes")
    contestant = runtimes.contestants_on(new, 2, 16)[1]
    command = contestant.server.argv("main:app", contestant.threads)
    assert command[-6:] == ["--runtime", "subinterpreters", "--workers", "2", "--threads", "16"]


def test_interpreter_that_will_not_do() -> None:
    """What is missing is said before anything is measured."""
    with pytest.raises(ValueError, match="lacks no_such_module"):
        runtimes.find(sys.executable, ["no_such_module"])
    with pytest.raises(ValueError, match="there is no such program"):
        runtimes.find("/no/such/python", [])
    with pytest.raises(ValueError, match="is no Python"):
        runtimes.find("false", [])
