"""Requests in a file: the .http format that editors know, or JSON lines."""

import json
import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, Final

from nogilserve.errors import ConfigError
from nogilserve.stress.asks import MARKER, Ask
from nogilserve.stress.inputs.faults import checked, load_json, read_text, target_of

__all__ = ["read_list"]

_REQUEST: Final = re.compile(r"(?:([A-Za-z-]+)[ \t]+)?(\S+)(?:[ \t]+HTTP/\d(?:\.\d)?)?")
_VARIABLE: Final = re.compile(r"@([\w.-]+)\s*=\s*(.*)")
_KEYS: Final = frozenset(("method", "path", "url", "headers", "body", "json", "form"))


def read_list(path: str) -> list[Ask]:
    """The requests of a file, by its ending: .http and .rest, or .jsonl, .ndjson and .json.
    Raises ConfigError, with the line."""
    text = read_text(path, "--requests")
    ending = PurePath(path).suffix.lower()
    if ending in (".http", ".rest"):
        asks = list(_of_http(text, path))
    elif ending in (".jsonl", ".ndjson", ".json"):
        asks = list(_of_json(text, path))
    else:
        raise ConfigError(
            f"--requests {path}: its name should end in .http or .jsonl, to tell the format"
        )
    if not asks:
        raise ConfigError(f"--requests {path}: there is no request in it")
    return asks


def _of_http(text: str, path: str) -> Iterator[Ask]:
    """Entries separated by lines that begin with ###: comments, a request line, fields, an empty
    line, the body. `@name = value` defines what {{name}} stands for; {{marker}} is a text that
    each sending has for itself."""
    variables = {"marker": MARKER}
    entry: list[tuple[int, str]] = []
    for number, line in enumerate([*text.splitlines(), "###"], 1):
        if line.startswith("###"):
            ask = _entry(entry, variables, path)
            if ask is not None:
                yield ask
            entry = []
        else:
            entry.append((number, line))


def _entry(lines: list[tuple[int, str]], variables: dict[str, str], path: str) -> Ask | None:
    lines = lines[:]
    while lines:
        number, line = lines[0]
        variable = _VARIABLE.fullmatch(line.strip())
        if variable:
            variables[variable[1]] = _filled(variable[2].strip(), variables, f"{path}:{number}")
        elif line.strip() and not line.lstrip().startswith(("#", "//")):
            break
        lines.pop(0)
    if not lines:
        return None
    number, line = lines.pop(0)
    place = f"{path}:{number}"
    # A long query may go on in lines that are indented.
    while lines and lines[0][1][:1] in " \t" and lines[0][1].strip()[:1] in ("?", "&"):
        line += lines.pop(0)[1].strip()
    match = _REQUEST.fullmatch(_filled(line.strip(), variables, place))
    if match is None:
        raise ConfigError(f'{place}: {line.strip()!r} should be like "GET /path"')
    target, host = target_of(match[2], place)
    headers = [("Host", host)] if host else []
    while lines and lines[0][1].strip():
        number, line = lines.pop(0)
        name, colon, value = _filled(line, variables, f"{path}:{number}").partition(":")
        if not colon:
            raise ConfigError(
                f'{path}:{number}: {line.strip()!r} should be like "Name: value"; an empty line '
                "ends the header fields"
            )
        headers.append((name.strip(), value.strip()))
    body = "\n".join(_filled(line, variables, f"{path}:{at}") for at, line in lines[1:]).strip()
    if body.startswith("< "):
        raise ConfigError(f"{place}: bodies from other files are not read; put it into this file")
    method = (match[1] or "GET").upper()
    return checked(Ask(method, target, tuple(headers), body.encode(), place), place)


def _filled(text: str, variables: dict[str, str], place: str) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1].strip()
        if name not in variables:
            raise ConfigError(
                f"{place}: {{{{{name}}}}} is not defined above it by a line @{name} = …"
            )
        return variables[name]

    return re.sub(r"\{\{(.*?)\}\}", value, text)


def _of_json(text: str, path: str) -> Iterator[Ask]:
    """An object in each line, or one list of objects."""
    if text.lstrip().startswith("["):
        for number, value in enumerate(load_json(text, path), 1):
            yield _of_object(value, f"{path}, entry {number}")
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            place = f"{path}:{number}"
            try:
                value = json.loads(line)
            except ValueError as error:
                raise ConfigError(f"{place}: this is no JSON: {error}") from None
            yield _of_object(value, place)


def _of_object(value: Any, place: str) -> Ask:
    """{"method": "POST", "path": "/items", "headers": {}, "json": …}."""
    if not isinstance(value, dict):
        raise ConfigError(f'{place}: an object is wanted, such as {{"path": "/items"}}')
    unknown = sorted(set(value) - _KEYS)
    if unknown:
        raise ConfigError(f"{place}: {unknown[0]!r} is not known; {', '.join(sorted(_KEYS))} are")
    url = value.get("path", value.get("url"))
    if not isinstance(url, str):
        raise ConfigError(f'{place}: "path" is missing, or no text')
    target, host = target_of(url, place)
    fields = value.get("headers", {})
    if not isinstance(fields, dict) or not all(isinstance(each, str) for each in fields.values()):
        raise ConfigError(f'{place}: "headers" should be an object of texts')
    headers = [*([("Host", host)] if host else []), *fields.items()]
    body, kind = _body(value, place)
    if kind and "content-type" not in {name.lower() for name, _ in headers}:
        headers.append(("Content-Type", kind))
    method = value.get("method", "POST" if body else "GET")
    if not isinstance(method, str):
        raise ConfigError(f'{place}: "method" should be a text')
    return checked(Ask(method.upper(), target, tuple(headers), body, place), place)


def _body(value: dict[str, Any], place: str) -> tuple[bytes, str]:
    """Body and content type."""
    given = [name for name in ("body", "json", "form") if name in value]
    if len(given) > 1:
        raise ConfigError(f"{place}: only one of {' and '.join(given)} can be the body")
    if "json" in value:
        return json.dumps(value["json"]).encode(), "application/json"
    if "form" in value:
        from urllib.parse import urlencode

        try:
            return urlencode(value["form"]).encode(), "application/x-www-form-urlencoded"
        except (TypeError, ValueError):
            raise ConfigError(f'{place}: "form" should be an object of texts') from None
    body = value.get("body", "")
    if not isinstance(body, str):
        raise ConfigError(f'{place}: "body" should be a text; "json" takes any value')
    return body.encode(), ""
