"""Options that gunicorn, uvicorn and their relatives have and this server has not, or not yet.

Their users try them first. Each gets one true sentence instead of "unknown" and a wrong guess.
"""

from typing import Final

__all__ = ["not_here"]

_TLS: Final = "TLS is planned; until then let a proxy do it, see docs/operations.md"
_FORWARDED: Final = (
    "planned; until then the application takes over the headers of its proxy, see "
    "docs/operations.md"
)
_RELOAD: Final = (
    'planned; until then let a tool restart the server, for example: watchfiles "nogilserve APP"'
)
_MANAGER: Final = "not done here; let systemd or the container do it, see docs/operations.md"
_RECYCLE: Final = (
    "there are no worker processes that could be replaced; let the service manager restart the "
    "server if memory grows"
)
_THREADS: Final = "threads are what this server is about; leave it out, see --threads and --workers"
_BUSY: Final = (
    "no limit of this kind; --threads says how many calls are under way at once, and an idle or "
    "slow connection occupies none of them"
)
_ASGI: Final = "a setting for ASGI, which is planned and not served yet"
_HTTP: Final = "there is one implementation of HTTP/1; HTTP/2 is planned; leave it out"
_LOGGING: Final = (
    "not needed: messages are those of the logger 'nogilserve', which the application may configure"
)
_ERRORS: Final = "messages go to standard error: redirect that, or leave it to the service manager"
_PREFIX: Final = "planned; until then the application or a middleware sets SCRIPT_NAME"
_METRICS: Final = "metrics are planned"

_LONG: Final = {
    "blocking-threads": "here that is --threads",
    "call": "here that is --factory",
    "channel-timeout": "here that is --keep-alive, --body-timeout and --write-timeout",
    "connection-limit": _BUSY,
    "control-socket": "there is none",
    "daemon": "the server stays in the foreground; let systemd run it, see docs/operations.md",
    "date-header": "Date is sent unless the application sends its own; leave it out",
    "error-log": _ERRORS,
    "error-logfile": _ERRORS,
    "forwarded-allow-ips": _FORWARDED,
    "group": _MANAGER,
    "header": "the application or the proxy adds header fields",
    "http": _HTTP,
    "ident": "the Server header can only be left out, with --no-server-header",
    "limit-concurrency": _BUSY,
    "limit-max-requests": _RECYCLE,
    "limit-max-requests-jitter": _RECYCLE,
    "lifespan": _ASGI,
    "log-config": _LOGGING,
    "log-config-json": _LOGGING,
    "log-file": _ERRORS,
    "logger-class": _LOGGING,
    "loop": _ASGI,
    "max-requests": _RECYCLE,
    "max-requests-jitter": _RECYCLE,
    "name": "the process keeps the name it was started with",
    "paste": "name the application as module:attribute",
    "pid": "no file with the process id is written; systemd and the banner know it",
    "pid-file": "no file with the process id is written; systemd and the banner know it",
    "pidfile": "no file with the process id is written; systemd and the banner know it",
    "preload": "the application is imported once anyway; leave it out",
    "preload-app": "the application is imported once anyway; leave it out",
    "process-name": "the process keeps the name it was started with",
    "proxy-headers": _FORWARDED,
    "proxy-protocol": "planned",
    "pythonpath": "here that is --app-dir",
    "reload": _RELOAD,
    "reload-delay": _RELOAD,
    "reload-dir": _RELOAD,
    "reload-engine": _RELOAD,
    "reload-exclude": _RELOAD,
    "reload-extra-file": _RELOAD,
    "reload-include": _RELOAD,
    "reuse-port": "one process listens, and every core accepts from its sockets; leave it out",
    "root-path": _PREFIX,
    "runtime-mode": _THREADS,
    "runtime-threads": "here that is --workers",
    "timeout": (
        "no request is cut off for taking long; --header-timeout, --body-timeout, --write-timeout "
        "and --graceful-timeout are what there is"
    ),
    "umask": f"{_MANAGER}; --uds-permissions sets the mode of unix sockets",
    "url-prefix": _PREFIX,
    "use-colors": "messages have no colours; leave it out",
    "user": _MANAGER,
    "worker-class": _THREADS,
    "worker-connections": _BUSY,
    "worker-tmp-dir": "there are no worker processes; leave it out",
    "working-directory": "here that is --chdir",
}
_BEGINNINGS: Final = {
    "h11-": _HTTP,
    "metrics-": _METRICS,
    "ssl-": _TLS,
    "statsd-": _METRICS,
    "websocket-": _ASGI,
    "ws-": _ASGI,
}
_LONG_TLS: Final = frozenset(
    {"certfile", "keyfile", "keyfile-password", "ca-certs", "cert-reqs", "ciphers", "verify-mode"}
)
_SHORT: Final = {
    "-D": "daemon",
    "-R": "reuse-port",
    "-g": "group",
    "-k": "worker-class",
    "-m": "umask",
    "-n": "name",
    "-p": "pid",
    "-t": "timeout",
    "-u": "user",
}


def not_here(name: str) -> str:
    """What to say of another server's option, "" if it is unknown.

    `name` is written as on the command line ("--reload", "-t", also "-t30"), or bare as in a file.
    """
    if name.startswith("-") and not name.startswith("--"):
        long = _SHORT.get(name[:2], "")
        more = "; for the port write --port" if name.startswith("-p") else ""
        return f"that is gunicorn's --{long}: {_LONG[long]}{more}" if long else ""
    bare = name.removeprefix("--").removeprefix("no-")
    if bare in _LONG_TLS:
        return _TLS
    if bare in ("ws", "metrics"):
        bare += "-"
    for beginning, answer in _BEGINNINGS.items():
        if bare.startswith(beginning):
            return answer
    return _LONG.get(bare, "")
