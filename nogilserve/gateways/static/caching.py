"""How long what is served may be kept: Cache-Control by file name (RFC 9111 §5.2, RFC 8246)."""

import re
from collections.abc import Iterable
from fnmatch import translate
from typing import Final

__all__ = ["IMMUTABLE", "CacheRules"]

IMMUTABLE: Final = "public, max-age=31536000, immutable"
"""For what never changes under its name (RFC 8246 §2)."""

# Hexadecimal, of a length that build tools use, and with a letter and a digit in it: 20260101 is a
# date, and taking that for a hash would keep an old file in browsers for a year.
_HASH: Final = re.compile(
    r"[._-](?=[0-9a-f]*[0-9])(?=[0-9]*[a-f])"
    r"(?:[0-9a-f]{8}|[0-9a-f]{10}|[0-9a-f]{12}|[0-9a-f]{16}|[0-9a-f]{20}|[0-9a-f]{32}|"
    r"[0-9a-f]{40}|[0-9a-f]{64})\.[^/]+"
)
_PAGE: Final = re.compile(r"\.x?html?$", re.IGNORECASE)


class CacheRules:
    """Immutable; any thread."""

    def __init__(self, ordinary: str, immutable: Iterable[str] = ()) -> None:
        """`ordinary`: Cache-Control for everything, "" for none; `immutable`: patterns of paths
        below the route whose content never changes. A pattern without a slash is about the last
        segment alone."""
        self._ordinary = ordinary
        self._paths = [re.compile(translate(glob.lstrip("/"))) for glob in immutable if "/" in glob]
        self._names = [re.compile(translate(glob)) for glob in immutable if "/" not in glob]

    def value(self, path: str) -> str:
        """Cache-Control for the file at `path` below the route; "" for none."""
        name = path[path.rfind("/") + 1 :]
        for pattern in self._paths:
            if pattern.match(path):
                return IMMUTABLE
        for pattern in self._names:
            if pattern.match(name):
                return IMMUTABLE
        # A page is what names the hashes of others: somebody has to be looked up anew.
        if _HASH.search(name) and not _PAGE.search(name):
            return IMMUTABLE
        return self._ordinary
