"""A WSGI application below a path of its own, beside others.

What of the path it is told and what is left to it is made with the head, once for all requests of
the same head.
"""

from typing import Any, Literal

from nogilserve.gateways.prefix import wire_text
from nogilserve.gateways.wsgi import WsgiApplication, WsgiGateway
from nogilserve.messages import Request

__all__ = ["MountedWsgiGateway", "Prefix"]

type Prefix = Literal["mount", "keep", "strip"]


class MountedWsgiGateway(WsgiGateway):
    """SCRIPT_NAME, and PATH_INFO without it (PEP 3333). Owner: as of WsgiGateway."""

    def __init__(
        self,
        app: WsgiApplication,
        name: str,
        *,
        root_path: str,
        path: str,
        prefix: Prefix,
        debug: bool = False,
        multiprocess: bool = False,
    ) -> None:
        """`root_path`: below which a proxy shows the server, and which it may leave in front of
        paths or not; `path`: below which the application is, "/" or without a slash at the end."""
        super().__init__(app, name, debug=debug, multiprocess=multiprocess)
        own = path.rstrip("/")
        told = root_path + own if prefix == "mount" else root_path
        self._template["SCRIPT_NAME"] = self._told = wire_text(told)
        cut = "" if prefix == "keep" else own
        self._cuts = tuple(wire_text(text) for text in (root_path + cut, cut) if text)

    def _from_head(self, request: Request) -> dict[str, Any]:
        environ = super()._from_head(request)
        path: str = environ["PATH_INFO"]
        for cut in self._cuts:
            if path.startswith(cut) and path[len(cut) : len(cut) + 1] in {"", "/"}:
                path = path[len(cut) :]
                break
        environ["PATH_INFO"] = path or ("" if self._told else "/")
        return environ
