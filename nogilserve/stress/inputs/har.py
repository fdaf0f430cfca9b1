"""Requests that a browser has recorded: HTTP Archive 1.2."""

import base64
import binascii
from typing import Any
from urllib.parse import urlencode, urlsplit

from nogilserve.errors import ConfigError
from nogilserve.stress.asks import Ask
from nogilserve.stress.inputs.faults import checked, load_json, read_text, target_of

__all__ = ["read_har"]


def read_har(path: str, origin: str = "") -> tuple[list[Ask], int]:
    """The requests to one host of the archive, and how many there are to others.

    `origin`: that host ("localhost:8000"); "": that of the first request. Raises ConfigError.
    """
    data = load_json(read_text(path, "--har"), path)
    entries = data.get("log", {}).get("entries") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise ConfigError(f"--har {path}: it has no log.entries: this is no HTTP Archive")
    asks: list[Ask] = []
    others = 0
    for number, entry in enumerate(entries):
        place = f"{path}, log.entries[{number}]"
        request = entry.get("request") if isinstance(entry, dict) else None
        if not isinstance(request, dict) or not isinstance(request.get("url"), str):
            raise ConfigError(f"{place}: it has no request with a url")
        url = request["url"]
        if not url.startswith(("http://", "https://")):
            others += 1  # data:, ws:, chrome-extension: …
            continue
        origin = origin or urlsplit(url).netloc
        if urlsplit(url).netloc != origin:
            others += 1
            continue
        ask = _ask(request, place)
        if not any(ask.same_as(other) for other in asks):
            asks.append(ask)
    if not asks:
        raise ConfigError(
            f"--har {path}: there is no request to {origin or 'an http:// URL'} in it"
        )
    return asks, others


def _ask(request: dict[str, Any], place: str) -> Ask:
    target, _ = target_of(request["url"], place)
    try:
        headers = tuple(
            (field["name"], field["value"])
            for field in request.get("headers", ())
            # HTTP/2 has pseudo-fields; Host becomes that of --host, as in all requests.
            if not field["name"].startswith(":") and field["name"].lower() != "host"
        )
    except (KeyError, TypeError, AttributeError):
        raise ConfigError(f"{place}: its headers are no list of names and values") from None
    body = _body(request.get("postData"), place)
    return checked(Ask(str(request.get("method", "GET")), target, headers, body, place), place)


def _body(data: Any, place: str) -> bytes:
    if data is None:
        return b""
    if not isinstance(data, dict):
        raise ConfigError(f"{place}: its postData is no object")
    text = data.get("text", "")
    if data.get("encoding") == "base64":
        try:
            return base64.b64decode(text)
        except (binascii.Error, TypeError, ValueError):
            raise ConfigError(f"{place}: its postData is no base64") from None
    if not text and data.get("params"):
        pairs = [(str(each.get("name")), str(each.get("value", ""))) for each in data["params"]]
        return urlencode(pairs).encode()
    return str(text).encode()
