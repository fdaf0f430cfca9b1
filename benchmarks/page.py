"""`page`: puts figures and charts of the results into docs/benchmarks.md, between its marks.

A mark is `<!-- figures: NAME -->`, and what it stands for ends with `<!-- end of figures -->`. No
figure in the page is copied by hand, nor what is said about where others are better: that is looked
up in the results, too. Results of another machine lie in a folder of their own below the results.
"""

import argparse
import json
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.rounds import say

__all__ = ["PAGE", "fill", "losses", "run", "sections"]

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
MARK = re.compile(r"(<!-- figures: ([a-z]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)
NONE = "Not measured yet.\n"
WORSE = 1.05
"""By this factor another has to be better to be named: less is noise."""
WAIT = 1.0
"""Milliseconds that a wait by the timetable (`latency`) has to be longer, too."""

Json = dict[str, Any]
Rows = Sequence[Json]


def _load(folder: Path, name: str) -> list[tuple[Path, Json]]:
    """Results of this name: of this machine, then those in folders of their own."""
    paths = [folder / f"{name}.json", *sorted(folder.glob(f"*/{name}.json"))]
    return [(path, json.loads(path.read_text())) for path in paths if path.is_file()]


def _picture(path: Path, page: Path, alternative: str) -> str:
    """The chart beside a result, copied to where pages have their pictures."""
    chart = path.with_suffix(".svg")
    if not chart.is_file():
        return ""
    machine = "" if path.parent.name == "results" else f"{path.parent.name}-"
    name = f"bench-{machine}{path.stem}.svg"
    (page.parent / "pictures").mkdir(exist_ok=True)
    shutil.copyfile(chart, page.parent / "pictures" / name)
    return f"[![{alternative}](pictures/{name})](pictures/{name})\n"


def _footer(document: Json) -> str:
    return f"{report.footer(document['conditions'])}\n"


def _table_of(path: Path, heading: str) -> str:
    """The table under a heading of a result's text."""
    found = re.search(
        rf"^## {re.escape(heading)}[^\n]*\n\n(\|.*?)\n\n",
        path.with_suffix(".md").read_text() + "\n\n",
        re.DOTALL | re.MULTILINE,
    )
    return f"{found[1]}\n" if found else ""


def _headings(path: Path) -> list[str]:
    text = path.with_suffix(".md").read_text()
    return [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]


def _whole(folder: Path, page: Path, names: Iterable[str], alternative: str) -> str:
    """All tables of some results with their headings, and their charts."""
    parts: list[str] = []
    for name in names:
        for path, document in _load(folder, name):
            parts += [_picture(path, page, alternative), _footer(document)]
            for heading in _headings(path):
                if table := _table_of(path, heading):
                    parts += [f"**{heading}**\n", table]
            parts += [f"{line}\n" for line in document.get("skipped", [])]
    return "\n".join(part for part in parts if part) or NONE


def _pivot(rows: Rows, name: str, count: str, value: Callable[[Json], str]) -> str:
    """A table with a line for each name and a column for each count."""
    counts = sorted({row[count] for row in rows})
    cells = {(row[name], row[count]): value(row) for row in rows}
    names = dict.fromkeys(row[name] for row in rows)
    body = [[one, *(cells.get((one, n), "-") for n in counts)] for one in names]
    return report.table(("", *(str(n) for n in counts)), body) + "\n"


def _copies(folder: Path, page: Path) -> str:
    parts: list[str] = []
    for path, document in _load(folder, "copies"):
        parts += [_picture(path, page, "Threads of one process beside copies"), _footer(document)]
        valid = [row for row in document["summary"] if row["trials"]]
        for work in dict.fromkeys(row["workload"] for row in valid):
            rows = [row for row in valid if row["workload"] == work]
            for title, value in (
                ("requests/s", lambda r: f"{r['rate']:,.0f}"),
                ("p99, ms", lambda r: f"{r['p99_us'] / 1000:.1f}"),
                ("memory, MiB", lambda r: f"{r['pss_bytes'] / 2**20:.0f}"),
            ):
                parts += [f"**{work}: {title}**\n", _pivot(rows, "server", "threads", value)]
        for work in dict.fromkeys(row["workload"] for row in document["footprints"]):
            rows = [row for row in document["footprints"] if row["workload"] == work]
            table = _pivot(rows, "way", "copies", lambda r: f"{r['loaded'] / 2**20:.0f}")
            parts += [f"**{work}: memory after requests, MiB**\n", table]
    return "\n".join(part for part in parts if part) or NONE


def _name(row: Json) -> str:
    return str(row.get("contestant") or f"{row['server']} x{row['threads']}")


def _ours(row: Json) -> bool:
    return str(row.get("server", row.get("way", ""))).startswith("nogilserve")


# What a figure is called, where it is, how it is written, and whether more of it is better.
FIGURES: tuple[tuple[str, Callable[[Json], float], str, bool], ...] = (
    ("requests/s", lambda row: float(row["rate"]), "{:,.0f}", True),
    ("CPU µs per request", lambda row: float(row["cpu_us"]), "{:,.1f}", False),
    ("p99, ms", lambda row: row["p99_us"] / 1000, "{:,.2f}", False),
    ("memory, MiB", lambda row: row["pss_bytes"] / 2**20, "{:,.0f}", False),
)
WAITS: tuple[tuple[str, Callable[[Json], float], str, bool], ...] = (
    ("p50, ms", lambda row: float(row["p50"]), "{:,.2f}", False),
    ("p99, ms", lambda row: float(row["p99"]), "{:,.1f}", False),
    ("p99.9, ms", lambda row: float(row["p999"]), "{:,.1f}", False),
)


def losses(
    where: str,
    rows: Rows,
    figures: Sequence[tuple[str, Callable[[Json], float], str, bool]] = FIGURES,
    name: Callable[[Json], str] = _name,
    at_least: float = 0.0,
) -> list[list[str]]:
    """A line for each figure in which another is better than the best of ours."""
    found = []
    ours, theirs = [r for r in rows if _ours(r)], [r for r in rows if not _ours(r)]
    for title, value, form, more in figures:
        if not ours or not theirs:
            continue
        sign = 1 if more else -1
        best = max(ours, key=lambda row: sign * value(row))
        limit = value(best)
        better = [
            row
            for row in sorted(theirs, key=lambda row: -sign * value(row))
            if (value(row) > limit * WORSE if more else value(row) * WORSE < limit)
            and abs(value(row) - limit) >= at_least
        ]
        if better:
            others = "; ".join(f"{name(row)} {form.format(value(row))}" for row in better)
            found.append([where, title, f"{name(best)} {form.format(limit)}", others])
    return found


def _all_losses(folder: Path) -> list[list[str]]:
    found: list[list[str]] = []
    for kind in ("seed", "peers-wsgi", "peers-asgi", "copies"):
        for path, document in _load(folder, kind):
            machine = "" if path.parent == folder else f" ({path.parent.name})"
            valid = [row for row in document["summary"] if row["trials"]]
            figures = FIGURES
            groups: dict[str, list[Json]] = {}
            for row in valid:
                same = f" x{row['threads']}" if kind == "copies" else ""
                title = f"{kind.removeprefix('peers-')} {row['workload']}{same}{machine}"
                groups.setdefault(title, []).append(row)
            for title, rows in groups.items():
                found += losses(title, rows, figures)
            found += _footprint_losses(document.get("footprints", []), machine)
    for path, document in _load(folder, "latency"):
        machine = "" if path.parent == folder else f" ({path.parent.name})"
        scenes = dict.fromkeys((row["interface"], row["scene"]) for row in document["summary"])
        for interface, scene in scenes:
            rows = [
                row
                for row in document["summary"]
                if (row["interface"], row["scene"]) == (interface, scene) and row["happened"]
            ]
            title = f"{interface} {scene}{machine}"
            found += losses(title, rows, WAITS, lambda row: str(row["server"]), WAIT)
    return found


def _footprint_losses(rows: Rows, machine: str) -> list[list[str]]:
    found: list[list[str]] = []
    figure = ("memory after requests, MiB", lambda r: r["loaded"] / 2**20, "{:,.0f}", False)
    for work, count in dict.fromkeys((row["workload"], row["copies"]) for row in rows):
        same = [row for row in rows if (row["workload"], row["copies"]) == (work, count)]
        title = f"copies of {work} x{count}{machine}"
        found += losses(title, same, [figure], lambda row: str(row["way"]))
    return found


def _losses(folder: Path) -> str:
    lines = _all_losses(folder)
    if not lines:
        return NONE
    return report.table(("where", "figure", "nogilserve", "better"), lines) + "\n"


def sections(folder: Path, page: Path) -> dict[str, str]:
    """What each mark stands for. Charts are copied to the page's pictures."""
    return {
        "seed": _whole(folder, page, ["seed"], "The table of Caddy Snake"),
        "peers": _whole(folder, page, ["peers-wsgi", "peers-asgi"], "Servers on one interpreter"),
        "copies": _copies(folder, page),
        "latency": _whole(folder, page, ["latency"], "Waits in three scenes"),
        "losses": _losses(folder),
    }


def fill(text: str, found: dict[str, str]) -> str:
    """The text with its marks filled anew; KeyError for a mark that stands for nothing."""
    return MARK.sub(lambda match: f"{match[1]}\n{found[match[2]]}\n{match[3]}", text)


def run(options: argparse.Namespace) -> int:
    """Fill the page."""
    page: Path = options.page
    page.write_text(fill(page.read_text(), sections(options.results, page)))
    say(f"wrote {page}")
    return 0
