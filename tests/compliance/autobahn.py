"""Autobahn|Testsuite's fuzzing client against a real server: `python -m tests.compliance.autobahn`.

It needs a Python 2.7 (on PATH, pyenv's, or `--python27`), because the suite never left it, and
installs the suite into `build/autobahn/`, where its report goes as well. Without arguments all
cases but 12.* and 13.* (compression) run, in less than a minute; with `--all` it takes 20 minutes.

Exit status 0: every case is OK, NON-STRICT or INFORMATIONAL. 1: not so. 2: it could not be run.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.support.server import ROOT, Server

__all__ = ["main"]

SUITE = "autobahntestsuite==25.10.1"
FOLDER = ROOT / "build" / "autobahn"
APP = "tests.apps.asgi_torture:app"
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
COMPRESSION = ["12.*", "13.*"]
MINUTES = 60
# Installed by `pip --target`, whose .pth files only addsitedir reads.
START = (
    "import site, sys; site.addsitedir(sys.argv.pop(1)); "
    "from autobahntestsuite.wstest import run; run()"
)


class Unavailable(Exception):
    """What is missing to run the suite, in one sentence."""


def find_python27(given: str) -> str:
    """A Python 2.7 that runs. Raises Unavailable."""
    candidates = [given] if given else []
    if not given:
        if found := shutil.which("python2.7"):
            candidates.append(found)
        pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
        candidates += map(str, sorted(pyenv.glob("versions/2.7*/bin/python"), reverse=True))
    question = "import sys, ssl, zlib; sys.stdout.write('%d.%d' % sys.version_info[:2])"
    for candidate in candidates:
        try:
            answer = subprocess.run(
                [candidate, "-c", question], capture_output=True, text=True, timeout=60
            )
        except OSError:
            continue
        if answer.stdout == "2.7":
            return candidate
    where = given or "PATH or in pyenv (`pyenv install 2.7.18`)"
    raise Unavailable(f"no Python 2.7 in {where}; the suite runs on nothing newer")


def install(python: str) -> Path:
    """The folder with the suite, installed there on first use. Raises Unavailable."""
    folder = FOLDER / "suite"
    mark = folder / ".installed"
    if mark.exists() and mark.read_text() == SUITE:
        return folder
    print(f"installing {SUITE} into {folder.relative_to(ROOT)}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    command = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run(
        [*command, "--target", str(folder), SUITE], capture_output=True, text=True, timeout=900
    )
    if done.returncode:
        raise Unavailable(f"pip could not install {SUITE}:\n{done.stderr.strip()[-2000:]}")
    mark.write_text(SUITE)
    return folder


def run_cases(
    python: str, suite: Path, url: str, cases: Sequence[str], exclude: Sequence[str]
) -> dict[str, dict[str, str]]:
    """The suite's verdict on each case: its `behavior` and `behaviorClose`."""
    # Of its own until it is complete, so that several may run at once.
    folder = FOLDER / f"run-{os.getpid()}"
    folder.mkdir(parents=True)
    report = folder / "report"
    specification = folder / "spec.json"
    document = {
        "outdir": str(report),
        "servers": [{"agent": "nogilserve", "url": url}],
        "cases": list(cases),
        "exclude-cases": list(exclude),
        "exclude-agent-cases": {},
    }
    specification.write_text(json.dumps(document))
    command = [python, "-c", START, str(suite), "-m", "fuzzingclient", "-s", str(specification)]
    with (folder / "log").open("wb") as log:
        subprocess.run(
            command, cwd=folder, stdout=log, stderr=log, timeout=MINUTES * 60, check=False
        )
    try:
        verdicts: dict[str, dict[str, str]] = json.loads((report / "index.json").read_text())[
            "nogilserve"
        ]
    except (OSError, KeyError):
        raise Unavailable(
            f"the suite left no report; see {(folder / 'log').relative_to(ROOT)}"
        ) from None
    shutil.rmtree(FOLDER / "report", ignore_errors=True)
    report.rename(FOLDER / "report")
    shutil.rmtree(folder)
    return verdicts


def judge(verdicts: dict[str, dict[str, str]]) -> list[str]:
    """Print how many cases got which verdict; one line for each that is not good."""
    counts = Counter(verdict["behavior"] for verdict in verdicts.values())
    closes = Counter(verdict["behaviorClose"] for verdict in verdicts.values())
    for title, found in (("behaviour", counts), ("closing", closes)):
        parts = ", ".join(f"{count} {name}" for name, count in found.most_common())
        print(f"{len(verdicts)} cases, {title}: {parts}")
    return [
        f"case {case}: {verdict['behavior']}, closing {verdict['behaviorClose']}"
        for case, verdict in sorted(verdicts.items(), key=lambda item: _order(item[0]))
        if not {verdict["behavior"], verdict["behaviorClose"]} <= GOOD
    ]


def _order(case: str) -> list[int]:
    return [int(part) for part in case.split(".")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.compliance.autobahn")
    parser.add_argument("--all", action="store_true", help="the cases 12.* and 13.*, too")
    parser.add_argument("--cases", nargs="+", default=["*"], metavar="PATTERN", help="only these")
    parser.add_argument("--threads", default="4", help="threads and event loops of the server")
    parser.add_argument("--loop", default="auto", help="the event loop, as for the server")
    parser.add_argument("--python27", default="", metavar="PATH", help="the Python 2.7 to use")
    parser.add_argument("--url", default="", help="a server that is running already: ws://…")
    return parser.parse_args()


def main() -> int:
    """Run the suite; the exit status."""
    options = _options()
    named = options.all or options.cases != ["*"]
    exclude = [] if named else COMPRESSION
    try:
        python = find_python27(options.python27)
        FOLDER.mkdir(parents=True, exist_ok=True)
        suite = install(python)
        if options.url:
            verdicts = run_cases(python, suite, options.url, options.cases, exclude)
        else:
            threads = ("--threads", options.threads, "--loops", options.threads)
            with Server(APP, *threads, "--loop", options.loop) as server:
                url = server.url.replace("http://", "ws://", 1) + "/ws/echo"
                verdicts = run_cases(python, suite, url, options.cases, exclude)
            if "Traceback" in server.log:
                print(server.log, file=sys.stderr)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 2
    bad = judge(verdicts)
    print("\n".join(bad) or "none failed")
    return 1 if bad or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
