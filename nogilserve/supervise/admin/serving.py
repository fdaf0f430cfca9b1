"""The admin application on this server's own engine."""

from collections.abc import Sequence
from copy import replace
from time import monotonic
from typing import Final

from nogilserve.config import Config
from nogilserve.runtimes.build import load_here
from nogilserve.runtimes.threads import ThreadRuntime
from nogilserve.sockets import Listener
from nogilserve.supervise.admin import app as module
from nogilserve.supervise.admin.access import Access
from nogilserve.supervise.admin.app import AdminApp
from nogilserve.supervise.admin.backend import Backend

__all__ = ["Serving"]

_THREADS: Final = 16
"""Each open status page holds one."""
_ENDING: Final = 2.0


class Serving:
    """Owner: the thread that made it."""

    def __init__(
        self, backend: Backend, token: str, listeners: Sequence[Listener], *, loopback: bool
    ) -> None:
        """Begin to serve."""
        module.app = AdminApp(backend, Access(token, loopback=loopback))
        config = replace(
            Config(),
            app=f"{module.__name__}:app",
            interface="wsgi",
            runtime="threads",
            threads=_THREADS,
            workers=1,
            limit_connections=256,
            limit_request_body=1 << 20,
            prepare="none",
        )
        runtime = load_here(config, None)
        assert isinstance(runtime, ThreadRuntime)
        self._runtime = runtime
        module.app.feed.settle = runtime.settle
        self._runtime.start(listeners)

    def close(self) -> bool:
        """End it; False: a thread is still inside."""
        module.app.feed.close()
        self._runtime.drain()
        return self._runtime.join(monotonic() + _ENDING)
