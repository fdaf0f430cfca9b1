"""Options that gunicorn, uvicorn and their relatives have and this server has not, or not yet.

Their users try them first. Each gets one true sentence instead of "unknown" and a wrong guess.
"""

from typing import Final

__all__ = ["not_here"]

_THREADS: Final = "threads are what this server is about; leave it out, see --threads and --workers"
_WEBSOCKET: Final = "there is one implementation of WebSocket; leave it out"
_RELOAD: Final = "files are watched by the system, and changes gathered; leave it out"
_IGNORE: Final = "here that is --reload-exclude"
_HTTP: Final = "there is one implementation of HTTP/1; leave it out"
_LOGGING: Final = (
    "not needed: messages are those of the logger 'nogilserve', which the application may configure"
)
_ERRORS: Final = "messages go to standard error: redirect that, or leave it to the service manager"
_METRICS: Final = "here Prometheus finds /metrics at the --admin address"

_LONG: Final = {
    "blocking-threads": "here that is --threads",
    "call": "here that is --factory",
    "channel-timeout": "here that is --keep-alive, --body-timeout and --write-timeout",
    "daemon": (
        "the server stays in the foreground; let systemd run it as a service, see "
        "docs/operations.md#systemd"
    ),
    "date-header": "Date is sent unless the application sends its own; leave it out",
    "error-log": _ERRORS,
    "error-logfile": _ERRORS,
    "forwarder-headers": "fields with an underscore never reach the application; see --root-path",
    "header-map": "fields with an underscore never reach the application; leave it out",
    "ident": "the Server header can only be left out, with --no-server-header",
    "log-config": _LOGGING,
    "log-config-json": _LOGGING,
    "log-file": _ERRORS,
    "logger-class": _LOGGING,
    "name": "the process keeps the name it was started with",
    "paste": "name the application as module:attribute",
    "preload": "the application is imported once anyway; leave it out",
    "preload-app": "the application is imported once anyway; leave it out",
    "process-name": "the process keeps the name it was started with",
    "pythonpath": "here that is --app-dir",
    "reload-delay": _RELOAD,
    "reload-engine": _RELOAD,
    "reload-extra-file": "here that is --reload-include",
    "reload-ignore-dirs": _IGNORE,
    "reload-ignore-paths": _IGNORE,
    "reload-ignore-patterns": _IGNORE,
    "reload-ignore-worker-failure": "a generation that fails is replaced anyway; leave it out",
    "reload-paths": "here that is --reload-dir",
    "reload-tick": _RELOAD,
    "reuse-port": "one process listens, and every core accepts from its sockets; leave it out",
    "respawn-failed-workers": "a generation that fails is replaced anyway; leave it out",
    "runtime-blocking-threads": "here that is --threads",
    "runtime-mode": _THREADS,
    "metrics": _METRICS,
    "metrics-address": _METRICS,
    "metrics-port": _METRICS,
    "metrics-scrape-interval": "Prometheus decides that; leave it out",
    "runtime-threads": "here that is --workers",
    "task-impl": "requests are tasks of asyncio; leave it out",
    "url-path-prefix": "here that is --root-path",
    "url-prefix": "here that is --root-path",
    "do-handshake-on-connect": "handshakes never block; leave it out",
    "ssl-client-verify": "here that is --cert-reqs required",
    "ssl-crl": "lists of revoked certificates are not read; issue short-lived ones",
    "ssl-version": "here that is --ssl-min-version",
    "suppress-ragged-eofs": "they are not reported; leave it out",
    "static-map": "here that is --static-path, also written ROUTE=DIR",
    "static-path-dir-to-file": "here that is --static-index, and on",
    "static-path-expires": 'here that is --static-cache, as in --static-cache "max-age=3600"',
    "static-path-mount": "here that is --static-path, or --static-path ROUTE=DIR",
    "static-path-precompressed": "here that is --static-precompressed, and on",
    "static-path-route": "here that is --static-route, or --static-path ROUTE=DIR",
    "use-colors": "messages have no colours; leave it out",
    "worker-class": _THREADS,
    "worker-connections": (
        "here that is --limit-connections; an idle or slow connection occupies no thread"
    ),
    "worker-tmp-dir": "there are no worker processes; leave it out",
    "workers-kill-timeout": "here that is --graceful-timeout",
    "workers-max-rss": "here that is --max-rss, with a unit: --max-rss 512MiB",
    "working-directory": "here that is --chdir",
    "ws": _WEBSOCKET,
    "ws-max-queue": "frames wait in the system while the application is busy; leave it out",
}
_BEGINNINGS: Final = {
    "h11-": _HTTP,
}
_SHORT: Final = {
    "-D": "daemon",
    "-R": "reuse-port",
    "-k": "worker-class",
    "-n": "name",
}


def not_here(name: str) -> str:
    """What to say of another server's option, "" if it is unknown.

    `name` is written as on the command line ("--reload", "-t", also "-t30"), or bare as in a file.
    """
    if name.startswith("-") and not name.startswith("--"):
        long = _SHORT.get(name[:2], "")
        return f"that is gunicorn's --{long}: {_LONG[long]}" if long else ""
    bare = name.removeprefix("--").removeprefix("no-")
    if bare in _LONG:
        return _LONG[bare]
    return next((said for begin, said in _BEGINNINGS.items() if bare.startswith(begin)), "")
