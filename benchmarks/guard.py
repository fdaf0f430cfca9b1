"""`guard`: whether the working tree is slower than the commit it came from, by micro-benchmarks.

Both are measured in the same run, by two processes that take turns every few milliseconds, so that
what else happens on the machine happens to both. What counts is the fastest trial of each, since
others were disturbed; or the median of what trials next to each other differ by, if that is less,
since on a busy machine all are disturbed. A process may be some percent slower than another one of
the same code for all its life, because of where its memory happens to lie. So what seems slower is
measured again with fresh pairs of processes, and the median of all pairs decides. With a load of 15
one pair in 100 says of the same code that it takes over a tenth more; of nine pairs five must.

The benchmarks are those of the working tree on both sides; only the package differs.
"""

import argparse
import io
import os
import re
import select
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import report
from benchmarks.rounds import say

__all__ = ["LIMIT", "GuardError", "Verdict", "base_of", "excuses", "judge", "run"]

ROOT = Path(__file__).parent.parent
PACKAGE = "nogilserve"

LIMIT = 1.10
"""Times the base's processor time that an operation may take."""
_SUSPICIOUS = 1.05
"""What is measured again."""
_RETRIES = 4
_PAIRS = 2
"""Pairs of processes for each time that something is measured again."""
_TRIALS = 24
_TRIAL_NS = 2_000_000
_DEADLINE = 60.0
"""Seconds until one trial must have been answered."""
_STEP = 20
"""Operations come in multiples of this: some do several together."""

_EXCUSE = re.compile(r"^Slower: ([^:\n]+): *(\S.*)$", re.MULTILINE)


class GuardError(Exception):
    """It cannot be measured; the text says why."""


@dataclass
class Verdict:
    """What was found out about an operation."""

    name: str
    ratios: list[float] = field(default_factory=list)
    """Of the working tree's processor time and the base's, for each pair of processes."""
    nanoseconds: float = 0.0
    """The working tree's best."""
    incomparable: str = ""
    """Why the base cannot do it."""

    @property
    def ratio(self) -> float:
        """The median."""
        return statistics.median(self.ratios) if self.ratios else 1.0


class _Worker:
    """A process that measures one side. Owner: the main thread."""

    def __init__(self, package: Path) -> None:
        """`package`: the folder that holds nogilserve."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "benchmarks.micro_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Dictionaries of both sides are laid out alike.
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(package), str(ROOT)]),
                "PYTHONHASHSEED": "0",
            },
            cwd=ROOT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.close()
            process.wait(_DEADLINE)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        finally:
            process.stdout.close()

    def trial(self, name: str, count: int) -> int:
        """Nanoseconds for `count` operations. Raises GuardError."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(f"{name}\t{count}\n".encode())
            stdin.flush()
        except BrokenPipeError:
            raise GuardError("the process that measures has ended") from None
        if not select.select([stdout], [], [], _DEADLINE)[0]:
            raise GuardError(f"no answer within {_DEADLINE:g} s")
        answer = stdout.readline().decode().strip()
        if not answer or answer.startswith("!"):
            raise GuardError(answer[1:] or "the process that measures has ended")
        return int(answer)


def _compare(verdict: Verdict, base: _Worker, new: _Worker) -> None:
    """One pair's ratio of an operation. Raises GuardError if the working tree cannot do it."""
    name = verdict.name
    cost = new.trial(name, 5 * _STEP) / (5 * _STEP)
    try:
        base.trial(name, 5 * _STEP)
        count = max(int(_TRIAL_NS / cost) // _STEP, 1) * _STEP
        trials: dict[_Worker, list[int]] = {base: [], new: []}
        for turn in range(_TRIALS):
            for worker in (base, new) if turn % 2 else (new, base):
                trials[worker].append(worker.trial(name, count))
    except GuardError as exc:
        # One that works as it should has just been seen: it is the base that does not.
        verdict.incomparable = f"{exc}"
        return
    best = min(trials[new])
    next_to_each_other = zip(trials[new], trials[base], strict=True)
    usual = statistics.median(ours / theirs for ours, theirs in next_to_each_other)
    verdict.ratios.append(min(best / min(trials[base]), usual))
    found = best / count
    verdict.nanoseconds = min(verdict.nanoseconds or found, found)


def _measure(verdicts: Sequence[Verdict], base: Path, new: Path) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(_Worker(package)) for package in (base, new)]
        for verdict in verdicts:
            try:
                _compare(verdict, *workers)
            except GuardError as exc:
                raise GuardError(f"{verdict.name}: {exc}") from None


