"""`wsgi` and `asgi`: nogilserve and its peers on every workload."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import report
from benchmarks.asgi_figures import figures
from benchmarks.asgi_servers import ASGI_SERVERS
from benchmarks.chart import Panel
from benchmarks.machine import conditions
from benchmarks.report import Summary, summarise
from benchmarks.rounds import Plan, say
from benchmarks.servers import SERVERS, Contestant, Server, choose, version_of
from benchmarks.targets import VERDICT_HEADER, Verdict, verdict_rows
from benchmarks.trial import Measurement
from benchmarks.workloads import ASGI_WORKLOADS, WORKLOADS, Workload

__all__ = ["ASGI", "WSGI", "Field", "contestants_for", "run"]

HEADER = (
    *("server", "req/s", "ratio", "CPU µs/req", "ratio", "p50 ms", "p99 ms", "PSS MiB"),
    *("spread", "trials"),
)


@dataclass(frozen=True, slots=True)
class Field:
    """A comparison: who takes part, and in what."""

    name: str
    title: str
    servers: Mapping[str, Server]
    workloads: Mapping[str, Workload]
    judge: Callable[[Sequence[Measurement]], list[Verdict]] | None = None
    """Compares the trials with what the project set out to reach."""


WSGI = Field("wsgi", "WSGI servers compared", SERVERS, WORKLOADS)
ASGI = Field("asgi", "ASGI servers compared", ASGI_SERVERS, ASGI_WORKLOADS, figures)


def contestants_for(workload: Workload, contestants: Sequence[Contestant]) -> list[Contestant]:
    """The contestants with the threads the workload needs, each once.

    A setting of one thread would only queue behind the slow requests of a mixed workload.
    """
    chosen: list[Contestant] = []
    for contestant in contestants:
        fixed = contestant.server.fixed_threads
        if fixed and workload.min_threads > fixed:
            continue
        wanted = fixed or workload.threads(contestant.threads)
        candidate = Contestant(contestant.server, wanted)
        if candidate not in chosen:
            chosen.append(candidate)
    return chosen


def _row(summary: Summary, ours: Summary | None) -> list[str]:
    def ratio(mine: float, reference: float) -> str:
        return f"{mine / reference:.2f}" if reference else "-"

    if not summary.trials:
        return [summary.contestant, *["-"] * 8, f"0 ({summary.invalid} invalid)"]
    return [
        summary.contestant + (" (GIL on)" if summary.gil else ""),
        f"{summary.rate:,.0f}",
        ratio(summary.rate, ours.rate if ours else 0),
        f"{summary.cpu_us:.1f}",
        ratio(summary.cpu_us, ours.cpu_us if ours else 0),
        f"{summary.p50_us / 1000:.2f}",
        f"{summary.p99_us / 1000:.2f}",
        f"{summary.pss_bytes / 2**20:.1f}",
        f"{summary.rate_spread * 100:.0f} %" if summary.trials > 1 else "-",
        f"{summary.trials}" + (f" ({summary.invalid} invalid)" if summary.invalid else ""),
    ]


def _reference(row: Summary, rows: Sequence[Summary]) -> Summary | None:
    """The nogilserve row to compare with: the same threads, else its fewest; the first named."""
    ours = [other for other in rows if other.ours and other.trials]
    same = [other for other in ours if other.threads == row.threads]
    candidates = same or sorted(ours, key=lambda other: other.threads)
    return candidates[0] if candidates else None


def _workloads(field: Field, names: Sequence[str]) -> list[Workload]:
    chosen = []
    for name in names:
        workload = field.workloads[name]
        if workload.requires and not version_of(workload.requires):
            needs = workload.requires
            say(f"workload {name} left out: {needs} is not installed (`pip install {needs}`)")
            continue
        chosen.append(workload)
    return chosen


def run(options: argparse.Namespace) -> int:
    """Run the comparison, print and write it; 1 when nogilserve has no valid trial somewhere."""
    field: Field = options.field
    setting = conditions(field.servers.values())
    contestants, skipped = choose(options.servers, options.threads, field.servers)
    for line in skipped:
        say(line)
    workloads = _workloads(field, options.workloads)
    pairs = [(w, c) for w in workloads for c in contestants_for(w, contestants)]
    plan = Plan.of(pairs, options)
    trials = plan.run()
    setting["load_average_after"] = os.getloadavg()
    summaries = summarise(trials)
    lines: list[str] = [f"# {field.title}\n\n{report.footer(setting)}\n"]
    charts: list[list[Panel]] = []
    for workload in workloads:
        rows = [row for row in summaries if row.workload == workload.name]
        if not rows:
            continue
        body = report.table(HEADER, [_row(row, _reference(row, rows)) for row in rows])
        lines.append(f"## {workload.name}: {workload.title}\n\n{body}\n")
        charts.append(report.panels(rows, workload.title))
    verdicts = field.judge(trials) if field.judge else []
    if verdicts:
        lines.append(f"## Figures\n\n{report.table(VERDICT_HEADER, verdict_rows(verdicts))}\n")
    lines.append(report.noise_line(trials))
    lines += ["", *skipped, *plan.failures]
    lines.append("\nRatios are to nogilserve with as many threads, else with its fewest.\n")
    lines.append("Settings:\n")
    named = {contestant.server.name for contestant in contestants}
    lines += [f"- {name}: {s.notes}." for name, s in field.servers.items() if name in named]
    text = "\n".join(lines)
    print(text)
    commands = {c.label: c.server.argv("APP", c.threads)[1:] for c in contestants}
    payload: dict[str, object] = {"servers": commands, "skipped": skipped}
    if field.judge:
        payload["verdicts"] = verdicts
    payload |= {"failures": plan.failures, "summary": summaries, "trials": trials}
    report.save(options, field.name, setting, payload, text, charts)
    bad = [row.workload for row in summaries if row.ours and not row.trials]
    return 1 if bad or not trials else 0
