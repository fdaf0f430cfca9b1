"""Starting a server from a program: `serve(app)`, and `Server` in the background."""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

from nogilserve.apps import LoadedApp, adopt_app
from nogilserve.config import Config, resolve_arguments, to_argv
from nogilserve.errors import BindError, ConfigError
from nogilserve.observe.accesslog import AccessLog
from nogilserve.runtimes.build import load_runtime, runtime_here
from nogilserve.runtimes.contract import Runtime
from nogilserve.sockets import Listener, open_listeners
from nogilserve.supervise import single
from nogilserve.supervise.serving import open_access_log

__all__ = ["Server", "serve"]

type Application = Callable[..., Any]

_BY_NAME_ONLY: Final = {
    "runtime": "threads",
    "reload": False,
    "max_requests": 0,
    "max_rss": 0,
}
"""Settings that only an application that can be imported anew may have otherwise than so."""


def serve(app: str | Application, **settings: Any) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. Main thread only.

    `app` is what the command line takes, "main:app", or the application itself, WSGI or ASGI.
    An application by name has all that the command has, a master process and reloading among it;
    the program that calls this must not start anything when it is imported (`if __name__ ==
    "__main__"`). An application itself is served by this process, which cannot import it anew.

    `settings` are the options of the command line, with underscores: `bind="0.0.0.0:8000"`,
    `threads=16`, `static_path=["/static=assets"]`. The environment and files have no say. Raises
    ConfigError, BindError, AppImportError; RuntimeError in another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "nogilserve.serve takes signals, so it belongs into the main thread; "
            "nogilserve.Server serves from any"
        )
    if not isinstance(app, str):
        config, loaded = _adopt(app, settings)
        return single.run(config, lambda record: runtime_here(config, loaded, record))
    config = resolve_arguments({"app": app, **settings}, Path.cwd())
    if not config.master:
        return single.run(config)
    from nogilserve.supervise import master
    from nogilserve.supervise.handover import Launch

    command = (sys.executable, "-m", "nogilserve", *to_argv(config))
    return master.run(config, Launch(command, os.getcwd(), dict(os.environ)))


class Server:
    """A server in the background of a program, for tests, notebooks and tools.

        with Server(app) as server:
            httpx.get(f"{server.url}/hello")

    Owner: the thread that made it; `url`, `port`, `addresses` and `counters` are for any thread
    while it runs. It listens on a free port of 127.0.0.1 unless `bind`, `host`, `port` or `uds`
    say otherwise. `settings` are those of `serve`, but for what needs a process of its own. It
    can be started again after it was stopped.
    """

    def __init__(self, app: str | Application, **settings: Any) -> None:
        """Raises ConfigError. An application given by name is imported by `start`."""
        if not {"bind", "host", "port", "uds", "fd", "listen", "domain"} & settings.keys():
            settings = {**settings, "bind": "127.0.0.1:0"}
        # What else is in this process is the program's own business.
        settings = {"prepare": "none", **settings}
        self._loaded: LoadedApp | None = None
        if isinstance(app, str):
            self.config = resolve_arguments({"app": app, **settings}, Path.cwd())
        else:
            self.config, self._loaded = _adopt(app, settings)
        for field, why in (("reload", "use serve"), ("automatic_https", "use serve")):
            if getattr(self.config, field):
                raise ConfigError(f"a server in the background cannot do that: {field}; {why}")
        self._runtime: Runtime | None = None
        self._listeners: list[Listener] = []
        self._access_log: AccessLog | None = None

    def start(self) -> None:
        """Listen and serve. Raises BindError, AppImportError, ConfigError; RuntimeError if it
        runs already."""
        if self._runtime is not None:
            raise RuntimeError("the server runs already")
        config = self.config
        self._access_log = open_access_log(config)
        record = self._access_log.put if self._access_log else None
        try:
            if self._loaded is None:
                runtime = load_runtime(config, record)
            else:
                runtime = runtime_here(config, self._loaded, record)
            self._listeners = open_listeners(
                config.all_binds,
                config.backlog,
                uds_permissions=config.uds_permissions,
                encrypted=config.encrypted,
            )
            runtime.start(self._listeners)
        except BaseException:
            self._close_listeners()
            self._close_log()
            raise
        self._runtime = runtime

    def stop(self, timeout: float | None = None) -> bool:
        """Finish what was accepted, at most `timeout` seconds (default: --graceful-timeout), and
        end. False: by then the application had not answered all; nothing more is accepted, and
        another call goes on waiting."""
        if self._runtime is None:
            return True
        deadline = monotonic() + (self.config.graceful_timeout if timeout is None else timeout)
        self._runtime.drain(self._close_listeners)
        done = self._runtime.join(deadline)
        self._close_listeners()
        if done:
            self._runtime = None
            self._close_log()
        return done

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens: "http://127.0.0.1:40123", "unix:/run/app.sock"."""
        return tuple(listener.label for listener in self._listeners)

    @property
    def url(self) -> str:
        """The first address that has a URL. Raises BindError where there is none."""
        for address in self.addresses:
            if address.startswith("http"):
                return address
        raise BindError("the server listens on no TCP port")

    @property
    def port(self) -> int:
        """The number of that URL's port."""
        return int(self.url.rpartition(":")[2])

    @property
    def counters(self) -> dict[str, Any]:
        """Requests, connections, bytes and so on so far; empty while it does not run."""
        return {} if self._runtime is None else self._runtime.snapshot()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def _close_log(self) -> None:
        log, self._access_log = self._access_log, None
        if log is not None:
            log.close()


def _adopt(app: Application, settings: dict[str, Any]) -> tuple[Config, LoadedApp]:
    """Settings for, and what is known of, an application that was not imported by name."""
    settings = {"runtime": "threads", "master": False, **settings}
    loaded = adopt_app(app, str(settings.get("interface", "auto")))
    config = resolve_arguments({"app": loaded.name, **settings}, Path.cwd())
    for field, allowed in _BY_NAME_ONLY.items():
        if getattr(config, field) != allowed:
            raise ConfigError(
                f"{field}={getattr(config, field)!r} needs an application that can be imported "
                'anew: give its name, "module:attribute"'
            )
    if config.master:
        raise ConfigError('master=True needs the name of an application, "module:attribute"')
    return config, loaded
