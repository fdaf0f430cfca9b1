"""From trials to figures: medians, tables, files."""

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chart import Bar, Graph, Panel, draw
from benchmarks.rounds import NOISY
from benchmarks.trial import Measurement

__all__ = [
    "RESULTS",
    "Summary",
    "footer",
    "median",
    "noise_line",
    "panels",
    "save",
    "summarise",
    "table",
]

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True, slots=True)
class Summary:
    """The medians of the valid trials of one contestant in one workload."""

    contestant: str
    server: str
    threads: int
    workload: str
    rate: float
    cpu_us: float
    user_us: float
    system_us: float
    p50_us: float
    p99_us: float
    pss_bytes: float
    switches_per_request: float
    trials: int
    invalid: int
    rate_spread: float
    """(highest - lowest) / median of the requests per second."""
    gil: bool

    @property
    def ours(self) -> bool:
        """Whether it is nogilserve, in whatever setting."""
        return self.server.startswith("nogilserve")


def median(trials: Iterable[Measurement], value: Callable[[Measurement], float]) -> float:
    """The median of a figure; 0 when there is no trial."""
    values = [value(trial) for trial in trials]
    return statistics.median(values) if values else 0.0


def summarise(trials: Sequence[Measurement]) -> list[Summary]:
    """One line for each workload and contestant, in order of first appearance."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for trial in trials:
        groups.setdefault((trial.workload, trial.contestant), []).append(trial)
    return [_summary(group) for group in groups.values()]


def _summary(group: list[Measurement]) -> Summary:
    first = group[0]
    valid = [trial for trial in group if trial.valid]
    rates = [trial.rate for trial in valid] or [0.0]
    middle = statistics.median(rates)
    return Summary(
        contestant=first.contestant,
        server=first.server,
        threads=first.threads,
        workload=first.workload,
        rate=middle,
        cpu_us=median(valid, lambda t: t.cpu_us),
        user_us=median(valid, lambda t: t.user_us),
        system_us=median(valid, lambda t: t.system_us),
        p50_us=median(valid, lambda t: t.p50_us),
        p99_us=median(valid, lambda t: t.p99_us),
        pss_bytes=median(valid, lambda t: t.pss_bytes),
        switches_per_request=median(valid, lambda t: t.switches_per_request),
        trials=len(valid),
        invalid=len(group) - len(valid),
        rate_spread=(max(rates) - min(rates)) / middle if middle else 0.0,
        gil=any(trial.gil for trial in group),
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Aligned columns as a Markdown table; the first column to the left, others to the right."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(header))]

    def render(line: list[str]) -> str:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "| " + " | ".join(cells) + " |"

    rule = ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join([render(lines[0]), "| " + " | ".join(rule) + " |", *map(render, lines[1:])])


def noise_line(trials: Sequence[Measurement]) -> str:
    """One sentence on what else the machine was doing."""
    if not trials:
        return "Nothing was measured."
    others = [trial.others_cpu for trial in trials]
    noisy = sum(1 for value in others if value > NOISY)
    return (
        f"Foreign work during the trials: median {statistics.median(others):.2f} processors, most"
        f" {max(others):.2f}; {noisy} of {len(trials)} trials above {NOISY:.2f}"
        + (" (figures in them are disturbed)." if noisy else ".")
    )


def footer(conditions: dict[str, object]) -> str:
    """The conditions in one line, for under a chart."""
    machine, python = conditions["machine"], conditions["python"]
    assert isinstance(machine, dict)
    assert isinstance(python, dict)
    build = " PGO" * bool(python["pgo"]) + " LTO" * bool(python["lto"])
    threaded = "free-threaded " if python["free_threaded"] else ""
    processors = f"{machine['processors']} processors shared with wrk"
    if own := machine.get("server_processors"):  # results of before do not say it
        processors = f"{own} processors for servers, {machine['processors']} for wrk"
    return (
        f"{machine['processor']}, {processors} ·"
        f" CPython {python['version']} {threaded}{build.strip()} · commit {conditions['commit']}"
        f" · {conditions['created']}"
    )


def panels(rows: Sequence[Summary], title: str) -> list[Panel]:
    """The three charts of a workload: rate, processor time, tail."""

    def bars(value: Callable[[Summary], float], form: str) -> list[Bar]:
        return [
            Bar(
                row.contestant,
                value(row),
                form.format(value(row)) if row.trials else "invalid",
                ours=row.ours,
                bad=not row.trials,
            )
            for row in rows
        ]

    return [
        Panel(f"{title}: requests/s", bars(lambda row: row.rate, "{:,.0f}")),
        Panel("CPU µs per request (less is better)", bars(lambda row: row.cpu_us, "{:,.1f}")),
        Panel("p99, ms (less is better)", bars(lambda row: row.p99_us / 1000, "{:,.2f}")),
    ]


def save(
    options: argparse.Namespace,
    kind: str,
    conditions: dict[str, object],
    payload: dict[str, object],
    text: str,
    rows: Sequence[Sequence[Panel | Graph]],
) -> None:
    """Write KIND.json, KIND.md and KIND.svg where `options` say; a newer run replaces an older.

    The files of a quick run are named KIND-quick, so that they never pass for measurements.
    """
    folder: Path = options.results
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{kind}-quick" if getattr(options, "quick", False) else kind
    document = {"kind": kind, "conditions": conditions, **payload}
    files = {"json": json.dumps(document, indent=1, default=_plain) + "\n", "md": text + "\n"}
    if rows:
        files["svg"] = draw(f"nogilserve benchmarks: {kind}", rows, footer(conditions))
    for suffix, content in files.items():
        path = folder / f"{name}.{suffix}"
        path.write_text(content)
        print(f"wrote {path}", file=sys.stderr)


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
