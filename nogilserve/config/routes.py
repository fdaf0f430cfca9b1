"""What a value about routes and files may be."""

import re
from typing import Final

from nogilserve.config.kinds import PREFIX_PATH, Kind, seconds

__all__ = ["CACHE_CONTROL", "ROUTE", "ROUTED_FOLDER", "ROUTED_SECONDS"]

# RFC 9110 §5.5, without obs-text: what may stand in a field value.
_FIELD_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?|")
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


ROUTED_SECONDS: Final = Kind("ROUTE=SECONDS such as /upload=300", _parse_limit, _show_limit)
ROUTE: Final = Kind("a path that starts with /, such as /static", _parse_route, str)
ROUTED_FOLDER: Final = Kind(
    "a directory, or ROUTE=DIR such as /media=uploads", _parse_folder, _show_folder
)
CACHE_CONTROL: Final = Kind(
    'directives such as "no-cache" or "public, max-age=3600", or none', _parse_cache_control, str
)
