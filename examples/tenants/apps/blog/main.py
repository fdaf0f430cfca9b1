"""The blog: ASGI, with version 2 of greetings."""

from typing import Any

import greetings  # type: ignore[import-not-found]  # in .venv, see make_environments.py


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Greets in the name of the blog."""
    if scope["type"] != "http":
        return
    fields = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    body = f"{greetings.greet('reader')}\n".encode()
    await send({"type": "http.response.body", "body": body})
