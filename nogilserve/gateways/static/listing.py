"""The page that shows what is in a folder."""

import html
import os
import stat
import unicodedata
from dataclasses import dataclass
from time import gmtime, strftime
from typing import Final
from urllib.parse import quote_from_bytes, unquote

from nogilserve.gateways.static.lookup import Folder, Located

__all__ = ["FIELDS", "Entry", "entries_of", "listing"]

FIELDS: Final = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-cache"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
]

_MOST: Final = 5000
"""Entries on a page; a folder with more is no page to look at."""

_STYLE: Final = """\
:root{color-scheme:light dark;--line:#8884;--soft:#8889;--link:#0b5cad}
@media(prefers-color-scheme:dark){:root{--link:#7db8f5}}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2.5rem auto;padding:0 1.25rem}
h1{font-size:1.35rem;font-weight:600;overflow-wrap:anywhere}
h1 span{color:var(--soft);font-weight:400}
a{color:var(--link);text-decoration:none}a:hover,a:focus{text-decoration:underline}
table{border-collapse:collapse;width:100%}
th{font-size:.8rem;font-weight:500;opacity:.65}
th,td{text-align:left;padding:.45rem .6rem;border-bottom:1px solid var(--line)}
td:first-child{overflow-wrap:anywhere}
.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums;opacity:.75}
tr:hover td{background:#8881}p{opacity:.65}
@media(max-width:34rem){.d{display:none}}"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the page. Immutable."""

    name: str
    folder: bool
    size: int
    modified: float


def entries_of(folder: Folder, located: Located) -> tuple[list[Entry], int]:
    """What would be served of a folder's content, folders first, and how much was left out.

    Raises OSError.
    """
    entries: list[Entry] = []
    left_out = 0
    with os.scandir(located.path) as found:
        for item in found:
            if item.name.startswith("."):
                continue
            if len(entries) >= _MOST:
                left_out += 1
                continue
            entry = _entry(folder, item)
            if entry is not None:
                entries.append(entry)
    entries.sort(key=lambda entry: (not entry.folder, entry.name.casefold(), entry.name))
    return entries, left_out


def _entry(folder: Folder, item: "os.DirEntry[str]") -> Entry | None:
    try:
        if item.is_symlink() and not folder.contains(os.path.realpath(item.path)):
            return None
        status = item.stat()
    except OSError:
        return None  # gone meanwhile, or a link to nowhere
    is_folder = stat.S_ISDIR(status.st_mode)
    if not (is_folder or stat.S_ISREG(status.st_mode)):
        return None
    return Entry(item.name, is_folder, status.st_size, status.st_mtime)


def listing(path: str, entries: list[Entry], left_out: int, *, top: bool) -> bytes:
    """The page. `path`: of the folder, as the client wrote it, with its slash; `top`: there is
    nothing above it to go to."""
    shown = _visible(unquote(path))
    rows = [] if top else [_row("..", "../", "", "")]
    for entry in entries:
        slash = "/" if entry.folder else ""
        # "./" so that a colon in the name does not make a scheme of it (RFC 3986 §4.2).
        link = "./" + quote_from_bytes(os.fsencode(entry.name), safe="!$'()*+,-.:;=@_~") + slash
        name = os.fsencode(entry.name).decode("utf-8", "replace") + slash
        when = strftime("%Y-%m-%d %H:%M", gmtime(entry.modified))
        rows.append(_row(_visible(name), link, "" if entry.folder else _size(entry.size), when))
    count = len(entries)
    words = f"{count} entries" if count != 1 else "1 entry"
    if left_out:
        words += f"; {left_out} more are not shown"
    text = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{html.escape(shown)}</title>\n<style>\n{_STYLE}\n</style>\n"
        f"<h1><span>Index of</span> <bdi>{html.escape(shown)}</bdi></h1>\n"
        '<table>\n<thead><tr><th>Name<th class="n">Size<th class="n d">Modified (UTC)</thead>\n'
        f"<tbody>\n{''.join(rows)}</tbody>\n</table>\n<p>{words}</p>\n</html>\n"
    )
    return text.encode()


def _row(name: str, link: str, size: str, when: str) -> str:
    return (
        f'<tr><td><a href="{html.escape(link)}"><bdi>{html.escape(name)}</bdi></a>'
        f'<td class="n">{size}<td class="n d">{when}\n'
    )


def _visible(text: str) -> str:
    """Without what could not be seen, or would make one name look like another."""
    return "".join("\ufffd" if unicodedata.category(char)[0] == "C" else char for char in text)


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{count} B" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB" if size < 1000 else f"{size:,.0f} TB"
