"""`targets`: what the project set out to reach, measured in one run and judged.

Figures that are compared come from the same round, minutes are never between them; the ratio of
a target is the median of the rounds' ratios, its range stands beside it.
"""

import argparse
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import pinning, report
from benchmarks.idle import Crowd, Idle, crowd_cost, wake_ups
from benchmarks.machine import conditions
from benchmarks.report import summarise
from benchmarks.rounds import Plan, say
from benchmarks.servers import SERVERS, Contestant
from benchmarks.trial import Measurement, TrialError
from benchmarks.workloads import WORKLOADS

__all__ = ["VERDICT_HEADER", "Ratio", "Verdict", "run", "verdict", "verdict_rows"]

FEW, MANY = 2, 16  # threads the targets are stated for
OURS_FEW = Contestant(SERVERS["nogilserve"], FEW)
OURS_MANY = Contestant(SERVERS["nogilserve"], MANY)
LEAN = Contestant(SERVERS["granian-lean"], 1)
GRANIAN_MANY = Contestant(SERVERS["granian"], MANY)
IDLE_CONNECTIONS = 10_000
NOT_SLOWED = 1.1  # "do not slow the others": what noise between two runs can make of 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and what came of it."""

    target: str
    wanted: str
    measured: str
    met: bool


@dataclass(frozen=True, slots=True)
class Ratio:
    """A target that compares two contestants within each round."""

    target: str
    ours: Contestant
    theirs: Contestant
    workload: str
    value: Callable[[Measurement], float]
    unit: str
    limit: float
    at_least: bool


VERDICT_HEADER = ("target", "wanted", "measured", "met")


