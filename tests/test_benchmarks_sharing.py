"""What measures the cost of sharing an application: its arithmetic, and the whole way once."""

import importlib.util
import json
import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.atomics import decode
from benchmarks.calls import WrongAnswerError, caller_of, load
from benchmarks.contention import growth, parse_symbols
from benchmarks.extrapolate import fit
from benchmarks.sharing import Sample, Taken, summarise
from benchmarks.steps import STEPS
from nogilserve.prepare.deferring import AVAILABLE

ROOT = Path(__file__).parent.parent
DEADLINE = 60

linux_only = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="the benchmarks read /proc"
)


def may_trace() -> bool:
    """Whether one process may follow another one that it has started."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    return not scope.exists() or scope.read_text().strip() in "01"


def pair(cpu_us: tuple[float, float], disturbed: float = 0.0) -> list[Sample]:
    """One copy on two threads, and two copies."""
    taken = Taken(rate=100.0, cpu_us=0.0, disturbed=disturbed, waited=0.01)
    return [
        Sample("flask", "none", 2, 1, 0, replace(taken, cpu_us=cpu_us[0])),
        Sample("flask", "none", 1, 2, 0, replace(taken, cpu_us=cpu_us[1], rate=110.0)),
    ]


def test_the_law_that_was_put_in_comes_out() -> None:
    """Both parameters from exact losses; a loss below 1 is no gain that grows."""
    losses = {n: 1 + 0.03 * (n - 1) + 0.001 * n * (n - 1) for n in (1, 2, 4, 8, 16)}
    law = fit(losses)
    assert law.serial == pytest.approx(0.03)
    assert law.pairs == pytest.approx(0.001)
    assert law.loss(64) == pytest.approx(1 + 0.03 * 63 + 0.001 * 64 * 63)
    assert fit({1: 1.0, 2: 0.97, 4: 0.99, 8: 0.98}).loss(64) >= 1
    assert fit({1: 1.0}).loss(64) == 1
    steep = fit({2: 1.0, 4: 1.3, 8: 2.6})
    assert steep.serial == 0
    assert steep.pairs > 0


def test_samples_without_foreign_work_decide() -> None:
    """Beside other work the threads do not run at the same time, and share for free."""
    disturbed = [sample for _ in range(9) for sample in pair((10.0, 10.0), disturbed=0.5)]
    quiet = [sample for _ in range(3) for sample in pair((15.0, 10.0))]
    (row,) = summarise(disturbed + quiet)
    assert (row.app, row.step, row.workers) == ("flask", "none", 2)
    assert row.cost == pytest.approx(1.5)
    assert row.loss == pytest.approx(1.1)
    assert (row.quiet, row.samples) == (3, 12)
    (row,) = summarise(disturbed + pair((15.0, 10.0)))
    assert row.cost == pytest.approx(1.0)


def test_places_that_grow_most_come_first() -> None:
    """Those that only one side has count from zero."""
    found = growth({"a": 1.0, "b": 5.0, "gone": 2.0}, {"a": 4.0, "b": 5.5, "new": 1.0})
    assert [(one.place, one.more) for one in found] == [
        ("a", 3.0),
        ("new", 1.0),
        ("b", 0.5),
        ("gone", -2.0),
    ]


def test_samples_of_perf_are_counted_by_function() -> None:
    """The compiler's suffixes are of no interest, and an address without a name is one place."""
    lines = [
        "    5581e2f1a2b3 _PyEval_EvalFrameDefault",
        "    5581e2f1a2b7 _PyEval_EvalFrameDefault",
        "    5581e2f1a111 _Py_brc_queue_object.lto_priv.0",
        "    7f0000000000",
        "",
    ]
    assert dict(parse_symbols(lines)) == {
        "_PyEval_EvalFrameDefault": 2,
        "_Py_brc_queue_object": 1,
        "?": 1,
    }


def test_wrong_answers_are_not_measured() -> None:
    """A route that is not there would be cheap."""
    for name in ("plain:app", "asgi_plain:app"):
        with caller_of(load(f"benchmarks.apps.{name}"), "/no-such-route") as call:
            with pytest.raises(WrongAnswerError, match="404"):
                call(1)


