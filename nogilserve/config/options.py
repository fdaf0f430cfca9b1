"""Every option, declared once. The order here is the order of the help and of docs/options.md."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nogilserve.config.addresses import ADDRESS, DEFAULT_HOST, DEFAULT_PORT, HOST, PORT, Bind
from nogilserve.config.declare import Option, computed, option, options_of
from nogilserve.config.formats import ACCESS_FORMAT
from nogilserve.config.kinds import (
    FLAG,
    LOG_FILE,
    OCTAL,
    TEXT,
    VARIABLE,
    choice,
    integer,
    seconds,
    size,
)

__all__ = ["OPTIONS", "SECTIONS", "Config", "Invocation", "Shorthand", "processors"]

_APP: Final = "Application"
_LISTEN: Final = "Listening"
_WORK: Final = "Threads and cores"
_TIME: Final = "Timeouts"
_LIMIT: Final = "Limits"
_ANSWER: Final = "Responses"
_LOG: Final = "Logging"
_SELF: Final = "Configuration and help"

SECTIONS: Final = (_APP, _LISTEN, _WORK, _TIME, _LIMIT, _ANSWER, _LOG, _SELF)

_DAY: Final = 86400
_TIB: Final = 1024**4


def processors(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Processors this process may use: affinity and the CPU quota of its container, at least 1."""
    count = os.process_cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return count
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return count
    return max(1, min(count, -(-int(quota) // int(period))))


def _default_threads() -> int:
    return max(16, 4 * processors())


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting in force, checked. Immutable: share it freely.

    `load` makes it. Durations are seconds, sizes are bytes.
    """

    app: str = option(
        "",
        "--app",
        TEXT,
        """What to serve: module:attribute, a factory module:create_app(), a bare module (its `app`
        or `application`), or the path of a .py file.""",
        section=_APP,
        metavar="APP",
        default_text="the first argument",
    )
    interface: str = option(
        "auto",
        "--interface --server-type",
        choice("auto", "wsgi", "asgi"),
        """How the application is called; auto looks at its signature. asgi is planned, not served
        yet.""",
        section=_APP,
        metavar="NAME",
    )
    factory: bool = option(
        False,
        "--factory",
        FLAG,
        "APP is a callable without arguments that returns the application.",
        section=_APP,
    )
    chdir: str = option(
        "",
        "--chdir --working-dir",
        TEXT,
        """Change to this directory first. Configuration files are looked for in it, modules are
        imported from it, and relative paths start there. A file can say it only when --config
        names that file.""",
        section=_APP,
        metavar="DIR",
        default_text="the current directory",
    )
    app_dir: str = option(
        "",
        "--app-dir",
        TEXT,
        "Import APP from this directory, without changing to it.",
        section=_APP,
        metavar="DIR",
        default_text="the working directory",
    )
    env_files: tuple[str, ...] = option(
        (),
        "--env-file",
        TEXT,
        """Set environment variables from a file of NAME=VALUE lines before APP is imported.
        Variables that exist already win. Repeatable, the last file wins.""",
        section=_APP,
        metavar="FILE",
        many=True,
    )
    env: tuple[tuple[str, str], ...] = option(
        (),
        "-e --env",
        VARIABLE,
        "Set an environment variable before APP is imported; wins over everything. Repeatable.",
        section=_APP,
        metavar="NAME=VALUE",
        many=True,
        scope="no env",
    )
    binds: tuple[Bind, ...] = option(
        (Bind("tcp", DEFAULT_HOST, DEFAULT_PORT),),
        "-b --bind -l --listen",
        ADDRESS,
        """Listen here: HOST:PORT, :PORT (every interface), [IPV6]:PORT, unix:PATH, fd://NUMBER.
        Port 0 lets the system choose. Repeatable.""",
        section=_LISTEN,
        metavar="ADDRESS",
        many=True,
        default_text="sockets passed by systemd, else 0.0.0.0:$PORT, else 127.0.0.1:8000",
    )
    uds_permissions: int = option(
        0o660,
        "--uds-permissions --unix-socket-perms",
        OCTAL,
        "Mode of unix sockets, octal.",
        section=_LISTEN,
        metavar="MODE",
    )
    backlog: int = option(
        2048,
        "--backlog",
        integer(1, 65535),
        "Connections the system may hold before they are accepted.",
        section=_LISTEN,
        metavar="N",
    )
    threads: int = option(
        computed(_default_threads),
        "--threads",
        integer(1, 4096),
        """Threads that may be inside the application at once, in the whole process. A thread that
        waits for a database costs no processor time.""",
        section=_WORK,
        metavar="N",
        default_text="4 for each processor, at least 16 and at least --workers",
    )
    workers: int = option(
        computed(processors),
        "-w --workers",
        integer(1, 1024),
        """Cores: places that read requests, call the application and write responses; not
        processes, and not threads of the application. At most --threads.""",
        section=_WORK,
        metavar="N",
        default_text="$WEB_CONCURRENCY, else 1 for each processor; at most --threads",
    )
    poller: str = option(
        "auto",
        "--poller",
        choice("auto", "epoll", "kqueue", "poll", "select"),
        "How the system is asked which sockets are ready; auto takes the best there is.",
        section=_WORK,
        metavar="NAME",
    )
    keep_alive: float = option(
        5.0,
        "--keep-alive --timeout-keep-alive",
        seconds(0, _DAY),
        """Close a connection on which no request follows for this long; 0 closes after each
        response. Behind a proxy it must exceed the proxy's own.""",
        section=_TIME,
        metavar="SECONDS",
    )
    header_timeout: float = option(
        10.0,
        "--header-timeout --timeout-header",
        seconds(0.001, _DAY),
        "A request head must be complete within this time, else 408.",
        section=_TIME,
        metavar="SECONDS",
    )
    body_timeout: float = option(
        30.0,
        "--body-timeout --timeout-body",
        seconds(0.001, _DAY),
        "Give up a request body of which nothing arrives for this long.",
        section=_TIME,
        metavar="SECONDS",
    )
    write_timeout: float = option(
        60.0,
        "--write-timeout --timeout-write",
        seconds(0.001, _DAY),
        "Give up a response of which the client takes nothing for this long.",
        section=_TIME,
        metavar="SECONDS",
    )
    graceful_timeout: float = option(
        30.0,
        "--graceful-timeout --timeout-graceful-shutdown",
        seconds(0, _DAY),
        "After SIGTERM or SIGINT requests may finish for this long; then the process ends.",
        section=_TIME,
        metavar="SECONDS",
    )
    limit_request_line: int = option(
        8190,
        "--limit-request-line",
        size(64, 16 * 1024**2),
        "Longest request line, else 414.",
        section=_LIMIT,
        metavar="BYTES",
    )
    limit_request_fields: int = option(
        100,
        "--limit-request-fields",
        integer(1, 32768),
        "Most header fields of a request, else 431.",
        section=_LIMIT,
        metavar="N",
    )
    limit_request_field_size: int = option(
        8190,
        "--limit-request-field-size",
        size(64, 16 * 1024**2),
        "Longest header field, name and value, else 431.",
        section=_LIMIT,
        metavar="BYTES",
    )
    limit_request_head: int = option(
        65536,
        "--limit-request-head --limit-request-head-size",
        size(1024, 64 * 1024**2),
        "Longest request head, the request line and all fields together, else 431.",
        section=_LIMIT,
        metavar="BYTES",
    )
    limit_request_body: int = option(
        0,
        "--limit-request-body --request-body-max-size --max-request-body-size",
        size(1, _TIB, zero="no limit"),
        "Longest request body, else 413; 0 means no limit.",
        section=_LIMIT,
        metavar="BYTES",
    )
    server_header: bool = option(
        True,
        "--server-header",
        FLAG,
        "Send a Server header where the application sends none.",
        section=_ANSWER,
    )
    access_log: str = option(
        "",
        "--access-log --access-logs --access-logfile",
        LOG_FILE,
        """Log requests to FILE, or to standard output for "-" or when FILE is left out (then APP
        comes first).""",
        section=_LOG,
        metavar="FILE",
        default_text="off",
        bare="-",
    )
    access_log_format: str = option(
        "combined",
        "--access-log-format --access-logformat --access-log-fmt",
        ACCESS_FORMAT,
        'combined, common, json, or Apache atoms such as "%h %r %>s %b %D".',
        section=_LOG,
        metavar="FORMAT",
    )
    log_level: str = option(
        "info",
        "--log-level",
        choice("critical", "error", "warning", "info", "debug"),
        "Least important messages that are logged.",
        section=_LOG,
        metavar="LEVEL",
        default_text="info, or debug with --debug",
    )
    debug: bool = option(
        False,
        "--debug",
        FLAG,
        """For development: the traceback of a failed request goes into the response, and messages
        are logged at level debug unless --log-level says otherwise. Never where strangers see
        it.""",
        section=_LOG,
    )


@dataclass(frozen=True, slots=True)
class Shorthand:
    """Other ways to write `--bind`; `load` folds them into `Config.binds`."""

    host: str = option(
        DEFAULT_HOST,
        "--host",
        HOST,
        "Listen on this address, with --port.",
        section=_LISTEN,
        metavar="HOST",
        default_text=f"{DEFAULT_HOST}; 0.0.0.0 where $PORT decides",
    )
    port: int = option(
        DEFAULT_PORT,
        "--port",
        PORT,
        "Listen on this port, with --host.",
        section=_LISTEN,
        metavar="PORT",
        default_text=f"$PORT, else {DEFAULT_PORT}",
    )
    uds: str = option(
        "",
        "--uds --unix-socket",
        TEXT,
        "Listen on this unix socket.",
        section=_LISTEN,
        metavar="PATH",
    )
    fd: int = option(
        -1,
        "--fd",
        integer(0, 99999),
        "Listen on this inherited descriptor.",
        section=_LISTEN,
        metavar="NUMBER",
    )


@dataclass(frozen=True, slots=True)
class Invocation:
    """What to do instead of serving, and where the configuration is."""

    config_file: str = option(
        "",
        "-c --config",
        TEXT,
        """Read this TOML file: its top level, or [tool.nogilserve] of a file called
        pyproject.toml.""",
        section=_SELF,
        metavar="FILE",
        default_text="nogilserve.toml, else [tool.nogilserve] of pyproject.toml",
        scope="no file",
    )
    check_config: bool = option(
        False,
        "--check-config",
        FLAG,
        "Check the configuration, import APP, and end without listening.",
        section=_SELF,
        scope="argv",
    )
    print_config: bool = option(
        False,
        "--print-config",
        FLAG,
        "Print the settings in force and where each comes from, as TOML, and end.",
        section=_SELF,
        scope="argv",
    )
    version: bool = option(
        False,
        "-v --version",
        FLAG,
        "Print the version, the Python build and the state of the GIL, and end.",
        section=_SELF,
        scope="argv",
    )
    help: bool = option(
        False, "-h --help", FLAG, "Print this help and end.", section=_SELF, scope="argv"
    )


def _in_order() -> tuple[Option, ...]:
    declared = options_of(Config) + options_of(Shorthand) + options_of(Invocation)
    return tuple(sorted(declared, key=lambda item: SECTIONS.index(item.section)))


OPTIONS: Final = _in_order()
