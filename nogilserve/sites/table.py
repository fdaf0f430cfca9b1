"""The routing table: from the host and the path of a request to a row. Pure.

A host is looked up by its name, then by the wildcard over it; what no row names is for the rows
without hosts. Below a host the longest path of whole segments wins, an exact one before all.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

__all__ = ["NO_HOST", "NO_PATH", "Paths", "Place", "Router", "host_of"]

NO_HOST: Final = -1
"""No row is for this host."""
NO_PATH: Final = -2
"""Rows are for this host, but none for this path."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row answers. Immutable."""

    index: int
    """Which row."""
    hosts: tuple[str, ...] = ()
    """Names in lower case without ports; "*.example.com" for any one label more; () for hosts that
    nobody names."""
    path: str = "/"
    """Decoded, "/" or without a slash at the end."""
    exact: bool = False
    """Whether what is below the path is not meant."""


class Paths:
    """The rows of one host, by path. Immutable once filled; any thread."""

    __slots__ = ("_below", "_deepest", "_exact")

    def __init__(self) -> None:
        self._exact: dict[str, int] = {}
        self._below: dict[str, int] = {}
        self._deepest = 0
        """Segments of the longest path: more of a request's need not be looked at."""

    def add(self, path: str, index: int, *, exact: bool) -> None:
        """A row; of two for the same path the first counts."""
        wire = path.encode().decode("latin-1")
        if exact:
            self._exact.setdefault(wire, index)
            return
        self._below.setdefault(wire.rstrip("/"), index)
        self._deepest = max(self._deepest, wire.rstrip("/").count("/"))

    def find(self, path: str) -> int:
        """The row for a path as it stands in a request."""
        if "%" in path:
            # As applications see it: /%61pi is /api for them too.
            path = unquote_to_bytes(path).decode("latin-1")
        if self._exact and path in self._exact:
            return self._exact[path]
        below = self._below
        head = path
        if path.count("/") > self._deepest:
            head = "/".join(path.split("/", self._deepest + 1)[:-1])
        while True:
            index = below.get(head)
            if index is not None:
                return index
            if not head:
                return NO_PATH
            head = head.rpartition("/")[0]


class Router:
    """Immutable; any thread."""

    def __init__(self, places: Iterable[Place]) -> None:
        """Of two for the same host and path the first counts."""
        self._hosts: dict[str, Paths] = {}
        self._wild: dict[str, Paths] = {}
        """By what stands behind the star: ".example.com"."""
        others: Paths | None = None
        for place in places:
            for host in place.hosts:
                table, name = (
                    (self._wild, host[1:]) if host.startswith("*") else (self._hosts, host)
                )
                paths = table.setdefault(name, Paths())
                paths.add(place.path, place.index, exact=place.exact)
            if not place.hosts:
                if others is None:
                    others = Paths()
                others.add(place.path, place.index, exact=place.exact)
        self._others = others
        self.by_host: bool = bool(self._hosts or self._wild)
        """Whether the host makes a difference."""

    def paths(self, authority: str) -> Paths | None:
        """The rows for a host, which may have a port; None: there are none."""
        if not self.by_host:
            return self._others
        host = host_of(authority)
        found = self._hosts.get(host)
        if found is None and self._wild:
            dot = host.find(".")
            if dot > 0:
                found = self._wild.get(host[dot:])
        return self._others if found is None else found

    def find(self, authority: str, path: str) -> int:
        """The row for a request: its index, NO_HOST or NO_PATH."""
        paths = self.paths(authority)
        return NO_HOST if paths is None else paths.find(path)


def host_of(authority: str) -> str:
    """The host of an authority: lower case, without a port (RFC 3986 §3.2) and a final dot."""
    if authority.startswith("["):
        return authority.partition("]")[0].lower() + "]"
    return authority.partition(":")[0].lower().removesuffix(".")
