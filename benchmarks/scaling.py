"""`scaling`: one server with 1, 2, 4 … threads, and what its threads contend for.

If nothing shared is written per request, processor time per request stays flat while threads are
added, requests per second grow until the processors are used up, and the profile shows no locks.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from benchmarks import report, wrk
from benchmarks.chart import Bar, Panel
from benchmarks.machine import conditions
from benchmarks.profiler import (
    CONTENTION,
    SYSTEM_CALLS,
    Profile,
    counting,
    sample,
    unavailable,
)
from benchmarks.report import Summary, summarise
from benchmarks.rounds import Plan, say
from benchmarks.servers import SERVERS, Contestant
from benchmarks.trial import Running, TrialError, background, get, load_of, serve
from benchmarks.workloads import WORKLOADS, Workload

__all__ = ["default_threads", "run"]

SAMPLE_SECONDS = 1.0
SIDE_SECONDS = 60  # more than everything that is done beside background requests
COUNTERS = ("hand_offs", "steals")


@dataclass(frozen=True, slots=True)
class Inside:
    """What was seen inside one server under load."""

    threads: int
    profile: Profile | None
    calls: dict[str, float]
    """System calls per request; empty where perf cannot count them."""
    counters: dict[str, float]
    """The engine's own counters over the run; empty for other servers."""


def default_threads() -> list[int]:
    """Powers of two up to twice the processors and at least 16, and the processors themselves."""
    processors = os.process_cpu_count() or 1
    counts, count = {processors}, 1
    while count <= max(16, 2 * processors):
        counts.add(count)
        count *= 2
    return sorted(counts)


def _counters(running: Running) -> dict[str, float]:
    try:
        found = json.loads(get(running.port, "/counters")[1])
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, int | float)}


def _look_inside(contestant: Contestant, workload: Workload, options: argparse.Namespace) -> Inside:
    """Two runs on one server: system calls and counters in the first, samples in the second."""
    reason = unavailable()
    calls: dict[str, int] = {}
    profile = None
    with (
        serve(contestant, workload.app) as running,
        background(running, workload, SIDE_SECONDS),
    ):
        load = load_of(
            running,
            workload,
            int(SAMPLE_SECONDS) + 1,
            options.connections,
            options.wrk_threads,
        )
        wrk.run(replace(load, seconds=1))
        before = _counters(running)
        with nullcontext() if reason else counting(running.pids(), calls):
            result = wrk.run(load)
        after = _counters(running)
        if not reason:
            process = wrk.start(load)
            time.sleep(0.3)  # the connections are made by then
            seen = sample(running.pids(), SAMPLE_SECONDS)
            wrk.finish(process, load)
            if isinstance(seen, Profile):
                profile = seen
            else:
                say(seen)
    absolute = ("cores", "longest_wait")
    counters = {k: v if k in absolute else v - before.get(k, 0) for k, v in after.items()}
    per_request = {call: count / result.requests for call, count in calls.items()}
    return Inside(contestant.threads, profile, per_request, counters)


def _speed_table(rows: Sequence[Summary]) -> str:
    first = rows[0]
    return report.table(
        ("threads", "req/s", "speed-up", "CPU µs/req", "ratio", "p99 ms", "switches/req"),
        [
            [
                f"{row.threads}",
                f"{row.rate:,.0f}",
                f"{row.rate / first.rate:.2f}" if first.rate else "-",
                f"{row.cpu_us:.1f}",
                f"{row.cpu_us / first.cpu_us:.2f}" if first.cpu_us else "-",
                f"{row.p99_us / 1000:.2f}",
                f"{row.switches_per_request:.2f}",
            ]
            for row in rows
        ],
    )


def _contention_table(insides: Sequence[Inside]) -> str:
    header = ("share of processor samples", *(f"{i.threads} threads" for i in insides))
    rows = [
        [group, *(f"{i.profile.shares[group] * 100:.1f} %" if i.profile else "-" for i in insides)]
        for group in CONTENTION
    ]
    return report.table(header, rows)


