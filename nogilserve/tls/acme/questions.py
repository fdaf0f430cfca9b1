"""The keeper's socket: a line of JSON each way. The other side is `nogilserve.tls.inquiry`.

{"ask": "http", "token": T}        {"answer": text or null}
{"ask": "tls", "name": N}          {"answer": PEM or null}
{"ask": "certificate", "name": N}  {"answer": "" or why there is none}, when that is known
{"ask": "changes"}                 {"version": number}, at once and at every change
"""

import contextlib
import json
import logging
import select
import socket
import threading
from typing import Any, Final

from nogilserve.errors import StorageError
from nogilserve.tls.acme.keeper import Keeper

__all__ = ["answer_questions"]

_log = logging.getLogger("nogilserve")

_LONGEST: Final = 4096
_AT_ONCE: Final = 512
_PATIENCE: Final = 10.0
"""Seconds for a question to be said and an answer to be taken."""
_LOOK: Final = 30.0
"""Seconds between looks whether who waits for changes is still there."""


def answer_questions(listener: socket.socket, keeper: Keeper) -> None:
    """Accept and answer until the keeper ends; one thread for each connection."""
    free = threading.BoundedSemaphore(_AT_ONCE)
    listener.settimeout(None)
    while not keeper.ended():
        try:
            connection, _ = listener.accept()
        except OSError as error:
            if keeper.ended():
                return
            _log.error("The keeper cannot accept: %s", error)
            threading.Event().wait(1.0)
            continue
        if not free.acquire(blocking=False):
            connection.close()
            continue
        threading.Thread(
            target=_serve, args=(connection, keeper, free), name="question", daemon=True
        ).start()


def _serve(connection: socket.socket, keeper: Keeper, free: threading.BoundedSemaphore) -> None:
    try:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_PATIENCE)
            question = _read(connection)
            if question.get("ask") == "changes":
                _tell_changes(connection, keeper)
            elif question:
                _send(connection, {"answer": _answer(keeper, question)})
    finally:
        free.release()


def _answer(keeper: Keeper, question: dict[str, Any]) -> Any:
    kind, name = question.get("ask"), str(question.get("name", ""))
    try:
        if kind == "http":
            return keeper.http_answer(str(question.get("token", "")))
        if kind == "report":
            return keeper.report()
        if kind == "tls":
            return keeper.tls_answer(name)
        return keeper.want(name) if kind == "certificate" else f"nobody can answer {kind!r}"
    except StorageError as error:
        _log.error("A question about %s cannot be answered: %s", name or "a token", error)
        return str(error) if kind == "certificate" else None


def _tell_changes(connection: socket.socket, keeper: Keeper) -> None:
    seen = -1
    while not keeper.ended():
        version = keeper.wait_for_change(seen, _LOOK)
        if version != seen:
            seen = version
            _send(connection, {"version": version})
        elif select.select([connection], [], [], 0)[0]:
            return  # it says nothing more: it is gone


def _read(connection: socket.socket) -> dict[str, Any]:
    data = b""
    while b"\n" not in data and len(data) < _LONGEST:
        piece = connection.recv(_LONGEST)
        if not piece:
            break
        data += piece
    try:
        question = json.loads(data)
    except ValueError:
        return {}
    return question if isinstance(question, dict) else {}


def _send(connection: socket.socket, answer: dict[str, Any]) -> None:
    connection.sendall(json.dumps(answer).encode() + b"\n")
