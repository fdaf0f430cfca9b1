"""A request to replay, and where it comes from."""

from dataclasses import dataclass, replace
from typing import Final

__all__ = ["MARKER", "Ask"]

MARKER: Final = "{marker}"
"""What stands in a request for the text that tells it from all others; each sending has its own."""

_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Ask:
    """Immutable."""

    method: str
    target: str
    """Path and query, percent-encoded."""
    headers: tuple[tuple[str, str], ...] = ()
    """Without Host, Content-Length and the like."""
    body: bytes = b""
    origin: str = ""
    """ "requests.http:3", "OpenAPI", "a link on /", …"""

    def same_as(self, other: "Ask") -> bool:
        """Whether another one asks the same, wherever it comes from."""
        return replace(self, origin="") == replace(other, origin="")

    @property
    def label(self) -> str:
        """For people."""
        target = self.target
        if len(target) > _SHOWN:
            target = target[: _SHOWN - 1] + "…"
        return f"{self.method} {target}"

    @property
    def carries_marker(self) -> bool:
        """Whether there is a place for a marker."""
        return (
            MARKER in self.target
            or MARKER.encode() in self.body
            or any(MARKER in value for _, value in self.headers)
        )

    def marked(self, marker: str) -> "Ask":
        """With the marker in its places."""
        if not self.carries_marker:
            return self
        return replace(
            self,
            target=self.target.replace(MARKER, marker),
            headers=tuple((name, value.replace(MARKER, marker)) for name, value in self.headers),
            body=self.body.replace(MARKER.encode(), marker.encode()),
        )

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            "method": self.method,
            "target": self.target,
            "headers": [list(pair) for pair in self.headers],
            "body": self.body.decode("utf-8", "backslashreplace"),
            "origin": self.origin,
        }

    def as_http(self) -> str:
        """As an entry of a .http file."""
        lines = [f"{self.method} {self.target}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body:
            lines += ["", self.body.decode("utf-8", "backslashreplace")]
        return "\n".join(lines)
