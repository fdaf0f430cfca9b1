"""Who wants a WebSocket. Asked of every request with an Upgrade, before anything else is needed."""

from nogilserve.messages import Request

__all__ = ["wants_websocket"]


def wants_websocket(request: Request) -> bool:
    """Whether a request asks to go on as a WebSocket, rightly or not: then see Handshake."""
    if not request.upgrade:
        return False
    return any(item.strip(" \t").lower() == "websocket" for item in request.upgrade.split(","))
