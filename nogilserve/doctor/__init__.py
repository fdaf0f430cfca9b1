"""`nogilserve doctor APP`: what stands between an application and free threading.

`children` imports the application in a child process, where `probe` writes down what happens, and
`living` starts, prepares and ends it;
`scan` reads the sources; `report` judges; `table` prints. The tables of what is known are
`threadbound` and `packages`.
"""

import argparse
import json
import os
import platform
import sys
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nogilserve.config import Config, all_sites, require_app, resolve
from nogilserve.doctor.children import examine, free_threaded_python
from nogilserve.doctor.report import Report, report_of
from nogilserve.doctor.scan import scan
from nogilserve.doctor.table import table
from nogilserve.errors import ConfigError

__all__ = ["main"]


def main(argv: Sequence[str], directory: Path) -> int:
    """Run `nogilserve doctor …`; `argv` is what stands behind "doctor", `directory` the current.

    Returns 0 if no problem was found, else 1. Raises ConfigError and AppImportError.
    """
    own, options = _parser().parse_known_args(argv)
    resolved = resolve(options, os.environ, directory)
    require_app(resolved)
    config = resolved.config
    if not config.app:
        names = dict.fromkeys(site.app for site in all_sites(config) if site.app)
        raise ConfigError(
            "nogilserve doctor looks at one application; name it: "
            + ", ".join(f"nogilserve doctor {name}" for name in names)
        )
    if config.chdir:
        os.chdir(config.chdir)
    request = {
        "spec": config.app,
        "factory": config.factory,
        "app_dir": config.app_dir,
        "interface": config.interface,
        "loop_bound": config.loop_bound,
        "lifespan": config.lifespan,
        "lifespan_scope": config.lifespan_scope,
        "prepare": config.prepare,
    }
    facts = examine(request, resolved.environment, own.import_timeout)
    report = _judged(facts, config)
    if own.json:
        print(json.dumps(report.plain(), indent=2))
    else:
        print(table(report), end="")
    return 0 if report.is_ready(strict=own.strict) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nogilserve doctor",
        usage="nogilserve doctor APP [--json] [--strict] [options as for serving]",
        description="Say what stands between an application and free threading. Imports it in a "
        "child process, and starts and ends its lifespan unless --lifespan off; exits with 1 if "
        "there is a problem.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="write JSON, for programs")
    parser.add_argument(
        "--strict", action="store_true", help="exit with 1 for anything found, problem or not"
    )
    parser.add_argument(
        "--import-timeout",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="how long importing the application may take, and its lifespan once more "
        "(default: %(default)g)",
    )
    return parser


def _judged(facts: dict[str, Any], config: Config) -> Report:
    """The report on what the child found, and on the sources of the application's modules."""
    facts |= {
        "version": platform.python_version(),
        "forced": getattr(sys.flags, "gil", None),
        "other": "" if facts["free_threaded"] else free_threaded_python(),
        "cores": min(config.workers, config.threads),
        "threads": Config().threads,
    }
    written = [
        (module, _shown(file), found)
        for module, file in facts["sources"]
        if file.endswith(".py")
        for found in scan(_read(file))
    ]
    return report_of(facts, written)


def _read(file: str) -> str:
    try:
        with tokenize.open(file) as source:
            return source.read()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return ""


def _shown(file: str) -> str:
    """The path as a person would type it here."""
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
