"""The micro-benchmarks do what they measure, and the guard sees what has become slower."""

import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.guard import LIMIT, PACKAGE, ROOT, GuardError, base_of, excuses, judge
from benchmarks.micro_operations import OPERATIONS, make
from tests.support.certificates import NEEDS_OPENSSL

HEAD = "head of a browser"
HTTP2 = "WSGI HTTP/2 hello"


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=NEEDS_OPENSSL if "TLS" in name else ()) for name in OPERATIONS],
)
def test_operations_do_what_they_measure(name: str) -> None:
    """Each checks its own answers, and leaves nothing behind."""
    operation = make(name)
    for _ in range(2):
        operation.prepare(40)
        operation.run(40)
    operation.close()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, to be changed."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "nogilserve", tmp_path / "nogilserve", ignore=ignore)
    return tmp_path


def _slow_down(package: Path) -> None:
    file = package / "nogilserve/protocols/http1/fast.py"
    text = file.read_text()
    loop = "    for line in lines:\n"
    assert text.count(loop) == 1
    file.write_text(text.replace(loop, f"{loop}        [line.split(':') for _ in range(4)]\n"))


@pytest.mark.alone("it measures")
def test_guard_sees_what_is_slower(package: Path) -> None:
    """A parser that does something in vain; what does not parse is as quick as before."""
    _slow_down(package)
    verdicts = judge([HEAD, HTTP2], ROOT, package)
    assert verdicts[0].ratio > LIMIT
    assert len(verdicts[0].ratios) == 9
    assert verdicts[1].ratio <= LIMIT


@pytest.mark.alone("it measures")
def test_guard_lets_pass_what_is_quicker(package: Path) -> None:
    """The other way round."""
    _slow_down(package)
    (verdict,) = judge([HEAD], package, ROOT)
    assert verdict.ratio < 1
    assert len(verdict.ratios) == 1


def test_what_the_base_cannot_do_is_not_compared(package: Path) -> None:
    """An older nogilserve may lack anything; the working tree must not."""
    shutil.rmtree(package / "nogilserve/engine/http2")
    (verdict,) = judge([HTTP2], package, ROOT)
    assert "No module named 'nogilserve.engine.http2'" in verdict.incomparable
    with pytest.raises(GuardError, match="WSGI HTTP/2 hello: ModuleNotFoundError"):
        judge([HTTP2], ROOT, package)


def test_wrong_answers_are_not_compared(package: Path) -> None:
    """Nobody is quick who does something else."""
    file = package / "nogilserve/protocols/http1/tables.py"
    file.write_text(file.read_text().replace('f"HTTP/1.1 {code} {phrase}', 'f"HTTP/1.1 {code} No'))
    (verdict,) = judge(["small request and response"], package, ROOT)
    assert verdict.incomparable.startswith("WrongAnswer: answered b'HTTP/1.1 200 No")


def test_commits_may_say_that_they_slow_down() -> None:
    """A line of the message, with the operation and a reason."""
    message = (
        "Check more\n\nIt was not safe.\n\nSlower: WSGI hello: looks at each byte\nSlower: x\n"
    )
    assert excuses(message) == {"WSGI hello": "looks at each byte"}
    assert excuses("Slower: WSGI hello:\n") == {}


def _git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _commit(folder: Path, text: str) -> str:
    _git(folder, "commit", "--allow-empty", "-m", text)
    return _git(folder, "rev-parse", "HEAD")


def test_base_is_where_a_branch_has_left_main(tmp_path: Path) -> None:
    """On main itself it is the one before the last change; with one commit there is none."""
    _git(tmp_path, "init", "-b", "main")
    first = _commit(tmp_path, "first")
    assert base_of(tmp_path) == ""
    second = _commit(tmp_path, "second")
    assert base_of(tmp_path) == first
    (tmp_path / PACKAGE).mkdir()
    (tmp_path / PACKAGE / "new.py").touch()
    _git(tmp_path, "add", PACKAGE)
    changed = _commit(tmp_path, "changes the package")
    assert base_of(tmp_path) == second
    second = _commit(tmp_path, "changes something else")
    assert base_of(tmp_path) == _git(tmp_path, "rev-parse", f"{changed}^")
    _git(tmp_path, "checkout", "-b", "work")
    _commit(tmp_path, "third")
    _commit(tmp_path, "fourth")
    assert base_of(tmp_path) == second
    assert base_of(tmp_path, "HEAD~5") == first
    assert base_of(tmp_path, "nothing") == ""


def test_shallow_clone_has_no_base(tmp_path: Path) -> None:
    """As machines for CI make them."""
    origin = tmp_path / "origin"
    origin.mkdir()
    _git(origin, "init", "-b", "main")
    _commit(origin, "first")
    _commit(origin, "second")
    _git(tmp_path, "clone", "--depth", "1", origin.as_uri(), "clone")
    assert base_of(tmp_path / "clone") == ""
