"""The command `nogilserve stress`: from its arguments to a report and an exit status."""

import json
import os
import sys
from collections.abc import Sequence
from copy import replace
from pathlib import Path
from typing import Final

from nogilserve.config import require_app, resolve
from nogilserve.errors import ConfigError
from nogilserve.stress.arguments import parse
from nogilserve.stress.campaign import Campaign, Result
from nogilserve.stress.gather import gather, read_files
from nogilserve.stress.hook import Hook, read_hook
from nogilserve.stress.process import Launch
from nogilserve.stress.progress import Progress
from nogilserve.stress.report import report
from nogilserve.stress.session import Session

__all__ = ["main"]

_FEW: Final = 2
_INTERRUPTED: Final = 130


def main(argv: Sequence[str], directory: Path) -> int:
    """Run `nogilserve stress …`; `argv` is what stands behind "stress", `directory` the current.

    Returns 0 if nothing was found, else 1; 130 if it was interrupted before. Raises ConfigError and
    AppImportError.
    """
    own, options = parse(argv)
    resolved = resolve(options, os.environ, directory)
    require_app(resolved)
    config = resolved.config
    if config.chdir:
        os.chdir(config.chdir)
    progress = None if own.quiet else Progress()
    threads = max(config.threads, _FEW)
    session = Session(
        Launch(
            replace(config, threads=threads, chdir=""),
            resolved.environment,
            own.watch,
            own.import_timeout,
        ),
        read_hook(own.check) if own.check else Hook(),
        own.seed,
        min(own.together, threads),
        own.deadline,
        own.host_header,
        progress.line if progress else lambda _: None,
    )
    given = read_files(own, session.note)
    if progress:
        progress.phase(f"Starting {config.app}; --seed {own.seed} repeats this run")
    asks = gather(own, given, session)
    result = Campaign(session, own, progress).run(asks)
    if progress:
        progress.clear()
    _write(result, own.json, own.save)
    if result.findings:
        return 1
    return _INTERRUPTED if result.interrupted else 0


def _write(result: Result, json_file: str, http_file: str) -> None:
    if json_file == "-":
        print(json.dumps(result.plain(), indent=2))
    else:
        print(report(result), end="")
    for option, path, text in (
        ("--json", json_file, json.dumps(result.plain(), indent=2) + "\n"),
        ("--save", http_file, _as_http(result)),
    ):
        if path in ("", "-"):
            continue
        try:
            Path(path).write_text(text, "utf-8")
        except OSError as error:
            raise ConfigError(f"{option} {path}: {error.strerror or error}") from None
    sys.stdout.flush()


def _as_http(result: Result) -> str:
    """The requests of the findings, as a .http file."""
    entries = []
    for number, finding in enumerate(result.findings, 1):
        for ask in dict.fromkeys(finding.requests):
            entries.append(f"### {number}. {finding.what}\n{ask.as_http()}\n")
    return "\n".join(entries)
