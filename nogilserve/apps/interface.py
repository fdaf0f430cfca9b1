"""How an application is called, WSGI or ASGI, told from its signature. Calls nothing."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal

__all__ = [
    "Interface",
    "by_names",
    "detect_interface",
    "is_double_callable",
    "positional",
    "single_callable",
]

type Interface = Literal["wsgi", "asgi"]


def detect_interface(app: Any) -> Interface | None:
    """Tell from the signature how an application is called; None when it cannot be told.

    ASGI 3 is a coroutine function or takes (scope, receive, send); ASGI 2 takes (scope); WSGI
    takes (environ, start_response). Classes count as what their instances are made with.
    """
    if inspect.isclass(app):
        names = positional(app)
        if names is None:
            return None
        # Called with a scope it makes the second callable of ASGI 2.
        if len(names) == 1 and _is_async(app.__call__):
            return "asgi"
        return by_names(names) or ("wsgi" if len(names) == 2 else None)
    if _is_async(app):
        return "asgi"
    names = positional(app)
    if names is None:
        return None
    return by_names(names) or ("asgi" if len(names) == 3 else "wsgi" if len(names) == 2 else None)


def by_names(names: list[str]) -> Interface | None:
    """What parameters called as the specifications call them say, None for other names."""
    if names[:3] == ["scope", "receive", "send"] or names == ["scope"]:
        return "asgi"
    if len(names) >= 2 and names[0].startswith("env") and "start" in names[1]:
        return "wsgi"
    return None


def _is_async(app: Any) -> bool:
    while isinstance(app, functools.partial):
        app = app.func
    if inspect.iscoroutinefunction(app):
        return True
    if inspect.isroutine(app) or inspect.isclass(app):
        return False
    return inspect.iscoroutinefunction(getattr(type(app), "__call__", None))  # noqa: B004


def positional(app: Any) -> list[str] | None:
    """Names of the positional parameters that must be given; None when they are not known.

    With *args there is no telling either.
    """
    try:
        parameters = inspect.signature(app).parameters.values()
    except (ValueError, TypeError):
        return None
    if any(item.kind is item.VAR_POSITIONAL for item in parameters):
        return None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [item.name for item in parameters if item.kind in kinds and item.default is item.empty]


def is_double_callable(app: Any) -> bool:
    """Whether an ASGI application is of version 2: called with the scope alone."""
    names = positional(app)
    return names is not None and len(names) == 1 and (inspect.isclass(app) or not _is_async(app))


def single_callable(app: Callable[..., Any]) -> Callable[..., Any]:
    """ASGI 2 (scope)(receive, send) as ASGI 3 (scope, receive, send)."""

    async def single(scope: Any, receive: Any, send: Any) -> None:
        await app(scope)(receive, send)

    return single
