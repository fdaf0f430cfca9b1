"""What an application is told of a connection (ASGI 3, HTTP and WebSocket message format 2.5)."""

from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from nogilserve.gateways.asgi.calls import Scope
from nogilserve.messages import AsyncExchange, Request

__all__ = ["ScopeMaker"]

_MOST_NAMES: Final = 512
"""Field names kept as bytes: they come from clients, so there is a bound."""


class ScopeMaker:
    """Owner: one event loop."""

    def __init__(self, root_path: str, state: dict[str, Any] | None, *, debug: bool) -> None:
        """`state`: what lifespan startup put there; None where lifespan is not supported."""
        self._root_path = root_path
        self._raw_root = quote(root_path, safe="/!$&'()*+,;=:@%~").encode()
        self._state = state
        self._debug = debug
        self._names: dict[str, bytes] = {}

    def http(self, exchange: AsyncExchange) -> Scope:
        """The scope of a request."""
        request = exchange.request
        made = request.made_of_it
        if made is None:
            made = self._from_head(request)
            if request.kept:
                request.made_of_it = made
        scope = made.copy()
        # Every scope has its own of what middleware may change. Displays are quicker than copies.
        scope["asgi"] = {"version": "3.0", "spec_version": "2.5"}
        scope["headers"] = made["headers"].copy()
        extensions: dict[str, Any] = {
            "http.response.trailers": {},
            "http.response.pathsend": {},
            "http.response.zerocopysend": {},
            "http.response.early_hint": {},
        }
        scope["extensions"] = extensions
        if self._debug:
            extensions["http.response.debug"] = {}
        scope["scheme"] = exchange.scheme
        scope["client"] = exchange.peer
        scope["server"] = exchange.local
        if self._state is not None:
            scope["state"] = self._state.copy()
        return scope

    def websocket(self, exchange: AsyncExchange, subprotocols: tuple[str, ...]) -> Scope:
        """The scope of a WebSocket connection."""
        scope = self.http(exchange)
        scope["type"] = "websocket"
        scope["scheme"] = "wss" if exchange.scheme == "https" else "ws"
        scope["subprotocols"] = list(subprotocols)
        scope["extensions"] = {"websocket.http.response": {}}
        del scope["method"]
        return scope

    def _fields(self, request: Request) -> list[tuple[bytes, bytes]]:
        """The field lines as bytes."""
        names = self._names
        fields = []
        for name, value in request.headers:
            key = names.get(name)
            if key is None:
                key = name.encode("latin-1")
                if len(names) < _MOST_NAMES:
                    names[name] = key
            fields.append((key, value.encode("latin-1")))
        return fields

    def _from_head(self, request: Request) -> dict[str, Any]:
        """The scope of a request as far as its head alone makes it; with places for the rest,
        since filling them is quicker than adding them."""
        path = request.path
        raw_path = path.encode("latin-1")
        if "%" in path or not path.isascii():
            path = unquote_to_bytes(raw_path).decode("utf-8", "replace")
        root = self._root_path
        if root and path != "*" and not (path == root or path.startswith(f"{root}/")):
            # A proxy has taken it away; the path of a scope is the whole one.
            path = root + path
            raw_path = self._raw_root + raw_path
        section = request.section
        if section is None:
            headers = self._fields(request)
        else:
            made = section.made_of_it
            if made is None or made[0] is not self:
                section.made_of_it = made = (self, {"headers": self._fields(request)})
            headers = made[1]["headers"]
        return {
            "type": "http",
            "asgi": None,
            "http_version": ("1.0", "1.1", "2")[request.minor],
            "method": request.method,
            "path": path,
            "raw_path": raw_path,
            "query_string": request.query.encode("latin-1"),
            "root_path": root,
            "headers": headers,
            "extensions": None,
            "scheme": "",
            "client": None,
            "server": None,
        }