def verdict_rows(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """The rows of a table of verdicts."""
    return [[v.target, v.wanted, v.measured, "yes" if v.met else "NO"] for v in verdicts]


def _rate(trial: Measurement) -> float:
    return trial.rate


def _cpu(trial: Measurement) -> float:
    return trial.cpu_us


def _p99(trial: Measurement) -> float:
    return trial.p99_us / 1000


RATIOS = (
    Ratio("req/s, 2 threads : Granian's leanest", OURS_FEW, LEAN, "hello", _rate, "/s", 1.1, True),
    Ratio(
        "CPU/request, 2 threads : Granian's leanest",
        *(OURS_FEW, LEAN, "hello", _cpu, " µs", 0.85, False),
    ),
    Ratio(
        "req/s, 16 threads : Granian with 16",
        *(OURS_MANY, GRANIAN_MANY, "hello", _rate, "/s", 1.5, True),
    ),
    Ratio(
        "CPU/request, 16 threads : Granian with 16",
        *(OURS_MANY, GRANIAN_MANY, "hello", _cpu, " µs", 0.6, False),
    ),
    Ratio(
        "CPU/request, 16 threads : our 2 threads",
        *(OURS_MANY, OURS_FEW, "hello", _cpu, " µs", 1.25, False),
    ),
    Ratio(
        "p99 of fast requests beside 12 slow connections, 16 threads : Granian with 16",
        *(OURS_MANY, GRANIAN_MANY, "mixed", _p99, " ms", 1.0, False),
    ),
)


def verdict(ratio: Ratio, trials: Sequence[Measurement]) -> Verdict:
    """The median of the rounds' ratios against the limit. Invalid trials spoil their round."""
    wanted = f"{'≥' if ratio.at_least else '≤'} {ratio.limit:g}"
    ours_by_round = _valid(trials, ratio.ours, ratio.workload)
    theirs_by_round = _valid(trials, ratio.theirs, ratio.workload)
    pairs = [
        (ratio.value(ours_by_round[turn]), ratio.value(theirs_by_round[turn]))
        for turn in sorted(ours_by_round.keys() & theirs_by_round.keys())
    ]
    if not pairs:
        return Verdict(ratio.target, wanted, "not measured", False)
    quotients = [a / b for a, b in pairs]
    middle = statistics.median(quotients)
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    digits = 0 if ours > 1000 else 2
    measured = (
        f"{middle:.2f} ({min(quotients):.2f}-{max(quotients):.2f});"
        f" {ours:,.{digits}f}{ratio.unit} : {theirs:,.{digits}f}{ratio.unit}"
    )
    met = middle >= ratio.limit if ratio.at_least else middle <= ratio.limit
    return Verdict(ratio.target, wanted, measured, met)


def _valid(trials: Sequence[Measurement], who: Contestant, work: str) -> dict[int, Measurement]:
    """The valid trials of a contestant by their round."""
    return {
        trial.round: trial
        for trial in trials
        if trial.contestant == who.label and trial.workload == work and trial.valid
    }


def idle_verdicts(idle: Sequence[Idle]) -> list[Verdict]:
    """No wake-ups beyond one a second."""
    return [
        Verdict(
            f"idle wake-ups per second, {row.contestant} ({row.threads} threads)",
            "≤ 1",
            f"{row.wake_ups_per_second:.2f}",
            row.wake_ups_per_second <= 1,
        )
        for row in idle
    ]


def crowd_verdicts(crowd: Crowd) -> list[Verdict]:
    """Idle connections are cheap, stay open, and slow nobody."""
    name = f"{crowd.connections:,} idle connections"
    beside, without = (
        statistics.median(t.cpu_us for t in trials) for trials in (crowd.crowded, crowd.alone)
    )
    return [
        Verdict(
            f"{name}: Python memory each",
            "≤ 4096 B",
            f"{crowd.python_per_connection:,.0f} B (PSS {crowd.pss_per_connection:,.0f} B)",
            crowd.python_per_connection <= 4096,
        ),
        Verdict(f"{name}: none closed", "0", f"{crowd.lost}", crowd.lost == 0),
        Verdict(
            f"{name}: CPU/request of the others, with : without",
            f"≤ {NOT_SLOWED:g}",
            f"{crowd.cpu_ratio():.2f}; {beside:.1f} µs : {without:.1f} µs",
            crowd.cpu_ratio() <= NOT_SLOWED,
        ),
    ]


def _side_measurements(options: argparse.Namespace) -> tuple[list[Idle], Crowd | None, list[str]]:
    idle: list[Idle] = []
    problems: list[str] = []
    for contestant in (OURS_FEW, OURS_MANY):
        say(f"idle {contestant.label}: {options.idle_seconds} s")
        try:
            idle.append(wake_ups(contestant, options.idle_seconds))
        except TrialError as exc:
            problems.append(f"idle {contestant.label} failed: {exc}")
    say(f"{options.idle_connections:,} idle connections, {OURS_MANY.label}")
    crowd = None
    try:
        crowd = crowd_cost(OURS_MANY, options.idle_connections, options.duration, 1)
    except (TrialError, OSError) as exc:
        problems.append(f"idle connections failed: {exc}")
    for problem in problems:
        say(problem)
    return idle, crowd, problems


def run(options: argparse.Namespace) -> int:
    """Measure all targets, print and write the table; 0 only when all are met."""
    pinning.apply(options)
    setting = conditions()
    missing = LEAN.server.missing()
    if missing:
        say(f"{' '.join(missing)} is not installed: what is compared with it is not measured")
    peers = [] if missing else [LEAN, GRANIAN_MANY]
    hello, mixed = WORKLOADS["hello"], WORKLOADS["mixed"]
    hello_pairs = [(hello, c) for c in (OURS_FEW, LEAN, OURS_MANY, GRANIAN_MANY)]
    pairs = hello_pairs + [(mixed, c) for c in (OURS_MANY, GRANIAN_MANY)]
    pairs = [(w, c) for w, c in pairs if c.server.name == "nogilserve" or c in peers]
    plan = Plan.of(pairs, options)
    extra = 2 * (options.idle_seconds + 4) + 3 * options.duration + 25
    say(f"about {plan.expected + extra:.0f} s in all")
    trials = plan.run()
    idle, crowd, problems = _side_measurements(options)
    setting["load_average_after"] = os.getloadavg()
    verdicts = [verdict(ratio, trials) for ratio in RATIOS] + idle_verdicts(idle)
    verdicts += crowd_verdicts(crowd) if crowd else []
    lines = [f"# Targets\n\n{report.footer(setting)}\n"]
    lines.append(report.table(VERDICT_HEADER, verdict_rows(verdicts)))
    lines += ["", report.noise_line(trials), *plan.failures, *problems]
    text = "\n".join(lines)
    print(text)
    payload: dict[str, object] = {
        "verdicts": verdicts,
        "summary": summarise(trials),
        "idle": idle,
        "idle_connections": crowd,
        "failures": plan.failures + problems,
        "trials": trials,
    }
    summaries = summarise(trials)
    charts = [
        report.panels([row for row in summaries if row.workload == w.name], w.title)
        for w in (hello, mixed)
    ]
    report.save(options, "targets", setting, payload, text, charts)
    return 0 if all(v.met for v in verdicts) and not problems else 1
