"""Alternating rounds: every contestant once per round, so that drift of the machine hits all."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from benchmarks import procs, wrk
from benchmarks.servers import Contestant
from benchmarks.trial import Measurement, TrialError, run_trial
from benchmarks.workloads import Workload

__all__ = ["NOISY", "Plan", "default_wrk_threads", "say"]

NOISY = 0.15  # processors' worth of foreign work above which a trial is called disturbed
QUIET_SAMPLE = 0.5  # seconds of looking whether the machine is quiet
OVERHEAD = 1.5  # seconds a trial takes besides load: start, check, stop


def say(text: str) -> None:
    """Progress, on stderr so that stdout holds the result alone."""
    print(text, file=sys.stderr, flush=True)


def default_wrk_threads() -> int:
    """One thread of wrk saturates several processors' worth of Python; a quarter is plenty."""
    return max(1, (os.process_cpu_count() or 1) // 4)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run, and for how long at most."""

    pairs: Sequence[tuple[Workload, Contestant]]
    rounds: int
    seconds: int
    connections: int
    wrk_threads: int
    warm_up: int = 1
    patience: float = 0.0
    """Seconds the whole may spend waiting for foreign work on the machine to end."""
    failures: list[str] = field(default_factory=list)
    """One line for each pair that did not run; filled by `run`."""

    @classmethod
    def of(
        cls, pairs: Sequence[tuple[Workload, Contestant]], options: argparse.Namespace
    ) -> "Plan":
        """The plan that the command line describes."""
        return cls(
            pairs,
            options.rounds,
            options.duration,
            options.connections,
            options.wrk_threads,
            patience=options.patience,
        )

    @property
    def expected(self) -> float:
        """Seconds the whole takes."""
        one = self.seconds + self.warm_up + OVERHEAD
        return len(self.pairs) * self.rounds * one

    def run(self) -> list[Measurement]:
        """All trials, round by round; a pair that fails is reported and not tried again."""
        broken: set[tuple[str, str]] = set()
        total = len(self.pairs) * self.rounds
        say(f"{total} trials of {self.seconds} s, about {self.expected:.0f} s in all")
        if self.patience:
            say(f"and at most {self.patience:.0f} s of waiting for a quiet machine")
        trials: list[Measurement] = []
        began = time.monotonic()
        patience = self.patience
        for turn in range(self.rounds):
            # Odd rounds go backwards: nobody always follows the same neighbour.
            pairs = self.pairs if turn % 2 == 0 else list(reversed(self.pairs))
            for place, (workload, contestant) in enumerate(pairs):
                pair = (workload.name, contestant.label)
                if pair in broken:
                    continue
                number = turn * len(pairs) + place + 1
                head = f"[{number}/{total} {time.monotonic() - began:4.0f} s] {workload.name}"
                head += f" {contestant.label}:"
                # Not all of it before one trial: the machine may never be quiet.
                patience -= _wait_for_quiet(min(patience, self.patience / 10))
                try:
                    trial = replace(self._one(workload, contestant), round=turn)
                except (TrialError, wrk.WrkError) as exc:
                    say(f"{head} FAILED: {exc}")
                    broken.add(pair)
                    self.failures.append(f"{' '.join(pair)} failed: {exc}")
                    continue
                trials.append(trial)
                say(f"{head} {_line(trial)}")
        return trials

    def _one(self, workload: Workload, contestant: Contestant) -> Measurement:
        return run_trial(
            contestant, workload, self.seconds, self.connections, self.wrk_threads, self.warm_up
        )


def _wait_for_quiet(patience: float) -> float:
    """Wait until nobody else uses the machine, at most `patience` seconds; the seconds waited."""
    started = time.monotonic()
    while (waited := time.monotonic() - started) < patience:
        before = procs.host_cpu().busy
        time.sleep(QUIET_SAMPLE)
        if (procs.host_cpu().busy - before) / QUIET_SAMPLE <= NOISY:
            break
    return waited if patience > 0 else 0.0


def _line(trial: Measurement) -> str:
    parts = [
        f"{trial.rate:,.0f}/s, {trial.cpu_us:.1f} µs CPU, p99 {trial.p99_us / 1000:.2f} ms",
        f"{trial.pss_bytes / 2**20:.0f} MiB",
    ]
    if not trial.valid:
        parts.append(f"INVALID: {trial.errors} socket errors, {trial.bad_status} bad statuses")
    if trial.gil:
        parts.append("GIL ON")
    return ", ".join(parts)