def bench(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


EVERY_STEP = list(STEPS) if AVAILABLE else ["none", "freeze"]


@linux_only
@pytest.mark.parametrize(("app", "steps"), [("plain", EVERY_STEP), ("asgi-plain", ["freeze"])])
def test_calls_of_one_copy_and_of_two(tmp_path: Path, app: str, steps: list[str]) -> None:
    """The whole way without sockets, with every step that this interpreter has."""
    done = bench(
        *("sharing", "--no-sockets", "--apps", app, "--threads", "2"),
        *("--duration", "0.1", "--turns", "1", "--steps", ",".join(steps)),
        *("--results", str(tmp_path)),
    )
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "sharing-calls.json").read_text())
    assert document["failures"] == []
    assert {sample["step"] for sample in document["samples"]} == set(steps)
    shapes = [(sample["threads"], sample["processes"]) for sample in document["samples"]]
    assert set(shapes) == {(2, 1), (1, 2)}
    assert all(sample["taken"]["rate"] > 100 for sample in document["samples"])
    assert all(0.1 < sample["taken"]["cpu_us"] < 10_000 for sample in document["samples"])


@linux_only
@pytest.mark.skipif(
    importlib.util.find_spec("_remote_debugging") is None, reason="Python says no lines before 3.14"
)
def test_contention_is_seen_by_line(tmp_path: Path) -> None:
    """The lines are those of the application and of what it calls."""
    done = bench(
        *("contention", "--apps", "plain", "--threads", "2", "--duration", "0.5"),
        *("--results", str(tmp_path)),
    )
    assert done.returncode == 0, done.stderr
    copies, shared = json.loads((tmp_path / "contention.json").read_text())["apps"]["plain"]
    assert (copies["threads"], copies["processes"]) == (1, 2)
    assert (shared["threads"], shared["processes"]) == (2, 1)
    assert any("apps/plain.py:" in line for line in shared["lines"])


@linux_only
def test_step_that_the_server_does_not_have(tmp_path: Path) -> None:
    """It is said before anything is started."""
    done = bench("sharing", "--steps", "defer-all", "--results", str(tmp_path))
    assert done.returncode == 2
    assert "nogilserve has no defer-all" in done.stderr


@pytest.mark.parametrize(
    ("code", "address"),
    [
        ("f0480fc14710", 0x1010),  # lock xadd [rdi+0x10], rax
        ("f0490fb17c2410", 0x2010),  # lock cmpxchg [r12+0x10], rdi
        ("f0834708ff", 0x1008),  # lock add dword [rdi+8], -1
        ("f00fb00d10000000", 0x4018),  # lock cmpxchg [rip+0x10], cl: from the next instruction on
        ("f0480fc144c708", 0x1000 + 3 * 8 + 8),  # lock xadd [rdi+rax*8+8], rax
        ("8607", 0x1000),  # xchg [rdi], al: it locks without being told
        ("64f0480fc10425f8ffffff", 0x7000 - 8),  # lock xadd fs:[-8], rax
    ],
)
def test_instructions_that_lock(code: str, address: int) -> None:
    """Where each changes memory, as the processor finds it."""
    registers = {"rdi": 0x1000, "r12": 0x2000, "rip": 0x4000, "rax": 3, "fs_base": 0x7000}
    found = decode(bytes.fromhex(code).ljust(16, b"\x90"))
    assert found is not None
    assert found.address(registers) == address


@pytest.mark.parametrize("code", ["488b4710", "0fc1c0", "87c8", "480fb607", "90"])
def test_instructions_that_do_not_lock(code: str) -> None:
    """mov, xadd and xchg between registers, movzx, nop."""
    assert decode(bytes.fromhex(code).ljust(16, b"\x90")) is None


@linux_only
@pytest.mark.skipif(
    platform.machine() != "x86_64" or not AVAILABLE, reason="it reads instructions of x86-64"
)
@pytest.mark.skipif(not may_trace(), reason="this system lets nobody follow a process")
def test_atomic_operations_of_a_request(tmp_path: Path) -> None:
    """The application's own bytes are shared; not counted, nearly nothing is."""
    done = bench(
        *("atomics", "--apps", "plain", "--steps", "freeze,uncounted"),
        *("--results", str(tmp_path)),
        PYTHONPYCACHEPREFIX=str(tmp_path / "none"),  # constants of kept bytecode are immortal
    )
    assert done.returncode == 0, done.stderr
    frozen, uncounted = json.loads((tmp_path / "atomics.json").read_text())["requests"]
    assert frozen["total"] > frozen["shared"] > uncounted["shared"]
    assert any("wsgi.version" in name for name in frozen["objects"])
    assert sum(frozen["objects"].values()) == frozen["total"]
    assert sum(frozen["functions"].values()) == frozen["total"]