def judge(names: Sequence[str], base: Path, new: Path) -> list[Verdict]:
    """Compare the packages in two folders. Raises GuardError if the new one cannot do something."""
    verdicts = [Verdict(name) for name in names]
    _measure(verdicts, base, new)
    for _ in range(_RETRIES):
        again = [v for v in verdicts if not v.incomparable and v.ratio > _SUSPICIOUS]
        for _ in range(_PAIRS if again else 0):
            _measure(again, base, new)
    return verdicts


def _git(root: Path, *arguments: str) -> str:
    """What git says, "" when it fails."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def base_of(root: Path, revision: str = "") -> str:
    """The commit to compare with: `revision`, else where HEAD has left main, else, on main itself,
    the one before the last that changed the package. "": there is none here."""
    if revision:
        return _git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    head = _git(root, "rev-parse", "HEAD")
    for main in ("origin/main", "main"):
        found = _git(root, "merge-base", "HEAD", main)
        if found and found != head:
            return found
    last = _git(root, "log", "-1", "--format=%H", "--", PACKAGE) or head
    return _git(root, "rev-parse", "--verify", "--quiet", f"{last}^")


def excuses(messages: str) -> dict[str, str]:
    """Operations that commits say to have made slower, and why: lines `Slower: OPERATION: why`."""
    return {name.strip(): why for name, why in _EXCUSE.findall(messages)}


def _changed(base: str) -> bool:
    """Whether the package differs from that of the base."""
    return bool(
        _git(ROOT, "diff", "--name-only", base, "--", PACKAGE)
        or _git(ROOT, "ls-files", "--others", "--exclude-standard", "--", PACKAGE)
    )


def _extract(revision: str, folder: Path) -> None:
    archive = subprocess.run(
        ["git", "archive", revision, PACKAGE], cwd=ROOT, capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")


def _row(verdict: Verdict, excused: dict[str, str]) -> list[str]:
    if verdict.incomparable:
        return [verdict.name, "", "", f"not comparable: {verdict.incomparable}"]
    slower = verdict.ratio > LIMIT
    said = "slower" if slower else ""
    if slower and verdict.name in excused:
        said = f"slower, as a commit says: {excused[verdict.name]}"
    return [verdict.name, f"{verdict.nanoseconds:,.0f}", f"{verdict.ratio:.3f}", said]


def run(options: argparse.Namespace) -> int:
    """Exit status 0 unless something is slower than the base by more than the limit."""
    began = time.monotonic()
    base = base_of(ROOT, options.base)
    if not base:
        if options.base:
            raise GuardError(f"{options.base}: there is no such commit")
        say("no commit to compare with (a shallow clone?): nothing is measured")
        return 0
    name = _git(ROOT, "log", "-1", "--format=%h %s", base)
    if not _changed(base):
        say(f"{PACKAGE}/ is as in {name}: nothing is measured")
        return 0
    excused = excuses(_git(ROOT, "log", "--format=%B", f"{base}..HEAD"))
    with tempfile.TemporaryDirectory(prefix="nogilserve-guard-") as folder:
        _extract(base, Path(folder))
        verdicts = judge(options.operations, Path(folder), ROOT)
    header = ("operation", "CPU ns", "working tree : base", "")
    print(f"base: {name}\n")
    print(report.table(header, [_row(verdict, excused) for verdict in verdicts]))
    say(f"{time.monotonic() - began:.0f} s")
    slower = [v for v in verdicts if not v.incomparable and v.ratio > LIMIT]
    guilty = [verdict.name for verdict in slower if verdict.name not in excused]
    if guilty:
        say(
            f"over {LIMIT - 1:.0%} slower: {', '.join(guilty)}. If that is wanted, say so in the "
            f"commit message: “Slower: {guilty[0]}: why”"
        )
    return 1 if guilty else 0
