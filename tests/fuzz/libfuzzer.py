"""libFuzzer by way of atheris, in a process of its own, which libFuzzer ends:
`python -m tests.fuzz.libfuzzer TARGET SECONDS SEED FOLDER`, by `python -m tests.fuzz`.

atheris has wheels for builds with the GIL only. What it is to follow has to be imported by it.
"""

import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

with atheris.instrument_imports(include=["nogilserve.protocols"]):
    from tests.fuzz.targets import TARGETS, seeds

from tests.fuzz.kept import kept


def main() -> None:
    """Fuzz one target; what is found lies in the folder then, as TARGET.crash-…"""
    name, seconds, seed, folder = sys.argv[1:]
    found = Path(folder) / f"{name}.inputs"
    found.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate([*seeds(name), *kept(name)]):
        (found / f"seed-{number}").write_bytes(data)
    options = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-artifact_prefix={folder}/{name}.",
        "-max_len=2048",
        str(found),
    ]
    atheris.Setup(options, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
