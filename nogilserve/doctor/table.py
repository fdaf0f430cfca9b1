"""The report as text for people."""

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from nogilserve.doctor.report import Finding, Preparing, Report

__all__ = ["table"]

_NARROWEST, _WIDEST = 60, 100


def table(report: Report, width: int = 0) -> str:
    """The whole report, lines at most `width` wide (0: as the terminal is)."""
    width = min(max(width or shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    lines = [*_head(report, width), "", *_extensions(report), ""]
    problems = [finding for finding in report.findings if finding.problem]
    notes = [finding for finding in report.findings if not finding.problem]
    lines += [*_findings("Problems", problems, width), *_findings("Worth a look", notes, width)]
    return "\n".join([*lines, *_wrapped(_verdict(report), width, 0), ""])


def _head(report: Report, width: int) -> Iterator[str]:
    python = report.python
    build = "free-threaded" if python.free_threaded else "with a GIL"
    before, after = ("on" if on else "off" for on in (python.gil_before, python.gil_after))
    rows = [
        ("application", f"{report.app} ({report.interface.upper()})"),
        ("Python", f"{python.version}, {build}"),
        ("GIL", f"{before} before the application was imported, {after} afterwards"),
        ("runtime", f"{report.runtime} on {_cores(report.cores)}; {report.reason}"),
        ("--threads", f"{report.threads}; {report.threads_reason}"),
    ]
    if report.lifespan:
        rows.append(("lifespan", _LIFESPANS[report.lifespan]))
    if report.prepare is not None:
        rows.append(("--prepare", _prepared(report.prepare)))
    for name, text in rows:
        yield from textwrap.wrap(
            text, width, initial_indent=f"{name:13}", subsequent_indent=" " * 13
        )


_LIFESPANS: Final = {
    "started": "started and ended; what it makes was looked at",
    "failed": "does not start here; what it would have made is not known",
    "none": "the application has none",
    "off": "not started, as asked for; what it would have made is not known",
}


def _prepared(prepare: Preparing) -> str:
    done = ", ".join(f"{number} {what}" for what, number in prepare.objects.items())
    words = [f"{','.join(prepare.steps) or 'none'}"]
    if done:
        words.append(f"objects: {done} in {prepare.seconds:.2f} s")
    return "; ".join([*words, *(f"not {reason}" for reason in prepare.left)])


def _extensions(report: Report) -> Iterator[str]:
    standard = f"{report.standard_extensions} of the standard library"
    if not report.extensions:
        yield f"Extension modules: none but {standard}"
        return
    yield f"Extension modules, besides {standard}"
    yield from _columns(
        [
            ("module", "distribution", "classifier", "GIL"),
            *(
                (
                    each.module,
                    f"{each.distribution} {each.version}".strip() or "-",
                    "yes" if each.classifier else "no",
                    each.gil,
                )
                for each in report.extensions
            ),
        ]
    )


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield ("  " + "  ".join(cells)).rstrip()


def _findings(title: str, findings: Sequence[Finding], width: int) -> Iterator[str]:
    """Those of one kind together, with what there is to say of them below."""
    if not findings:
        return
    yield title
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.area, finding.why), []).append(finding)
    for (_, why), members in groups.items():
        yield from _columns([(member.where, member.what) for member in members])
        yield from _wrapped(why, width, 6)
    if any(finding.area == "cache" for finding in findings):
        yield from _wrapped(_SCANNED, width, 2)
    yield ""


_SCANNED: Final = (
    "Containers and counters are found by a simple scan of the source. It does not see locks that "
    "are taken elsewhere."
)


def _wrapped(text: str, width: int, indent: int) -> list[str]:
    """Lines of text; what was found is left in one piece, even if it is longer than a line."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _cores(count: int) -> str:
    return f"{count} core{'s' * (count != 1)}"


def _verdict(report: Report) -> str:
    if report.is_ready(strict=True):
        return "Nothing found that stands between this application and free threading."
    if report.is_ready():
        return "No problem found."
    count = sum(finding.problem for finding in report.findings)
    return f"{count} problem{'s' * (count > 1)} found."
