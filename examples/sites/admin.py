"""The administration: a WSGI application, mounted below /admin."""

from collections.abc import Callable
from typing import Any


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Every link begins with SCRIPT_NAME, so that it works wherever the application is mounted."""
    base = environ["SCRIPT_NAME"]
    text = (
        f"<!doctype html><title>Administration</title><p>This is {environ['PATH_INFO'] or '/'}, "
        f'see <a href="{base}/users">the users</a>.'
    )
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [text.encode()]
