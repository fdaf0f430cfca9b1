"""`python -m tests.fuzz`: look for inputs that break a rule, and turn them into corpus files."""

import argparse
import random
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Final

from tests.fuzz.guided import Coverage, Fuzzer
from tests.fuzz.kept import add, kept
from tests.fuzz.targets import TARGETS, seeds

ROOT: Final = Path(__file__).resolve().parents[2]
FINDINGS: Final = ROOT / "build" / "fuzz"


def say(text: str) -> None:
    """A line of progress."""
    print(text, flush=True)


def broken(name: str, data: bytes) -> str:
    """What an input breaks, "" for nothing."""
    try:
        TARGETS[name](data)
    except Exception:
        return traceback.format_exc()
    return ""


def shorten(name: str, data: bytes) -> bytes:
    """The same finding with fewer bytes."""
    size = max(len(data) // 2, 1)
    while size:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + size :]
            if broken(name, shorter):
                data = shorter
            else:
                at += size
        size //= 2
    return data


def report(name: str, data: bytes) -> None:
    """Say what was found, and leave it in a file for `--add`."""
    data = shorten(name, data)
    FINDINGS.mkdir(parents=True, exist_ok=True)
    path = FINDINGS / f"{name}.found"
    path.write_bytes(data)
    say(f"{name}: {data!r}\n{broken(name, data)}")
    say(f'keep it: python -m tests.fuzz --target {name} --add {path} --why "…"')


def guided(name: str, seconds: float, seed: str, keep: bool) -> bool:
    """The fuzzer of our own. False: something was found."""
    fuzzer = Fuzzer(TARGETS[name], [*seeds(name), *kept(name)], f"{seed} {name}")
    found = fuzzer.run(seconds)
    say(f"{name}: {fuzzer.runs} inputs, {len(fuzzer.kept)} reached further")
    if found is not None:
        report(name, found)
        return False
    if keep:
        for data in fewest(name, fuzzer.kept):
            add(name, data, "reaches further")
    return True


def fewest(name: str, candidates: list[bytes]) -> list[bytes]:
    """Those of the inputs that together reach all that the corpus does not."""
    chosen: list[bytes] = []
    with Coverage() as coverage:
        for data in [*seeds(name), *kept(name)]:
            TARGETS[name](data)
        for data in sorted(candidates, key=len):
            before = len(coverage.reached)
            TARGETS[name](data)
            if len(coverage.reached) > before:
                chosen.append(data)
    return chosen


def with_atheris(name: str, seconds: float, seed: str) -> bool:
    """libFuzzer, where atheris is installed. False: something was found."""
    number = random.Random(seed).randrange(1 << 30)
    options = [name, f"{seconds:.0f}", f"{number}", str(FINDINGS)]
    FINDINGS.mkdir(parents=True, exist_ok=True)
    process = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.libfuzzer", *options],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    if process.returncode:
        say(f"{name}:\n{process.stderr[-3000:]}")
        for path in FINDINGS.glob(f"{name}.*-*"):
            report(name, path.read_bytes())
        return False
    lines = [line for line in process.stderr.splitlines() if line.startswith(("#", "Done"))]
    say(f"{name}: {' '.join(lines[-1:])}")
    return True


def main() -> int:
    """Every target in turn; exit status 1 with a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", choices=TARGETS, action="append", help="default: all")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target")
    parser.add_argument("--seed", default=f"{random.randrange(10**6)}")
    parser.add_argument("--engine", choices=("guided", "atheris"), default="guided")
    parser.add_argument("--keep", action="store_true", help="add inputs that reach further")
    parser.add_argument("--add", type=Path, help="keep the input in this file; one --target")
    parser.add_argument("--why", default="", help="with --add: what it is about")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    if options.add is not None:
        if len(names) != 1 or not options.why:
            parser.error("--add wants one --target, and --why")
        add(names[0], options.add.read_bytes(), options.why)
        return 0
    say(f"seed {options.seed}")
    if options.engine == "atheris":
        fine = [with_atheris(name, options.seconds, options.seed) for name in names]
    else:
        fine = [guided(name, options.seconds, options.seed, options.keep) for name in names]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    raise SystemExit(main())
