"""Scopes of an application below a path of its own, beside others."""

from typing import Any, Literal

from nogilserve.gateways.asgi.scope import ScopeMaker
from nogilserve.gateways.prefix import raw_rest
from nogilserve.messages import Request

__all__ = ["MountedScopeMaker"]


class MountedScopeMaker(ScopeMaker):
    """`root_path` names the mount; `path` is the whole path all the same (ASGI, HTTP connection
    scope). Owner: one event loop."""

    def __init__(
        self,
        state: dict[str, Any] | None,
        *,
        root_path: str,
        path: str,
        prefix: Literal["mount", "keep", "strip"],
        debug: bool,
    ) -> None:
        """As of MountedWsgiGateway; `state`: what lifespan startup put there, None without."""
        super().__init__(root_path, state, debug=debug)
        own = path.rstrip("/")
        self._told = root_path + own if prefix == "mount" else root_path
        self._cut = own if prefix == "strip" else ""

    def _from_head(self, request: Request) -> dict[str, Any]:
        made = super()._from_head(request)  # whole: with what a proxy has taken away
        made["root_path"] = self._told
        if self._cut and made["path"] != "*":
            root = self._root_path
            start, end = len(root.encode()), len((root + self._cut).encode())
            raw = made["raw_path"].decode("latin-1")
            rest = made["path"][len(root + self._cut) :]
            made["path"] = root + (rest or "/")
            made["raw_path"] = (
                raw[: len(raw) - len(raw_rest(raw, start))] + (raw_rest(raw, end) or "/")
            ).encode("latin-1")
        return made
