"""The process: master, user, files; and when a generation gives way to the next."""

from typing import Final

from nogilserve.config.declare import group, option
from nogilserve.config.kinds import (
    ABSOLUTE_PATH,
    ACCOUNT,
    FLAG,
    GLOB,
    PID_FILE,
    TEXT,
    UMASK,
    integer,
    seconds,
    size,
)

__all__ = ["GENERATIONS", "PROCESS", "RELOADING", "Process"]

PROCESS: Final = "Process"
GENERATIONS: Final = "Generations"
RELOADING: Final = "Reloading"

_MONTH: Final = 31 * 86400
_TIB: Final = 1024**4
_MANY: Final = 10**12


@group
class _Identity:
    """Who the process is and where it is found."""

    master: bool = option(
        True,
        "--master",
        FLAG,
        """Keep a small process that listens and starts the serving one, its next generation on
        reload, and another after a crash. Without it one process serves alone, for containers that
        are restarted from outside.""",
        section=PROCESS,
    )
    pid_file: str = option(
        "",
        "-p --pid-file --pidfile --pid",
        PID_FILE,
        "Write the process id to FILE, and remove it at the end.",
        section=PROCESS,
        metavar="FILE",
    )
    control_socket: str = option(
        "",
        "--control-socket",
        TEXT,
        """The unix socket on which `nogilserve reload` and the other commands reach the running
        server.""",
        section=PROCESS,
        metavar="PATH",
        default_text="a place made from the addresses listened on",
    )
    user: str = option(
        "",
        "-u --user",
        ACCOUNT,
        "Give up root for this user once the sockets are bound.",
        section=PROCESS,
        metavar="USER",
        default_text="the user who started it",
    )
    group: str = option(
        "",
        "-g --group",
        ACCOUNT,
        "Change to this group once the sockets are bound.",
        section=PROCESS,
        metavar="GROUP",
        default_text="the group of --user, else the one it was started with",
    )
    umask: int | None = option(
        None,
        "-m --umask",
        UMASK,
        "Mode bits that files made by the server and the application do not get, octal.",
        section=PROCESS,
        metavar="MODE",
        default_text="the one it was started with",
    )


@group
class _Generations:
    """When a generation is ready, and when the next one replaces it."""

    ready_path: str = option(
        "",
        "--ready-path",
        ABSOLUTE_PATH,
        """A generation is ready, and the one before it stops, only when the application has
        answered GET on this path with a status below 400.""",
        section=GENERATIONS,
        metavar="PATH",
        default_text="ready when the application is imported and its start-up events are done",
    )
    ready_timeout: float = option(
        120.0,
        "--ready-timeout",
        seconds(0, 86400),
        "Give up a generation that is not ready within this time; 0 waits for ever.",
        section=GENERATIONS,
        metavar="SECONDS",
    )
    max_requests: int = option(
        0,
        "--max-requests --limit-max-requests",
        integer(0, _MANY),
        """Replace a generation after this many requests, without losing any; 0 means never. Helps
        against memory that grows.""",
        section=GENERATIONS,
        metavar="N",
    )
    max_requests_jitter: int = option(
        0,
        "--max-requests-jitter --limit-max-requests-jitter",
        integer(0, _MANY),
        "Add a random number from 0 to this to --max-requests, so that machines take turns.",
        section=GENERATIONS,
        metavar="N",
    )
    max_rss: int = option(
        0,
        "--max-rss",
        size(1024**2, _TIB, zero="no limit"),
        "Replace a generation whose resident memory exceeds this; 0 means no limit.",
        section=GENERATIONS,
        metavar="BYTES",
    )
    generation_lifetime: float = option(
        0.0,
        "--generation-lifetime --workers-lifetime",
        seconds(0, _MONTH),
        "Replace a generation after this time; 0 means never.",
        section=GENERATIONS,
        metavar="SECONDS",
    )
    stuck_threads: int = option(
        16,
        "--stuck-threads",
        integer(0, 4096),
        """Replace a generation in which this many threads are still inside requests that --timeout
        has given up; 0 means never.""",
        section=GENERATIONS,
        metavar="N",
    )


@group
class _Reloading:
    """Starting the next generation when a file changes."""

    dev: bool = option(
        False,
        "--dev",
        FLAG,
        """For development: --reload, --debug, an access log on standard output, one thread, and
        only 127.0.0.1 listened on. What is said otherwise goes before that.""",
        section=RELOADING,
    )
    reload: bool = option(
        False,
        "--reload --autoreload",
        FLAG,
        """For development: start again when a Python file changes, and show a page with the
        traceback while the application cannot be imported.""",
        section=RELOADING,
    )
    reload_dir: tuple[str, ...] = option(
        (),
        "--reload-dir",
        TEXT,
        """Watch this directory. Repeatable. Virtual environments and directories such as .git are
        left out.""",
        section=RELOADING,
        metavar="DIR",
        many=True,
        default_text="the working directory, and --app-dir",
    )
    reload_include: tuple[str, ...] = option(
        (),
        "--reload-include",
        GLOB,
        "Watch files that match this pattern too, such as *.html. Repeatable.",
        section=RELOADING,
        metavar="PATTERN",
        many=True,
        default_text="*.py and nogilserve.toml, always",
    )
    reload_exclude: tuple[str, ...] = option(
        (),
        "--reload-exclude",
        GLOB,
        "Leave alone files and directories that match this pattern. Repeatable.",
        section=RELOADING,
        metavar="PATTERN",
        many=True,
    )


@group
class Process(_Reloading, _Generations, _Identity):
    """The part of Config about processes."""
