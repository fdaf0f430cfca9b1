"""The report for people."""

import difflib
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from nogilserve.stress.campaign import Result
from nogilserve.stress.findings import Finding, Moment

__all__ = ["report"]

_WIDTH: Final = 100
_CROP: Final = 140
_LINES: Final = 14
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MOMENTS: Final = 12
_FOREIGN: Final = (
    "site-packages",
    "dist-packages",
    f"python{sys.version_info[0]}.{sys.version_info[1]}",
    f"python{sys.version_info[0]}.{sys.version_info[1]}t",
    f"nogilserve{os.sep}stress",
    f"nogilserve{os.sep}gateways",
    f"nogilserve{os.sep}engine",
    f"nogilserve{os.sep}runtimes",
)
"""Folders whose code is not the application's."""
_SHARED: Final = 4


def report(result: Result) -> str:
    """The whole of it, with a line break at the end."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: Result) -> Iterator[str]:
    gil = "GIL on" if result.gil else "GIL off"
    yield f"application  {result.app} ({result.interface.upper()}), {result.how}, {gil}"
    yield f"requests     {len(result.requests)}, learnt one at a time" + (
        f"; of {len(result.loose)} the body varies too much to be compared" if result.loose else ""
    )
    yield (
        f"sent         {result.sent} in {result.bursts} bursts to {result.episodes} processes, "
        f"pauses at {result.places} places"
    )
    yield f"seed         {result.seed}; --seed {result.seed} repeats the run"
    for number, finding in enumerate(result.findings, 1):
        yield ""
        yield from _finding(number, finding)
    if result.notes or result.natural:
        yield ""
        yield "Notes"
        for note in result.notes:
            yield from _wrapped(note, "  ")
        if result.natural:
            differences = f"{result.natural} difference{'s' * (result.natural != 1)}"
            yield from _wrapped(f"{differences} showed up one at a time as well: no race.", "  ")
    yield ""
    if result.interrupted:
        yield "Interrupted before the time was over."
    count = len(result.findings)
    if count:
        yield f"{count} race{'s' * (count != 1)} found."
    else:
        yield "No race found. That is no proof: more --seconds and more requests see more."


def _finding(number: int, finding: Finding) -> Iterator[str]:
    label = f"{finding.ask.label}: " if finding.ask else ""
    yield from _wrapped(f"{number}. {label}{finding.what}", "", "   ")
    if finding.also:
        yield from _wrapped(f"Seen as well: {', '.join(finding.also)}", "   ", "      ")
    yield ""
    yield from _requests(finding)
    if finding.difference is not None and finding.difference.is_answer:
        yield ""
        yield "   alone (-) and now (+)"
        yield from (f"     {line}" for line in _diff(finding))
    for text in finding.failures[:2]:
        yield ""
        yield "   it said"
        yield from (f"     {line}" for line in _shortened(_own_part(text)))
    yield from _shared(finding)
    yield from _moments(finding)
    yield from _stacks(finding)


def _requests(finding: Finding) -> Iterator[str]:
    count = len(finding.requests)
    if finding.shrunk:
        after = "the first burst" if finding.tries == 1 else f"{finding.tries} bursts"
        if finding.cold:
            times = f"{finding.tries} fresh process{'es' * (finding.tries != 1)}"
            yield f"   {count} requests show it, the first of a process (after {times}):"
        else:
            yield f"   {count} requests at the same time show it (after {after}):"
    else:
        how = "among" if finding.kind == "memory" else "seen once, with"
        these = "this request" if count == 1 else f"these {count} requests"
        yield f"   {how} {these} at the same time:"
    for index, ask in enumerate(finding.requests):
        mark = "  <-" if index == finding.index else ""
        yield f"     {_letter(index)}  {ask.label}  ({_shown(ask.origin)}){mark}"


def _diff(finding: Finding) -> list[str]:
    assert finding.difference is not None
    expected = finding.difference.expected.splitlines()
    actual = finding.difference.actual.splitlines()
    lines = []
    for line in difflib.ndiff(expected, actual):
        if line[0] in "+-":
            lines.append(line)
    return _shortened([_cropped(line, lines) for line in lines])


def _cropped(line: str, others: Sequence[str]) -> str:
    """A long line, around the place where it differs from the others."""
    if len(line) <= _CROP:
        return line
    texts = [other[2:] for other in others if other != line]
    same = max((_alike(line[2:], text) for text in texts), default=0)
    start = max(2, same - _CROP // 3)
    end = start + _CROP
    return f"{line[:2]}{'…' * (start > 2)}{line[start:end]}{'…' * (end < len(line))}"


def _alike(one: str, other: str) -> int:
    """How many characters are the same at the beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (mine, its) in pairs if mine != its), min(len(one), len(other)))


