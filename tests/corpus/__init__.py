"""Wire inputs as data: what a server is sent, what it must make of it, and why.

Each folder holds TOML files, one for each class of input. A case:

    [[case]]
    name = "content-length-plus"        unique in its folder
    why = "RFC 9110 §8.6 …"              the rule, and the advisory where somebody got it wrong
    send = ["POST / HTTP/1.1\\r\\n", …]    joined; each character is one byte (\\u0000 to \\u00ff)
    eof = true                          the client then closes its sending side (default: not)
    requests = [{ method = "GET", target = "/" }]      what is accepted, in order (default: none)
    status = 400                        the error that ends the connection (default: none)

A piece of `send` may be `{ text = "a", times = 9000 }`. A request may also have `body` (default
""), `authority`, `path`, `query`, and `headers` and `trailers` as lists of pairs: those are
compared only where they are given.
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Case", "Expected", "load"]

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Expected:
    """A request that must be accepted. None: not compared."""

    method: str
    target: str
    body: bytes = b""
    authority: str | None = None
    path: str | None = None
    query: str | None = None
    headers: list[tuple[str, str]] | None = None
    trailers: list[tuple[str, str]] | None = None


@dataclass(frozen=True)
class Case:
    """One input."""

    name: str
    why: str
    sent: bytes
    eof: bool = False
    requests: list[Expected] = field(default_factory=list)
    status: int | None = None
    """Of the error that ends the connection; None: the input ends without one."""


def load(folder: str) -> list[Case]:
    """All cases of a folder, in the order of their files' names."""
    cases = [
        _case(table) for path in sorted((_HERE / folder).glob("*.toml")) for table in _read(path)
    ]
    names = [case.name for case in cases]
    if len(names) != len(set(names)):
        raise ValueError(
            f"case names used twice: {sorted({n for n in names if names.count(n) > 1})}"
        )
    return cases


def _read(path: Path) -> list[dict[str, Any]]:
    document = tomllib.loads(path.read_text("utf-8"))
    cases: list[dict[str, Any]] = document.pop("case")
    if document:
        raise ValueError(f"{path.name}: unknown keys {sorted(document)}")
    return cases


def _case(table: dict[str, Any]) -> Case:
    pieces = [
        piece if isinstance(piece, str) else piece["text"] * piece["times"]
        for piece in table.pop("send")
    ]
    requests = [_expected(request) for request in table.pop("requests", [])]
    return Case(sent="".join(pieces).encode("latin-1"), requests=requests, **table)


def _expected(table: dict[str, Any]) -> Expected:
    for key in ("headers", "trailers"):
        if key in table:
            table[key] = [(name, value) for name, value in table[key]]
    return Expected(**table | {"body": table.get("body", "").encode("latin-1")})