def _calls_table(insides: Sequence[Inside]) -> str:
    header = ("system calls per request", *(f"{i.threads} threads" for i in insides))
    return report.table(
        header,
        [
            [call, *(f"{i.calls[call]:.3f}" if call in i.calls else "-" for i in insides)]
            for call in SYSTEM_CALLS
        ],
    )


def _counter_table(insides: Sequence[Inside]) -> str:
    def cell(inside: Inside, name: str) -> str:
        per_thousand = inside.counters.get(name, 0) / max(inside.counters.get("requests", 0), 1)
        return f"{per_thousand * 1000:.2f}"

    def wait(inside: Inside) -> str:
        return f"{inside.counters.get('longest_wait', 0) * 1000:.2f}"

    header = ("engine counters", *(f"{i.threads} threads" for i in insides))
    rows = [["cores", *(f"{i.counters.get('cores', 0):.0f}" for i in insides)]]
    rows += [[f"{name} per 1000 requests", *(cell(i, name) for i in insides)] for name in COUNTERS]
    rows.append(["longest queue wait, ms", *(wait(i) for i in insides)])
    return report.table(header, rows)


def _top_list(inside: Inside) -> str:
    assert inside.profile is not None
    lines = [f"{share * 100:5.1f} %  {name}" for name, share in inside.profile.top]
    head = f"Top functions with {inside.threads} threads ({inside.profile.samples} samples):"
    return "\n".join([head, "", "```", *lines, "```"])


def _text(rows: Sequence[Summary], insides: Sequence[Inside], title: str, head: str) -> list[str]:
    lines = [f"# Scaling of {rows[0].server}: {title}\n\n{head}\n", _speed_table(rows), ""]
    profiled = [inside for inside in insides if inside.profile]
    if profiled:
        lines += [_contention_table(profiled), ""]
    if any(inside.calls for inside in insides):
        lines += [_calls_table(insides), ""]
    if any(inside.counters for inside in insides):
        lines += [_counter_table(insides), ""]
    if profiled:
        lines += [_top_list(profiled[-1]), ""]
    return lines


def _panels(rows: Sequence[Summary]) -> list[list[Panel]]:
    def bars(value: str, form: str) -> list[Bar]:
        return [
            Bar(f"{r.threads} threads", getattr(r, value), form.format(getattr(r, value)), True)
            for r in rows
        ]

    return [
        [
            Panel("requests/s", bars("rate", "{:,.0f}")),
            Panel("CPU µs per request (flat is good)", bars("cpu_us", "{:.1f}")),
            Panel("context switches per request", bars("switches_per_request", "{:.2f}")),
        ]
    ]


def run(options: argparse.Namespace) -> int:
    """Measure each thread count in alternating rounds, then look inside each once."""
    setting = conditions()
    server = SERVERS[options.server]
    workload = WORKLOADS[options.workload]
    if missing := server.missing():
        say(f"{options.server} is not installed (`pip install {' '.join(missing)}`)")
        return 2
    contestants = [Contestant(server, count) for count in options.threads]
    pairs = [(workload, contestant) for contestant in contestants]
    plan = Plan.of(pairs, options)
    extra = len(contestants) * (SAMPLE_SECONDS + 8)
    say(f"about {plan.expected + extra:.0f} s in all")
    trials = plan.run()
    summaries = sorted(summarise(trials), key=lambda row: row.threads)
    if not summaries:
        return 1
    insides: list[Inside] = []
    problems = list(plan.failures)
    for contestant in contestants:
        say(f"looking inside {contestant.label}")
        try:
            insides.append(_look_inside(contestant, workload, options))
        except (TrialError, wrk.WrkError) as exc:
            problems.append(f"{contestant.label} failed: {exc}")
    setting["load_average_after"] = os.getloadavg()
    lines = _text(summaries, insides, workload.title, report.footer(setting))
    lines += [report.noise_line(trials), *problems]
    if reason := unavailable():
        lines.append(reason)
    text = "\n".join(lines)
    print(text)
    payload: dict[str, object] = {"summary": summaries, "inside": insides, "trials": trials}
    payload["failures"] = problems
    report.save(options, "scaling", setting, payload, text, _panels(summaries))
    return 0
