"""What came back for a request, and the text in which answers are compared."""

import hashlib
import re
from dataclasses import dataclass
from time import time
from typing import Any, Final

__all__ = ["Answer", "body_text", "head_text"]

_UNIMPORTANT: Final = frozenset(
    ("connection", "content-length", "date", "keep-alive", "server", "transfer-encoding")
)
"""Fields that are the server's, or say again what the body says."""
_LARGE: Final = 200_000
_TEXT: Final = re.compile(r"text/|application/(.*\+)?(json|xml|javascript|x-www-form)|image/svg")


@dataclass(frozen=True, slots=True)
class Answer:
    """Immutable."""

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    """Names in lower case, in order."""
    body: bytes = b""
    problem: str = ""
    """ "hang": nothing or not all came in time; "closed": the connection was cut; "endless"."""
    seconds: float = 0.0
    marker: str = ""
    """That of the request, "" for none."""

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "backslashreplace")

    def header(self, name: str) -> str:
        """The first value of a field, "" if it is not there. The name is in lower case."""
        return next((value for each, value in self.headers if each == name), "")

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "status": self.status,
            "headers": [list(pair) for pair in self.headers],
            "body": self.text[:20_000],
            "problem": self.problem,
        }


def head_text(answer: Answer) -> str:
    """Status and the fields that matter, in a fixed order, to be compared."""
    lines = [f"status {answer.status}{f' ({answer.problem})' if answer.problem else ''}"]
    lines += sorted(
        f"{name}: {value}" for name, value in answer.headers if name not in _UNIMPORTANT
    )
    return _settled("\n".join(lines), answer.marker)


def body_text(answer: Answer) -> str:
    """The body, to be compared; of one that is no text, or very long, only a digest."""
    kind = answer.header("content-type")
    if len(answer.body) > _LARGE or not (_TEXT.match(kind) or not kind):
        digest = hashlib.sha256(answer.body).hexdigest()[:16]
        return f"({len(answer.body)} bytes, SHA-256 {digest}…)"
    return _settled(answer.text, answer.marker)


# What depends on the moment only, by its looks.
_DURATION: Final = re.compile(
    r"(?<![\w.])\d+(?:\.\d+)?(?=\s?(?:ms|µs|us|ns|s|sec|secs|seconds|milliseconds)\b)"
)
_DURATION_KEY: Final = re.compile(
    r'("\w*(?:time|elapsed|duration|seconds|took|latency|_ms|uptime)\w*"\s*:\s*)-?\d+(?:\.\d+)?'
    r"(?:[eE][+-]?\d+)?"
)
_TODAY: Final = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"
    r"|[A-Z][a-z]{2}, \d\d[ -][A-Z][a-z]{2}[ -]\d{2,4} \d\d:\d\d:\d\d GMT"
)
_EPOCH: Final = re.compile(r"(?<![\w.])(\d{10})(\d{3}|\d{6}|\d{9})?(?:\.\d+)?(?![\w.])")


def _settled(text: str, marker: str) -> str:
    """Without the request's own marker, and without what depends on the moment only."""
    if marker:
        text = text.replace(marker, "{marker}")
    text = _TODAY.sub("{time}", text)
    text = _EPOCH.sub(_now_or_not, text)
    text = _DURATION_KEY.sub(r"\1{time}", text)
    return _DURATION.sub("{time}", text)


def _now_or_not(match: re.Match[str]) -> str:
    return "{time}" if abs(int(match[1]) - time()) < 30 * 86400 else match[0]
