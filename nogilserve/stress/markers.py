"""Finds where a request can carry a text of its own that comes back in the answer.

Each value in path, query, header fields, cookies, form or JSON is replaced by a marker once. Where
the status stays the same and the marker is in the answer, a variant of the request with the marker
there is replayed, too: what it is answered must never show another one's marker.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from nogilserve.stress.answers import Answer
from nogilserve.stress.asks import MARKER, Ask

__all__ = ["with_markers"]

_MEANT: Final = re.compile(
    "authorization|host|origin|referer|range|accept.*|cache-.*|content-.*|if-.*|sec-.*|x-forwarded-.*"
)
"""Fields whose values mean something to the server or a framework."""
_MOST: Final = 8
"""Places that are tried in one request."""


def with_markers(ask: Ask, answer: Answer, send: Callable[[Ask], Answer]) -> Ask | None:
    """The request with markers in all places that come back; None if there are none.

    `answer`: what it was answered as it is. `send` sends a request that has places for markers.
    """
    if ask.carries_marker:
        return None
    places = list(_variants(ask))[:_MOST]
    good = [place for place in places if _comes_back(send(place(ask)), answer)]
    if not good:
        return None
    marked = ask
    for place in good:
        marked = place(marked)
    if len(good) > 1 and not _comes_back(send(marked), answer):
        marked = good[0](ask)
    return replace(marked, origin=f"{ask.origin}, with a marker")


def _comes_back(answer: Answer, usual: Answer) -> bool:
    return (
        answer.status == usual.status
        and not answer.problem
        and (
            answer.marker.encode() in answer.body
            or any(
                answer.marker in value for name, value in answer.headers if name != "x-request-id"
            )
        )
    )


def _variants(ask: Ask) -> Iterator[Callable[[Ask], Ask]]:
    """Functions that put a marker in one place each."""
    path, mark, query = ask.target.partition("?")
    if mark:
        for number in range(len(parse_qsl(query, keep_blank_values=True))):
            yield lambda each, number=number: _in_query(each, number)  # type: ignore[misc]
    for number, segment in enumerate(path.split("/")):
        if segment:
            yield lambda each, number=number: _in_path(each, number)  # type: ignore[misc]
    for number, (name, value) in enumerate(ask.headers):
        if name.lower() == "cookie":
            for place in range(value.count(";") + 1):
                yield lambda each, at=number, place=place: _in_cookie(each, at, place)  # type: ignore[misc]
        elif not _MEANT.fullmatch(name.lower()):
            yield lambda each, number=number: _in_field(each, number, MARKER)  # type: ignore[misc]
    kind = next((value for name, value in ask.headers if name.lower() == "content-type"), "")
    if kind.startswith("application/x-www-form-urlencoded"):
        for number in range(len(parse_qsl(ask.body.decode("latin-1"), keep_blank_values=True))):
            yield lambda each, number=number: _in_form(each, number)  # type: ignore[misc]
    elif "json" in kind:
        try:
            value = json.loads(ask.body)
        except ValueError:
            return
        for steps in _texts(value, ()):
            yield lambda each, steps=steps: _in_json(each, steps)  # type: ignore[misc]


def _in_query(ask: Ask, number: int) -> Ask:
    path, _, query = ask.target.partition("?")
    return replace(ask, target=f"{path}?{_pairs(query, number)}")


def _in_form(ask: Ask, number: int) -> Ask:
    return replace(ask, body=_pairs(ask.body.decode("latin-1"), number).encode("latin-1"))


def _pairs(text: str, number: int) -> str:
    pairs = parse_qsl(text, keep_blank_values=True, encoding="latin-1")
    pairs[number] = (pairs[number][0], MARKER)
    return urlencode(pairs, safe="{}", encoding="latin-1")


def _in_path(ask: Ask, number: int) -> Ask:
    path, mark, query = ask.target.partition("?")
    segments = path.split("/")
    segments[number] = MARKER
    return replace(ask, target="/".join(segments) + mark + query)


def _in_field(ask: Ask, number: int, value: str) -> Ask:
    headers = list(ask.headers)
    headers[number] = (headers[number][0], value)
    return replace(ask, headers=tuple(headers))


def _in_cookie(ask: Ask, number: int, place: int) -> Ask:
    pairs = ask.headers[number][1].split(";")
    pairs[place] = f"{pairs[place].partition('=')[0].strip()}={MARKER}"
    return _in_field(ask, number, "; ".join(pair.strip() for pair in pairs))


def _texts(value: Any, steps: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The ways to all texts in a JSON value."""
    if isinstance(value, str):
        yield steps
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(item, (*steps, key))


def _in_json(ask: Ask, steps: tuple[Any, ...]) -> Ask:
    value = json.loads(ask.body)
    if not steps:
        return replace(ask, body=json.dumps(MARKER).encode())
    inner = value
    for step in steps[:-1]:
        inner = inner[step]
    inner[steps[-1]] = MARKER
    return replace(ask, body=json.dumps(value).encode())
