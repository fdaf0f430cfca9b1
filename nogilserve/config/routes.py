"""What a value about routes and files may be."""

import re
from typing import Final

from nogilserve.config.kinds import PREFIX_PATH, Kind, seconds

__all__ = ["CACHE_CONTROL", "FIELD_EDIT", "ROUTE", "ROUTED_APP", "ROUTED_FOLDER", "ROUTED_SECONDS"]

# RFC 9110 §5.5, without obs-text: what may stand in a field value.
_FIELD_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?|")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_FRAMING: Final = frozenset(
    {"content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "trailer"}
)
"""Fields that say how a message is framed."""
_LIMIT: Final = seconds(0, 86400)
_OFF: Final = frozenset({"none", "off"})


def _parse_route(value: str) -> str:
    # A slash at the end is habit, and means nothing else.
    return PREFIX_PATH.parse(value.rstrip("/") or "/") or "/"


def _parse_folder(value: str) -> tuple[str, str]:
    route, equals, path = value.partition("=")
    if not (equals and route.startswith("/")):
        route, path = "", value
    if "\0" in path:
        raise ValueError("it contains a NUL character")
    if not path:
        raise ValueError("the directory is missing")
    return (_parse_route(route) if route else ""), path


def _show_folder(value: tuple[str, str]) -> str:
    route, path = value
    return f"{route}={path}" if route else path


def _parse_cache_control(value: str) -> str:
    if value.lower() in _OFF:
        return "none"
    if not _FIELD_VALUE.fullmatch(value) or not value:
        raise ValueError
    return value


def _parse_limit(value: str) -> tuple[str, float]:
    route, equals, seconds = value.rpartition("=")
    if not equals or not route.startswith("/"):
        raise ValueError
    return _parse_route(route), _LIMIT.parse(seconds)


def _show_limit(value: tuple[str, float]) -> str:
    return f"{value[0]}={_LIMIT.show(value[1])}"


def _parse_app(value: str) -> tuple[str, str]:
    route, equals, app = value.partition("=")
    if not equals or not route.startswith("/"):
        raise ValueError
    if not app:
        raise ValueError("the application is missing")
    return _parse_route(route), app


def _show_app(value: tuple[str, str]) -> str:
    return f"{value[0]}={value[1]}"


def _parse_edit(value: str) -> str:
    name, colon, content = value.partition(":")
    content = content.strip(" \t")
    sign, name = (name[0], name[1:]) if name[:1] in {"+", "-", "?"} else ("", name)
    if not _TOKEN.fullmatch(name):
        raise ValueError("a field name is missing")
    if name.lower() in _FRAMING:
        raise ValueError(f"{name} is the server's own")
    if sign == "-":
        if content:
            raise ValueError(f"write -{name}, without a value")
        return f"-{name}"
    if not colon or not _FIELD_VALUE.fullmatch(content):
        raise ValueError
    return f"{sign}{name}: {content}"


ROUTED_SECONDS: Final = Kind("ROUTE=SECONDS such as /upload=300", _parse_limit, _show_limit)
ROUTE: Final = Kind("a path that starts with /, such as /static", _parse_route, str)
ROUTED_FOLDER: Final = Kind(
    "a directory, or ROUTE=DIR such as /media=uploads", _parse_folder, _show_folder
)
ROUTED_APP: Final = Kind("PATH=APP such as /api=api.main:app", _parse_app, _show_app)
FIELD_EDIT: Final = Kind(
    '"Name: value" to set a field, "+Name: value" to add one, "?Name: value" to set it where it is '
    'missing, "-Name" to remove it',
    _parse_edit,
    str,
)
CACHE_CONTROL: Final = Kind(
    'directives such as "no-cache" or "public, max-age=3600", or none', _parse_cache_control, str
)
