"""What may be wrong with a file of requests, told with its line."""

import json
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from nogilserve.errors import ConfigError
from nogilserve.stress.asks import Ask

__all__ = ["checked", "load_json", "read_text", "target_of"]

_METHOD: Final = re.compile(r"[A-Z][A-Z-]{1,19}")
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_OURS: Final = frozenset(
    (
        *("connection", "content-length", "expect", "keep-alive", "proxy-connection", "te"),
        *("trailer", "transfer-encoding", "upgrade", "accept-encoding"),
    )
)
"""Fields that belong to the connection a request was recorded on."""


def read_text(path: str, option: str) -> str:
    """The text of a file. Raises ConfigError."""
    try:
        return Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{option} {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{option} {path}: it is no UTF-8 text, byte {error.start}") from None


def load_json(text: str, place: str) -> Any:
    """The value of a JSON text. Raises ConfigError with the line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{place}:{error.lineno}: this is no JSON: {error.msg} (column {error.colno})"
        ) from None
    except RecursionError:
        raise ConfigError(f"{place}: this JSON is nested too deeply") from None


def target_of(url: str, place: str) -> tuple[str, str]:
    """Path with query, and host, of a URL or a path. Raises ConfigError."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"{place}: {url!r} is no URL: {error}") from None
    if parts.scheme not in ("", "http", "https") or not (parts.netloc or url.startswith("/")):
        raise ConfigError(f'{place}: {url!r} should be a path ("/items?page=2") or an http:// URL')
    if parts.netloc == "" and url.startswith("//"):
        raise ConfigError(f"{place}: {url!r} has no host")
    path = parts.path or "/"
    return path + (f"?{parts.query}" if parts.query else ""), parts.netloc


def checked(ask: Ask, place: str) -> Ask:
    """The request without fields of the connection. Raises ConfigError if it cannot be sent."""
    if not _METHOD.fullmatch(ask.method):
        raise ConfigError(f"{place}: {ask.method!r} is no method, such as GET")
    bad = next((char for char in ask.target if not "!" <= char <= "~"), "")
    if bad:
        raise ConfigError(
            f"{place}: {ask.target!r}: {bad!r} must be percent-encoded (%{ord(bad):02X} …)"
        )
    kept = []
    for name, value in ask.headers:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{place}: {name!r} is no name of a header field")
        if any(ord(char) < 32 and char != "\t" for char in value):
            raise ConfigError(f"{place}: the value of {name} has a control character")
        if name.lower() not in _OURS:
            kept.append((name, value))
    return Ask(ask.method, ask.target, tuple(kept), ask.body, ask.origin)
