"""The shop: WSGI, with version 1 of greetings."""

import os
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

import greetings  # type: ignore[import-not-found]  # in .venv, see make_environments.py


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Greets in the name of the shop."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    text = f"{greetings.greet('customer')}\n{os.environ.get('OPENING_HOURS', '')}\n"
    return [text.encode()]
