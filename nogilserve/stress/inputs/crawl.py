"""Requests found by following an application's own links and filling in its GET forms."""

import re
from collections import Counter, deque
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Final
from urllib.parse import quote, urldefrag, urlencode, urljoin, urlsplit

from nogilserve.stress.answers import Answer
from nogilserve.stress.asks import Ask

__all__ = ["crawl"]

_ALIKE: Final = 3
"""Pages whose addresses differ only in numbers and in the values of their query."""
_SAFE: Final = "/%:@!$&'()*+,;=~?[]"


def crawl(send: Callable[[Ask], Answer], start: str, most: int, hosts: frozenset[str]) -> list[Ask]:
    """Pages from `start` (a path) on, breadth first, at most so many; `hosts` are names that links
    to the application itself may have. Pages that do not exist (404) are left out, but for the
    first."""
    found: list[Ask] = []
    known = {start}
    alike: Counter[str] = Counter()
    waiting = deque([(start, "where the crawl begins")])
    while waiting and len(found) < most:
        target, origin = waiting.popleft()
        ask = Ask("GET", target, origin=origin)
        answer = send(ask)
        if answer.problem or (answer.status == 404 and found):
            continue
        found.append(ask)
        for link in _links(answer, target, hosts):
            pattern = re.sub(r"\d+|=[^&]*", "#", link)
            if link not in known and alike[pattern] < _ALIKE:
                known.add(link)
                alike[pattern] += 1
                waiting.append((link, f"linked by {target}"))
    return found


def _links(answer: Answer, target: str, hosts: frozenset[str]) -> Iterator[str]:
    """The paths of the same application that an answer names."""
    raw: list[str] = []
    if answer.header("location"):
        raw.append(answer.header("location"))
    if answer.header("content-type").startswith(("text/html", "application/xhtml")):
        page = _Page()
        page.feed(answer.text)
        raw += page.links
    for link in raw:
        try:
            parts = urlsplit(urldefrag(urljoin(f"http://-{target}", link.strip()))[0])
            host = parts.hostname or ""
        except ValueError:
            continue
        if parts.scheme in ("http", "https") and (host == "-" or host in hosts):
            query = f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
            yield (quote(parts.path, safe=_SAFE) or "/") + query


class _Page(HTMLParser):
    """Links and GET forms of a page. Owner: the driving process's thread."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self._form: tuple[str, list[tuple[str, str]]] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what leads on."""
        values = {name: value or "" for name, value in attrs}
        if tag in ("a", "area", "iframe", "frame"):
            link = values.get("src" if "frame" in tag else "href", "")
            if link and "download" not in values:
                self.links.append(link)
        elif tag == "form":
            is_get = values.get("method", "get").lower() == "get"
            self._form = (values.get("action", ""), []) if is_get else None
        elif self._form is not None and values.get("name"):
            self._field(tag, values, self._form[1])

    def _field(self, tag: str, values: dict[str, str], fields: list[tuple[str, str]]) -> None:
        kind = values.get("type", "text").lower()
        if tag == "input" and kind not in ("submit", "reset", "button", "image", "file"):
            if kind in ("checkbox", "radio") and "checked" not in values:
                return
            fields.append((values["name"], values.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        """A form is complete: what sending it as it is would ask for."""
        if tag == "form" and self._form is not None:
            action, fields = self._form
            self.links.append(f"{action.partition('?')[0]}?{urlencode(fields)}")
            self._form = None
