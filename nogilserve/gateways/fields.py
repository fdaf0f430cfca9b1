"""Gateways that change the header of every response (`--header`)."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from nogilserve.gateways.wrapped import AsyncWrapped, Wrapped
from nogilserve.messages import AsyncExchange, Exchange, Headers, WebSocketExchange

__all__ = ["AsyncFieldsGateway", "Edits", "FieldsGateway"]

type _How = Literal["set", "add", "default", "remove"]
_SIGNS: dict[str, _How] = {"+": "add", "?": "default", "-": "remove"}


@dataclass(frozen=True, slots=True)
class _Edit:
    how: _How
    name: str
    lower: str
    value: str


class Edits:
    """What is changed, in order. Immutable; any thread."""

    def __init__(self, texts: Sequence[str]) -> None:
        """As the configuration has them: "Name: value", "+Name: value", "?Name: value", "-Name"."""
        self._edits = tuple(_edit(text) for text in texts)
        self._replaced = frozenset(
            edit.lower for edit in self._edits if edit.how in {"set", "remove"}
        )

    def apply(self, headers: Headers) -> Headers:
        """The field lines as they are to be sent."""
        changed = [field for field in headers if field[0].lower() not in self._replaced]
        for edit in self._edits:
            if edit.how == "remove":
                continue
            if edit.how == "default" and any(name.lower() == edit.lower for name, _ in changed):
                continue
            changed.append((edit.name, edit.value))
        return changed


def _edit(text: str) -> _Edit:
    name, _, value = text.partition(":")
    how: _How = _SIGNS.get(name[0], "set")
    if how != "set":
        name = name[1:]
    return _Edit(how, name, name.lower(), value.strip())


class _Edited(Wrapped):
    """Owner: the thread that runs the request."""

    __slots__ = ("_edits",)

    def __init__(self, exchange: Exchange, edits: Edits) -> None:
        super().__init__(exchange)
        self._edits = edits

    def prepare(self, status: str, headers: Headers) -> None:
        self._inner.prepare(status, headers)  # the application's mistakes are its own
        self._inner.prepare(status, self._edits.apply(headers))


class _AsyncEdited(AsyncWrapped):
    """Owner: the event loop of the connection."""

    __slots__ = ("_edits",)

    def __init__(self, exchange: AsyncExchange, edits: Edits) -> None:
        super().__init__(exchange)
        self._edits = edits

    def prepare(self, status: str, headers: Headers) -> None:
        self._inner.prepare(status, headers)
        self._inner.prepare(status, self._edits.apply(headers))


class FieldsGateway:
    """For the thread engine. Owner: its core; calls may overlap, nothing in it changes."""

    def __init__(self, edits: Edits, inner: Callable[[Exchange], None]) -> None:
        self._edits = edits
        self._inner = inner

    def run(self, exchange: Exchange) -> None:
        """Run what is inside. Never raises."""
        self._inner(_Edited(exchange, self._edits))


class AsyncApplication(Protocol):
    """What an event loop's gateway does."""

    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """One request."""

    def websocket(self, exchange: WebSocketExchange) -> Coroutine[Any, Any, None]:
        """One WebSocket connection."""


class AsyncFieldsGateway:
    """For event loops. Owner: one loop. Handshakes of WebSockets are left alone."""

    def __init__(self, edits: Edits, inner: AsyncApplication) -> None:
        self._edits = edits
        self._inner = inner
        self.websocket = inner.websocket

    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """Run what is inside."""
        return self._inner.http(_AsyncEdited(exchange, self._edits))