def _shortened(lines: list[str]) -> list[str]:
    if len(lines) <= _LINES:
        return lines
    half = _LINES // 2
    return [*lines[:half], f"… {len(lines) - 2 * half} lines …", *lines[-half:]]


def _own_part(text: str) -> list[str]:
    """The lines of a traceback, without the frames of installed packages, the standard library and
    this server."""
    kept: list[str] = []
    foreign = False
    for line in text.splitlines():
        if line.startswith('  File "'):
            foreign = any(f"{os.sep}{name}{os.sep}" in line for name in _FOREIGN)
        elif not line.startswith("    "):
            foreign = False
        if not foreign:
            kept.append(line)
        elif kept[-1:] != ["  …"]:
            kept.append("  …")
    return kept


def _shared(finding: Finding) -> Iterator[str]:
    if not finding.shared:
        return
    yield ""
    yield "   what they share"
    for each in finding.shared[:_SHARED]:
        yield f"     {each.name}"
        for file, line, kind, text in each.places[:6]:
            yield f"       {_shown(file)}:{line}  {kind}  {text[:_CROP]}"


def _moments(finding: Finding) -> Iterator[str]:
    names = {each.name for each in finding.shared[:_SHARED]}
    moments = [moment for moment in finding.moments if moment.name in names]
    if not moments:
        return
    yield ""
    yield "   in this order (milliseconds)"
    if len(moments) > _MOMENTS:
        moments = moments[: _MOMENTS // 2] + moments[-_MOMENTS // 2 :]
    for each in moments:
        yield (
            f"     {each.at:8.3f}  {_letter(each.request)}  {each.does:<6} {each.name}  "
            f"{_shown(each.file)}:{each.line}  {each.thread}"
        )
    yield from _last_stacks(moments)


def _last_stacks(moments: Sequence[Moment]) -> Iterator[str]:
    last = {moment.request: moment for moment in moments if moment.stack}
    if not last:
        return
    yield ""
    yield "   stacks, each where it was last in that list (innermost call last)"
    for request, moment in sorted(last.items()):
        yield f"     {_letter(request)}, {moment.thread}"
        yield from (f"       {_shown(frame)}" for frame in moment.stack[-6:])


def _stacks(finding: Finding) -> Iterator[str]:
    if not finding.stacks:
        return
    yield ""
    yield "   stacks of threads that are not idle, and of tasks"
    for thread, frames in finding.stacks:
        if _is_idle(frames):
            continue
        task, _, index = thread.partition("task of request ")
        yield f"     {thread if task else f'task of {_letter(int(index))}'}"
        lines = [line for frame in frames[-8:] for line in frame.rstrip().splitlines()]
        yield from (f"     {line}" for line in lines)


def _is_idle(frames: Sequence[str]) -> bool:
    """Whether a thread is one of the server's that waits for work."""
    return all("nogilserve" in frame or "threading.py" in frame for frame in frames)


def _letter(index: int) -> str:
    return _LETTERS[index] if 0 <= index < len(_LETTERS) else str(index)


def _shown(text: str) -> str:
    """A path as a person would type it here."""
    here = f"{Path.cwd()}{os.sep}"
    return text.removeprefix(here)


def _wrapped(text: str, indent: str, later: str | None = None) -> list[str]:
    lines = []
    for paragraph in text.splitlines() or [""]:
        lines += textwrap.wrap(
            paragraph,
            _WIDTH,
            initial_indent=indent,
            subsequent_indent=indent if later is None else later,
            break_long_words=False,
        )
    return lines
