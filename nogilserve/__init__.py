"""nogilserve: a web server for free-threaded Python."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nogilserve.embed import Server, serve
    from nogilserve.perloop import PerLoop, per_loop

__all__ = ["PerLoop", "Server", "__version__", "per_loop", "serve"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # The server's own processes import this package long before asyncio, or without it.
    if name in ("PerLoop", "per_loop"):
        from nogilserve import perloop

        return getattr(perloop, name)
    if name in ("Server", "serve"):
        from nogilserve import embed

        return getattr(embed, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
