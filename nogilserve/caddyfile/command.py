"""`nogilserve import-caddyfile Caddyfile [-o nogilserve.toml]`."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nogilserve.caddyfile.sites import translate
from nogilserve.caddyfile.tree import read
from nogilserve.config import resolve
from nogilserve.errors import ConfigError

__all__ = ["INCOMPLETE", "main"]

INCOMPLETE = 4
"""Exit status: something in the Caddyfile could not be translated."""


def main(argv: Sequence[str], directory: Path, environ: Mapping[str, str]) -> int:
    """Translate a Caddyfile; the exit status. Raises ConfigError."""
    arguments = _parser().parse_args(argv)
    source = directory / arguments.caddyfile
    if source.is_dir():
        source /= "Caddyfile"
    try:
        result = translate(read(source, environ))
    except ConfigError as error:
        where = f"{source.name} " if str(error).startswith("line ") else ""
        raise ConfigError(f"{where}{error}") from None
    document = result.document(source.name)
    target = arguments.output
    if target == "-":
        sys.stdout.write(document)
    else:
        path = directory / target
        if path.exists() and not arguments.force:
            raise ConfigError(f"{target} exists already; -f overwrites it")
        path.write_text(document, encoding="utf-8")
    notes = sorted(result.notes, key=lambda note: note.line)
    for note in notes:
        print(f"{source.name} {note}", file=sys.stderr)
    lost = sum(note.lost for note in notes)
    if target != "-":
        more = f", {lost} not translated" if lost else ""
        print(f"Wrote {target}: {_count(result.sites)}{more}.", file=sys.stderr)
        _say_how(target, document, directory)
    return INCOMPLETE if lost else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nogilserve import-caddyfile",
        description="Translate a Caddyfile with Caddy Snake's python directive. What cannot be "
        f"translated is named with its line, and the exit status is {INCOMPLETE} then.",
        allow_abbrev=False,
    )
    parser.add_argument("caddyfile", metavar="CADDYFILE", nargs="?", default="Caddyfile")
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="nogilserve.toml", help='"-": standard output'
    )
    parser.add_argument("-f", "--force", action="store_true", help="overwrite FILE")
    return parser


def _count(sites: Sequence[object]) -> str:
    number = len(sites)
    return f"{number} site{'s' * (number != 1)}" if number else "one application"


def _say_how(target: str, document: str, directory: Path) -> None:
    """How to start it; what is still wrong with it, such as directories that are not there."""
    given = ["--config", target]
    plain = target == "nogilserve.toml" and "\nworking-dir = " not in document
    try:
        resolve(given, {}, directory)
    except ConfigError as error:
        print(f"It cannot be used yet: {error}", file=sys.stderr)
    print("Start it with: nogilserve" + ("" if plain else f" --config {target}"), file=sys.stderr)
