"""Inputs that fuzzing has found: `tests/corpus/fuzz/TARGET.txt`, a line of Python bytes each, after
a comment that says why."""

import ast
from pathlib import Path
from typing import Final

__all__ = ["add", "kept"]

_FOLDER: Final = Path(__file__).resolve().parents[1] / "corpus" / "fuzz"


def kept(name: str) -> list[bytes]:
    """Those of a target."""
    path = _FOLDER / f"{name}.txt"
    if not path.exists():
        return []
    lines = path.read_text("utf-8").splitlines()
    return [ast.literal_eval(line) for line in lines if line and not line.startswith("#")]


def add(name: str, data: bytes, why: str) -> None:
    """Keep one more, unless it is there."""
    if data in kept(name):
        return
    _FOLDER.mkdir(exist_ok=True)
    with open(_FOLDER / f"{name}.txt", "a", encoding="utf-8") as file:
        file.write(f"# {why}\n{data!r}\n")
