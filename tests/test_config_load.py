"""Loading: precedence, where to listen, and errors that name what is wrong."""

import os
import select
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.config import Bind, Config, load, processors, resolve, to_argv
from nogilserve.config.options import OPTIONS
from nogilserve.config.peers import not_here
from nogilserve.errors import ConfigError

NOWHERE = Path(__file__).parent / "no such directory"
CORES = 4


def load_here(*argv: str, cwd: Path = NOWHERE, **environ: str) -> Config:
    """Load with an application given, four processors and no file unless `cwd` has one."""
    return load(["main:app", *argv], environ, cwd, CORES)


def test_defaults_are_the_documented_ones() -> None:
    """Without anything said, the suggested defaults are in force."""
    config = load_here()
    assert config.app == "main:app"
    assert (Bind("tcp", "127.0.0.1", 8000),) == config.binds
    assert (config.threads, config.workers) == (16, 4)
    assert (
        config.backlog,
        config.keep_alive,
        config.header_timeout,
        config.body_timeout,
        config.write_timeout,
        config.graceful_timeout,
    ) == (2048, 5.0, 10.0, 30.0, 60.0, 30.0)
    assert (
        config.limit_request_line,
        config.limit_request_fields,
        config.limit_request_field_size,
        config.limit_request_head,
        config.limit_request_body,
    ) == (8190, 100, 8190, 65536, 0)
    assert (
        config.access_log,
        config.access_log_format,
        config.log_level,
        config.debug,
        config.server_header,
    ) == ("", "combined", "info", False, True)
    assert config.uds_permissions == 0o660
    assert (
        config.loop,
        config.loops,
        config.lifespan,
        config.lifespan_scope,
        config.loop_bound,
        config.blocked_loop_timeout,
        config.root_path,
    ) == ("auto", 0, "auto", "auto", (), 0.25, "")
    assert (
        config.ws_ping_interval,
        config.ws_ping_timeout,
        config.ws_max_size,
        config.ws_per_message_deflate,
    ) == (20.0, 20.0, 16 * 1024**2, True)
    assert (
        config.master,
        config.pid_file,
        config.control_socket,
        config.user,
        config.group,
        config.umask,
        config.runtime,
    ) == (True, "", "", "", "", None, "auto")
    assert (
        config.ready_path,
        config.ready_timeout,
        config.max_requests,
        config.max_requests_jitter,
        config.max_rss,
        config.generation_lifetime,
        config.stuck_threads,
        config.timeout,
    ) == ("", 120.0, 0, 0, 0, 0.0, 16, 0.0)
    assert (
        config.reload,
        config.reload_dir,
        config.reload_include,
        config.reload_exclude,
    ) == (False, (), (), ())
    assert (
        config.proxy_headers,
        config.forwarded_allow_ips,
        config.forwarded_fields,
        config.proxy_protocol,
        config.proxy_protocol_from,
    ) == (
        True,
        ("127.0.0.1", "::1", "unix"),
        ("x-forwarded-for", "x-forwarded-proto", "forwarded"),
        "off",
        ("127.0.0.1", "::1", "unix"),
    )


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--autoreload"], {"reload": True}),
        (["--no-master"], {"master": False}),
        (["--no-ws-per-message-deflate"], {"ws_per_message_deflate": False}),
        (["--loops=auto"], {"loops": 0}),
        (["--asgi-loop=UVLOOP", "--asgi-lifespan=off"], {"loop": "uvloop", "lifespan": "off"}),
        (["--slow-callback-duration=0"], {"blocked_loop_timeout": 0.0}),
        (["-u", "33", "-g", "www-data", "-m", "022"], {"user": "33", "group": "www-data"}),
        (["-p", "run/80.pid", "-t", "30"], {"pid_file": "run/80.pid", "timeout": 30.0}),
        (["--pid=x"], {"pid_file": "x"}),
        (["--umask=000"], {"umask": 0}),
        (["--max-rss=1G"], {"max_rss": 1024**3}),
        (["--root-path=/"], {"root_path": ""}),
        (["--root-path=/a/b"], {"root_path": "/a/b"}),
        (["--loop-bound=a.b:C", "--loop-bound=d:E.F"], {"loop_bound": ("a.b:C", "d:E.F")}),
        (
            ["--limit-max-requests=5", "--limit-max-requests-jitter=2"],
            {"max_requests": 5, "max_requests_jitter": 2},
        ),
        (["--workers-lifetime=2h"], {"generation_lifetime": 7200.0}),
        (["--websocket-max-message-size=1m"], {"ws_max_size": 1024**2}),
        (["--no-proxy-headers"], {"proxy_headers": False}),
        (
            ["--forwarded-allow-ips=10.0.0.0/8, [::1],unix", "--forwarded-allow-ips=*"],
            {"forwarded_allow_ips": ("10.0.0.0/8", "::1", "unix", "*")},
        ),
        (["--proxy-allow-from=192.0.2.1/32"], {"proxy_protocol_from": ("192.0.2.1",)}),
    ],
)
def test_spellings_of_other_servers_mean_the_same(
    argv: list[str], expected: Mapping[str, object]
) -> None:
    """What gunicorn, uvicorn, hypercorn and Granian call an option is taken here too."""
    config = load_here(*argv)
    assert expected == {name: getattr(config, name) for name in expected}


@pytest.mark.parametrize(("cores", "expected"), [(1, (16, 1)), (4, (16, 4)), (32, (128, 32))])
def test_default_threads_and_workers_follow_the_processors(
    cores: int, expected: tuple[int, int]
) -> None:
    """Four threads for each processor, at least 16; a core for each processor."""
    config = load(["a"], {}, NOWHERE, cores)
    assert expected == (config.threads, config.workers)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("max 100000", None),
        ("", None),
    ],
)
def test_processors_honour_a_container_quota(
    tmp_path: Path, content: str, expected: int | None
) -> None:
    """A CPU quota counts, rounded up, but never for more than the processors there are."""
    everything = processors(tmp_path)
    (tmp_path / "cpu.max").write_text(content)
    assert min(everything, expected or everything) == processors(tmp_path)


@pytest.mark.parametrize(
    "argv",
    [
        ["main:app", "--threads", "7"],
        ["--threads", "7", "main:app"],
        ["--threads=7", "--app", "main:app"],
        ["--threads", "2", "main:app", "--threads=7"],
    ],
)
def test_application_may_stand_anywhere(argv: list[str]) -> None:
    """APP is the first argument that is no option, or --app; the last of two values counts."""
    config = load(argv, {}, NOWHERE, CORES)
    assert (config.app, config.threads) == ("main:app", 7)


def test_every_long_option_may_be_written_with_underscores() -> None:
    """--limit_request-field_size and the like are the same option; values keep underscores."""
    config = load_here("--limit_request-field_size", "1000", "--access_log=a_b")
    assert (config.limit_request_field_size, config.access_log) == (1000, "a_b")


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    """Write nogilserve.toml; returns its directory."""

    def write(text: str) -> Path:
        (tmp_path / "nogilserve.toml").write_text(text)
        return tmp_path

    return write


def test_precedence(file: Callable[[str], Path]) -> None:
    """Command line before NOGILSERVE_* before file before conventional variables."""
    cwd = file("threads = 30\nworkers = 3\nbacklog = 300\nlog_level = 'error'\n")
    config = load_here(
        "--threads=10",
        cwd=cwd,
        NOGILSERVE_THREADS="20",
        NOGILSERVE_BACKLOG="200",
        WEB_CONCURRENCY="9",
        NOGILSERVE_LOG_LEVEL="",
    )
    assert (
        config.threads,
        config.workers,
        config.backlog,
        config.log_level,
    ) == (10, 3, 200, "error")


def test_origins_are_known(file: Callable[[str], Path]) -> None:
    """Each setting knows the place that decided it."""
    cwd = file("backlog = 300\n")
    resolved = resolve(
        ["m", "--threads=9", "--debug"],
        {"NOGILSERVE_KEEP_ALIVE": "9", "WEB_CONCURRENCY": "2", "PORT": "5000"},
        cwd,
        CORES,
    )
    assert {
        "app": "the command line",
        "threads": "the command line",
        "debug": "the command line",
        "keep_alive": "NOGILSERVE_KEEP_ALIVE",
        "backlog": f"{cwd / 'nogilserve.toml'}, line 1, key backlog",
        "workers": "WEB_CONCURRENCY",
        "binds": "PORT",
        "log_level": "--debug",
    } == resolved.origins


def test_development(file: Callable[[str], Path]) -> None:
    """--dev stands below what anybody says, and above what a platform sets for everybody."""
    cwd = file("dev = true\naccess_log = ''\n")
    config = load_here(cwd=cwd, PORT="5000", WEB_CONCURRENCY="4")
    assert (config.reload, config.debug, config.log_level) == (True, True, "debug")
    assert (config.threads, config.workers, config.access_log) == (1, 1, "")
    assert [str(bind) for bind in config.binds] == ["127.0.0.1:5000"]
    config = load_here("--dev", "--no-reload", "--bind=0.0.0.0:9000", "--workers=3")
    assert (config.reload, config.debug, config.threads, config.workers) == (False, True, 3, 3)
    assert [str(bind) for bind in config.binds] == ["0.0.0.0:9000"]
    assert not load_here("--no-dev", cwd=cwd).reload


@pytest.mark.parametrize(
    ("argv", "level"),
    [
        (["--debug"], "debug"),
        (["--debug", "--log-level=error"], "error"),
        (["--debug", "--no-debug"], "info"),
    ],
)
def test_debug_lowers_the_log_level_unless_it_is_given(argv: list[str], level: str) -> None:
    """--debug means level debug, but an explicit level wins."""
    assert level == load_here(*argv).log_level


def test_file_of_pyproject(tmp_path: Path) -> None:
    """[tool.nogilserve] counts where there is no nogilserve.toml, and only then."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname='x'\n[tool.nogilserve]\nthreads=5\n")
    assert load_here(cwd=tmp_path).threads == 5
    (tmp_path / "nogilserve.toml").write_text("backlog = 10\n")
    assert load_here(cwd=tmp_path).threads == 16


def test_given_file_replaces_the_found_one(file: Callable[[str], Path]) -> None:
    """--config reads that file alone, relative to where the command was started."""
    cwd = file("threads = 30\n")
    (cwd / "other.toml").write_text("backlog = 7\n")
    for config in (
        load_here("-c", "other.toml", cwd=cwd),
        load_here(cwd=cwd, NOGILSERVE_CONFIG="other.toml"),
    ):
        assert (config.threads, config.backlog) == (16, 7)


def test_file_is_looked_for_in_the_working_directory(tmp_path: Path) -> None:
    """--chdir decides where nogilserve.toml, environment files and --app-dir are found."""
    folder = tmp_path / "site"
    (folder / "src").mkdir(parents=True)
    (folder / "nogilserve.toml").write_text("threads = 5\nenv-file = '.env'\napp-dir = 'src'\n")
    (folder / ".env").write_text("COLOUR=red\n")
    resolved = resolve(["m", "--chdir", "site"], {}, tmp_path)
    assert (
        resolved.config.threads,
        resolved.config.chdir,
        resolved.config.app_dir,
    ) == (5, "site", "src")
    assert resolved.environment == {"COLOUR": "red"}


def test_toml_takes_its_own_types(file: Callable[[str], Path]) -> None:
    """Numbers, booleans, lists and a table of variables are written as TOML has them."""
    cwd = file(
        """
        bind = ["127.0.0.1:1", "unix:x"]
        keep_alive = 2.5
        header-timeout = "500ms"
        factory = true
        access-log = true
        limit-request-body = "10MiB"
        env = { A = "1", B = "x=y" }
        """
    )
    config = load_here(cwd=cwd)
    assert (Bind("tcp", "127.0.0.1", 1), Bind("unix", path="x")) == config.binds
    assert (
        config.keep_alive,
        config.header_timeout,
        config.factory,
        config.access_log,
        config.limit_request_body,
    ) == (2.5, 0.5, True, "-", 10 * 1024**2)
    assert config.env == (("A", "1"), ("B", "x=y"))


def test_environment_files_and_variables(tmp_path: Path) -> None:
    """What exists wins over files, later files over earlier ones, --env over everything."""
    (tmp_path / "one").write_text("A=one\nB=one\nC=one\nNOGILSERVE_THREADS=3\nPORT=1234\n")
    (tmp_path / "two").write_text("B=two\n")
    resolved = resolve(
        ["m", "--env-file=one", "--env-file=two", "-e", "C=given", "-e", "D=given"],
        {"A": "exists", "D": "exists"},
        tmp_path,
        CORES,
    )
    assert resolved.environment == {
        "B": "two",
        "C": "given",
        "D": "given",
        "NOGILSERVE_THREADS": "3",
        "PORT": "1234",
    }
    assert (resolved.config.threads, str(resolved.config.binds[0])) == (3, "0.0.0.0:1234")


LISTEN: list[tuple[Sequence[str], Mapping[str, str], str, Sequence[str]]] = [
    ([], {}, "", ["127.0.0.1:8000"]),
    (["-b", ":1", "--bind=unix:x", "-l", "[::1]:2", "--listen", "fd://5"], {}, "",
     [":1", "unix:x", "[::1]:2", "fd://5"]),
    (["--port", "0"], {}, "", ["127.0.0.1:0"]),
    (["--host", "::"], {}, "", ["[::]:8000"]),
    (["--host", "h", "--port", "1", "--uds", "s", "--fd", "3"], {}, "", ["h:1", "unix:s", "fd://3"]),
    ([], {"PORT": "5000"}, "", ["0.0.0.0:5000"]),
    ([], {"PORT": ""}, "", ["127.0.0.1:8000"]),
    (["--host", "h"], {"PORT": "5000"}, "", ["h:5000"]),
    (["--port", "1"], {"PORT": "5000"}, "", ["127.0.0.1:1"]),
    (["-b", ":1"], {"PORT": "nonsense"}, "", [":1"]),
    (["--port", "1"], {"NOGILSERVE_HOST": "h"}, "port = 2", ["h:1"]),
    (["--port", "1"], {}, "host = 'h'", ["h:1"]),
    (["--port", "1"], {}, "bind = 'h:2'", ["127.0.0.1:1"]),
    ([], {"NOGILSERVE_BIND": "a:1, b:2"}, "bind = 'h:2'", ["a:1", "b:2"]),
    ([], {"NOGILSERVE_LISTEN": "a:1"}, "", ["a:1"]),
    ([], {"PORT": "5000"}, "host = 'h'", ["h:5000"]),
    ([], {"PORT": "5000"}, "bind = 'h:2'", ["h:2"]),
    ([], {"PORT": "5000", "LISTEN_FDS": "2"}, "", ["fd://3", "fd://4"]),
    ([], {"LISTEN_FDS": "2", "LISTEN_PID": "1"}, "", ["127.0.0.1:8000"]),
    ([], {"LISTEN_FDS": "0"}, "", ["127.0.0.1:8000"]),
    ([], {"LISTEN_FDS": "x"}, "", ["127.0.0.1:8000"]),
    (["--fd", "4"], {"LISTEN_FDS": "2"}, "", ["fd://4"]),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "environ", "toml", "expected"), LISTEN)
def test_where_to_listen(
    file: Callable[[str], Path],
    own_pid: str,
    argv: Sequence[str],
    environ: Mapping[str, str],
    toml: str,
    expected: Sequence[str],
) -> None:
    """The highest place that says where to listen decides; host and port complete each other."""
    if "LISTEN_FDS" in environ:
        environ = {"LISTEN_PID": own_pid, **environ}
    config = load(["m", *argv], environ, file(toml), CORES)
    assert list(expected) == [str(bind) for bind in config.binds]


@pytest.fixture
def own_pid() -> str:
    """The process that LISTEN_PID must name."""
    return str(os.getpid())


WRONG: list[tuple[Sequence[str], Mapping[str, str], Sequence[str]]] = [
    (["--treads", "3"], {}, ["--treads", "did you mean --threads?"]),
    (["--quux"], {}, ["unknown option --quux"]),
    (["-q"], {}, ["unknown option -q"]),
    (["--reload-engine=poll"], {}, ["option --reload-engine: files are watched"]),
    (["--no_preload-app"], {}, ["--no-preload-app: the application is imported once anyway"]),
    (["--ssl-crl=x"], {}, ["option --ssl-crl: lists of revoked certificates"]),
    (["--keyfile=x"], {}, ["option --keyfile: there are 1 keys and 0 certificates"]),
    (["-k", "gthread"], {}, ["option -k: that is gunicorn's --worker-class: threads are what"]),
    (["-tsoon"], {}, ["--timeout", "'soon'", "seconds from 0"]),
    (["-p", "80"], {}, ["--pid-file", "'80'", "for the port write --port"]),
    (["-D"], {}, ["-D: that is gunicorn's --daemon", "systemd", "docs/operations.md#systemd"]),
    (["--no-daemon"], {}, ["option --no-daemon", "systemd"]),
    (["--ws=auto"], {}, ["option --ws: there is one implementation of WebSocket"]),
    (["--workers-max-rss=512"], {}, ["--workers-max-rss", "--max-rss 512MiB"]),
    (["--loop=trio"], {}, ["--loop", "'trio'", "auto, asyncio, uvloop"]),
    (["--loops=-1"], {}, ["--loops", "'-1'", "auto or a whole number from 1 to 1024"]),
    (["--lifespan=maybe"], {}, ["--lifespan", "'maybe'", "auto, on, off"]),
    (["--lifespan-scope=app"], {}, ["--lifespan-scope", "'app'", "auto, loop, generation"]),
    (["--loop-bound=Pool"], {}, ["--loop-bound", "'Pool'", "module:Class"]),
    (["--slow-callback-duration=-1"], {}, ["--blocked-loop-timeout", "'-1'", "seconds from 0"]),
    (["--ws-ping-interval=often"], {}, ["--ws-ping-interval", "'often'", "seconds from 0"]),
    (["--ws-ping-timeout=2d"], {}, ["--ws-ping-timeout", "'2d'", "seconds from 0"]),
    (["--ws-max-size=0"], {}, ["--ws-max-size", "'0'", "bytes from 1"]),
    (["--ws-per-message-deflate=1"], {}, ["--ws-per-message-deflate", "takes no value"]),
    (["--root-path=shop"], {}, ["--root-path", "'shop'", "write /shop"]),
    (["--root-path=/shop/"], {}, ["--root-path", "'/shop/'", "write /shop;"]),
    (["--root-path=/a%20b"], {}, ["--root-path", "without percent signs"]),
    (["--root-path=/a/../b"], {}, ["--root-path", "segment"]),
    (["--runtime=fibers"], {}, ["--runtime", "'fibers'", "threads, subinterpreters, processes"]),
    (["--reload=yes"], {}, ["--reload", "takes no value"]),
    (["--reload-dir="], {}, ["--reload-dir", "it is empty"]),
    (["--reload-include="], {}, ["--reload-include", "a pattern such as"]),
    (["--reload-exclude="], {}, ["--reload-exclude", "a pattern such as"]),
    (["--ready-path=health"], {}, ["--ready-path", "'health'", "write /health"]),
    (["--ready-path=/a b"], {}, ["--ready-path", "'/a b'", "as a client sends it"]),
    (["--ready-timeout=never"], {}, ["--ready-timeout", "'never'", "seconds from 0"]),
    (["--max-requests=1k"], {}, ["--max-requests", "'1k'", "whole number"]),
    (["--limit-max-requests-jitter=x"], {}, ["--max-requests-jitter", "'x'", "whole number"]),
    (["--max-requests-jitter=5"], {}, ["--max-requests-jitter", "5", "without --max-requests"]),
    (["--max-rss=512"], {}, ["--max-rss", "'512'", "1048576", "64KiB"]),
    (["--workers-lifetime=1y"], {}, ["--generation-lifetime", "'1y'", "seconds from 0"]),
    (["--stuck-threads=many"], {}, ["--stuck-threads", "'many'", "whole number"]),
    (["--user=www data"], {}, ["--user", "'www data'", "a name or a number"]),
    (["--group=www:data"], {}, ["--group", "'www:data'", "a name or a number"]),
    (["--umask=22"], {}, ["--umask", "'22'", '"022"']),
    (["--control-socket="], {}, ["--control-socket", "it is empty"]),
    (["--forwarded-allow-ips=10.0.0.0/33"], {}, ["--forwarded-allow-ips", "10.0.0.0/8, unix"]),
    (["--forwarded-allow-ips=10.1.0.0/8"], {}, ["'10.1.0.0/8'", "write 10.0.0.0/8, or 10.1.0.0"]),
    (["--forwarded-allow-ips=localhost"], {}, ["'localhost'", "names are not looked up"]),
    (["--forwarded-allow-ips=10.0.0.1,"], {}, ["--forwarded-allow-ips", "''"]),
    ([], {"FORWARDED_ALLOW_IPS": "::1 10.0.0.1"}, ["--forwarded-allow-ips", "FORWARDED_ALLOW_IPS"]),
    (["--forwarded-fields=x-real-ip"], {}, ["--forwarded-fields", "x-forwarded-for, x-forw"]),
    (["--proxy-protocol=v1"], {}, ["--proxy-protocol", "'v1'", "off, optional, required"]),
    (["--proxy-protocol-from=lb"], {}, ["--proxy-protocol-from", "'lb'", "unix, or *"]),
    (["--header-map=drop"], {}, ["--header-map", "underscore"]),
    (["other:app"], {}, ["unexpected argument 'other:app'", "'main:app'"]),
    (["--app=other:app"], {}, ["unexpected argument 'main:app'", "'other:app'"]),
    (["--threads"], {}, ["--threads", "a value is missing", "from 1 to 4096"]),
    (["--debug=yes"], {}, ["--debug", "takes no value"]),
    (["--threads=0"], {}, ["--threads", "'0'", "the command line", "from 1 to 4096"]),
    (["-w", "-1"], {}, ["--workers", "'-1'", "from 1 to 1024"]),
    (["--timeout-keep-alive", "soon"], {}, ["--keep-alive", "'soon'", "seconds"]),
    (["--interface", "rsgi"], {}, ["--interface", "'rsgi'", "auto, wsgi, asgi"]),
    (["--log-level=loud"], {}, ["--log-level", "'loud'", "critical, error, warning"]),
    (["--limit-request-body=10 pounds"], {}, ["--limit-request-body", "'pounds'", "10MB"]),
    (["-b", "::1"], {}, ["--bind", "'::1'", "[::1]:8000"]),
    (["-b", ":1", "-b", ":1"], {}, ["--bind", ":1", "twice"]),
    (["-b", ":1", "--port=2"], {}, ["--bind", "--port", "HOST:PORT"]),
    (["--uds-permissions", "999"], {}, ["--uds-permissions", "octal"]),
    (["--threads=2", "--workers=3"], {}, ["--workers", "3", "--threads 2"]),
    (["--limit-request-line=70000"], {}, ["--limit-request-line", "--limit-request-head 65536"]),
    (["--access-log-format=%Q"], {}, ["--access-log-format", "'%Q'", "no known atom"]),
    (["--access-logformat=%(h)s"], {}, ["--access-log-format", "%h and %{Referer}i, not %(h)s"]),
    (["--poller", "kqueue"], {}, ["--poller", "no kqueue"]),
    (["-c", ""], {}, ["--config", "it is empty"]),
    (["-c", "missing.toml"], {}, ["--config", "missing.toml", "No such file"]),
    (["-c", "gunicorn.conf.py"], {}, ["--config", "TOML"]),
    (["--chdir", "missing"], {}, ["--chdir", "'missing'", "not a directory"]),
    (["--app-dir", "missing"], {}, ["--app-dir", "'missing'", "not a directory"]),
    (["--env-file", "missing"], {}, ["--env-file", "'missing'", "No such file"]),
    (["-e", "SECRET"], {}, ["--env", "a text without =", "passed on anyway", "NAME=VALUE"]),
    ([], {"NOGILSERVE_TREADS": "3"}, ["NOGILSERVE_TREADS", "did you mean NOGILSERVE_THREADS?"]),
    ([], {"NOGILSERVE_WS": "1"}, ["environment variable NOGILSERVE_WS: there is one"]),
    ([], {"NOGILSERVE_RELOAD": "if"}, ["--reload", "'if'", "NOGILSERVE_RELOAD", "true or false"]),
    ([], {"NOGILSERVE_WORKER_CLASS": "x"}, ["NOGILSERVE_WORKER_CLASS: threads are what"]),
    ([], {"NOGILSERVE_TIMEOUTS": "3"}, ["unknown environment variable NOGILSERVE_TIMEOUTS"]),
    ([], {"NOGILSERVE_PORT": "tcp://10.0.0.1:80"}, ["NOGILSERVE_PORT", "Kubernetes", "65535"]),
    ([], {"NOGILSERVE_THREADS": "many"}, ["--threads", "'many'", "NOGILSERVE_THREADS"]),
    ([], {"NOGILSERVE_BIND": "a:1", "NOGILSERVE_LISTEN": "a:1"}, ["both set --bind"]),
    ([], {"NOGILSERVE_CHECK_CONFIG": "1"}, ["unknown environment variable"]),
    ([], {"WEB_CONCURRENCY": "auto"}, ["--workers", "'auto'", "WEB_CONCURRENCY"]),
    ([], {"PORT": "http"}, ["--port", "'http'", "PORT"]),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "environ", "words"), WRONG)
def test_errors_name_option_value_place_and_what_is_allowed(
    tmp_path: Path, argv: Sequence[str], environ: Mapping[str, str], words: Sequence[str]
) -> None:
    """Each mistake is a ConfigError in one sentence that says what to change."""
    if "kqueue" in argv and hasattr(select, "kqueue"):
        pytest.skip("this system has kqueue")
    with pytest.raises(ConfigError) as caught:
        load(["main:app", *argv], environ, tmp_path, CORES)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("treads = 3", ["'treads'", "did you mean threads?"]),
        ("preload = true", ["key 'preload' in", "the application is imported once anyway"]),
        ("worker_tmp_dir = 'x'", ["key 'worker_tmp_dir' in", "no worker processes"]),
        ("umask = 22", ["--umask", "22", "octal"]),
        ("loops = 'all'", ["--loops", "'all'", "auto or a whole number"]),
        ("threads = true", ["--threads: true from", "key threads", "whole number"]),
        ("threads = 2.0", ["--threads", "2.0"]),
        ("threads = [2]", ["--threads", "[2]"]),
        ("threads = 0", ["--threads", "'0'", "key threads", "from 1 to 4096"]),
        ("uds-permissions = 660", ["--uds-permissions", "660", "octal"]),
        ("debug = 1", ["--debug", "true or false"]),
        ("bind = 8000", ["--bind", "8000"]),
        ("bind = [['a']]", ["--bind"]),
        ("env = ['SECRET-without-equals']", ["--env", "NAME=VALUE"]),
        ("keep_alive = 1\ntimeout-keep-alive = 2", ["--keep-alive", "twice"]),
        ("check-config = true", ["unknown key 'check-config'"]),
        ("chdir = 'x'", ["--chdir cannot stand in"]),
        ("threads =", ["not valid TOML"]),
        ("[limits]\nrequest-line = 1", ["unknown key 'limits'"]),
    ],
)
def test_errors_in_files_name_file_and_key(
    file: Callable[[str], Path], toml: str, words: Sequence[str]
) -> None:
    """A mistake in a file is found with the file's name and the key."""
    cwd = file(toml)
    with pytest.raises(ConfigError) as caught:
        load_here(cwd=cwd)
    for word in [*words, "nogilserve.toml"]:
        assert word in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_missing_application_hints_at_a_swallowed_one() -> None:
    """Without APP the message shows the usage, and what --access-log may have taken for a file."""
    with pytest.raises(ConfigError, match=r"no application given: nogilserve module:attribute$"):
        load([], {}, NOWHERE)
    with pytest.raises(ConfigError, match="'main:app' is it, write it before --access-log"):
        load(["--access-log", "main:app"], {}, NOWHERE)


def test_conventional_variable_of_proxies(file: Callable[[str], Path]) -> None:
    """FORWARDED_ALLOW_IPS counts, as with gunicorn and uvicorn, where nothing else is said."""
    value = "10.0.0.1,10.1.0.0/16"
    config = load_here(FORWARDED_ALLOW_IPS=value)
    assert config.forwarded_allow_ips == ("10.0.0.1", "10.1.0.0/16")
    cwd = file("forwarded-allow-ips = ['::1', 'unix']\n")
    config = load_here(cwd=cwd, FORWARDED_ALLOW_IPS=value)
    assert config.forwarded_allow_ips == ("::1", "unix")


def test_conventional_worker_count_bows_to_threads() -> None:
    """WEB_CONCURRENCY is set by platforms for servers of processes; it is no contradiction."""
    config = load_here("--threads=2", WEB_CONCURRENCY="8")
    assert (config.threads, config.workers) == (2, 2)


@pytest.mark.parametrize(
    ("argv", "environ", "expected"),
    [
        (["-w", "17"], {}, (17, 17)),
        (["-w", "3"], {}, (16, 3)),
        ([], {"WEB_CONCURRENCY": "40"}, (40, 40)),
        (["--threads=18"], {"WEB_CONCURRENCY": "40"}, (18, 18)),
    ],
)
def test_threads_follow_the_workers(
    argv: list[str], environ: dict[str, str], expected: tuple[int, int]
) -> None:
    """Where nothing is said about threads, there are enough for the cores that were asked for."""
    config = load(["main:app", *argv], environ, NOWHERE, CORES)
    assert expected == (config.threads, config.workers)


@pytest.mark.parametrize("name", [name for option in OPTIONS for name in option.names])
def test_no_option_of_ours_is_explained_away(name: str) -> None:
    """The answers to other servers' options take none of this server's spellings."""
    assert not_here(f"--{name}") == ""
    assert not_here(name) == ""


@pytest.mark.parametrize("flag", [f for o in OPTIONS for f in o.flags if not f.startswith("--")])
def test_no_short_option_of_ours_is_explained_away(flag: str) -> None:
    """The same for one-letter options."""
    assert not_here(flag) == ""


@pytest.mark.parametrize(
    "option", ["--treads", "--worker", "--acess-log", "--limit-request-bodies", "--keepalive"]
)
def test_near_spellings_are_suggested(option: str) -> None:
    """A slip of the finger is answered with the option that was meant."""
    with pytest.raises(ConfigError, match=r"did you mean --"):
        load_here(option)


@pytest.mark.parametrize("option", ["--diagnostics", "--graceful", "--limits", "--env-prefix"])
def test_distant_spellings_are_not(option: str) -> None:
    """No guess is better than a wrong one."""
    with pytest.raises(ConfigError, match=rf"^unknown option {option}$"):
        load_here(option)


@pytest.mark.parametrize(
    "variable",
    [
        "NOGILSERVE_PYTHON",
        "NOGILSERVE_PYTHON_SOURCE",
        "NOGILSERVE_BUNDLES",
        "NOGILSERVER",
        "OTHER",
        "NOGILSERVE_SERVICE_HOST",
        "NOGILSERVE_SERVICE_PORT",
        "NOGILSERVE_SERVICE_PORT_HTTP",
        "NOGILSERVE_PORT_80_TCP",
        "NOGILSERVE_PORT_80_TCP_ADDR",
    ],
)
def test_foreign_variables_are_left_alone(variable: str) -> None:
    """The tooling's own variable, those of Kubernetes and others are not the server's business."""
    assert load_here() == load(["main:app"], {variable: "x"}, NOWHERE, CORES)


def test_environment_file_cannot_say_where_it_is(tmp_path: Path) -> None:
    """A variable that would have to be known before the file is read is refused in it."""
    (tmp_path / ".env").write_text("NOGILSERVE_CONFIG=x.toml\n")
    with pytest.raises(ConfigError, match=r"NOGILSERVE_CONFIG cannot stand in \.env"):
        load_here("--env-file=.env", cwd=tmp_path)


# ---- round trip ------------------------------------------------------------------------------

TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
)
NAMES = st.from_regex(r"[a-z][a-z0-9.-]{0,12}", fullmatch=True)
BINDS = st.one_of(
    st.builds(
        lambda host, port: Bind("tcp", host, port), NAMES | st.just(""), st.integers(0, 65535)
    ),
    st.builds(lambda port: Bind("tcp", "::1", port), st.integers(0, 65535)),
    st.builds(lambda path: Bind("unix", path="x" + path), TEXTS),
    st.builds(lambda fd: Bind("fd", fd=fd), st.integers(0, 999)),
)
NETWORKS = st.one_of(
    st.sampled_from(["*", "unix"]), st.ip_addresses().map(str), st.just("10.0.0.0/8")
)
TIMES = st.integers(1, 86_400_000).map(lambda value: value / 1000)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Any Config that the checks let pass."""
    threads = draw(st.integers(1, 4096))
    head = draw(st.integers(1024, 64 * 1024**2))
    part = st.integers(64, min(head, 16 * 1024**2))
    values: dict[str, Any] = {
        "app": draw(TEXTS),
        "interface": draw(st.sampled_from(["auto", "wsgi", "asgi"])),
        "root_path": draw(st.sampled_from(["", "/shop", "/a/b", "/ä b"])),
        "forwarded_allow_ips": tuple(draw(st.lists(NETWORKS, min_size=1, max_size=3))),
        "proxy_headers": draw(st.booleans()),
        "proxy_protocol": draw(st.sampled_from(["off", "optional", "required"])),
        "loops": draw(st.integers(0, 1024)),
        "loop_bound": tuple(draw(st.lists(st.sampled_from(["a:B", "c.d:E.F"]), max_size=2))),
        "ws_max_size": draw(st.integers(1, 1024**4)),
        "ws_per_message_deflate": draw(st.booleans()),
        "master": draw(st.booleans()),
        "pid_file": draw(st.sampled_from(["", "x.pid"])),
        "user": draw(st.sampled_from(["", "nobody", "65534"])),
        "umask": draw(st.none() | st.integers(0, 0o777)),
        "ready_path": draw(st.sampled_from(["", "/", "/health?full=1"])),
        "max_requests": draw(st.integers(1, 10**12)),
        "max_requests_jitter": draw(st.integers(0, 10**12)),
        "max_rss": draw(st.just(0) | st.integers(1024**2, 1024**4)),
        "reload": draw(st.booleans()),
        "reload_include": tuple(draw(st.lists(st.sampled_from(["*.html", "a/*"]), max_size=2))),
        "runtime": draw(st.sampled_from(["auto", "threads", "processes"])),
        "factory": draw(st.booleans()),
        "env": tuple(draw(st.lists(st.tuples(NAMES, TEXTS | st.just("")), max_size=2))),
        "binds": tuple(draw(st.lists(BINDS, min_size=1, max_size=4, unique=True))),
        "uds_permissions": draw(st.integers(0, 0o777)),
        "backlog": draw(st.integers(1, 65535)),
        "threads": threads,
        "workers": draw(st.integers(1, min(threads, 1024))),
        "poller": draw(st.sampled_from(["auto", "select"])),
        "limit_request_head": head,
        "limit_request_line": draw(part),
        "limit_request_field_size": draw(part),
        "limit_request_fields": draw(st.integers(1, 32768)),
        "limit_request_body": draw(st.integers(0, 1024**4)),
        "server_header": draw(st.booleans()),
        "access_log": draw(st.sampled_from(["", "-", "file.log", "-x"])),
        "access_log_format": draw(st.sampled_from(["common", "json", '%h "%r" %>s'])),
        "log_level": draw(st.sampled_from(["critical", "error", "warning", "info", "debug"])),
        "debug": draw(st.booleans()),
        **{
            name: draw(TIMES)
            for name in (
                "keep_alive",
                "header_timeout",
                "body_timeout",
                "write_timeout",
                "graceful_timeout",
                "timeout",
                "ready_timeout",
                "blocked_loop_timeout",
                "ws_ping_interval",
            )
        },
    }
    return Config(**values)


@given(configs())
def test_round_trip_by_the_command_line(config: Config) -> None:
    """`load(to_argv(c)) == c`: what can be set can be said, and nothing is lost on the way."""
    assert config == load(to_argv(config), {}, NOWHERE)


@given(configs())
def test_round_trip_by_the_environment(config: Config) -> None:
    """The same through NOGILSERVE_* variables, as far as lists need no comma and names no NUL."""
    environ = {}
    for option in OPTIONS:
        if not hasattr(config, option.field) or option.field == "env":
            continue
        texts = option.shown(getattr(config, option.field))
        if any("," in text or text != text.strip() for text in texts) and option.many:
            return
        environ["NOGILSERVE_" + option.name.replace("-", "_").upper()] = ",".join(texts)
    argv = [f"--env={name}={value}" for name, value in config.env]
    assert config == load(argv, environ, NOWHERE)


@given(st.lists(st.text(max_size=15) | st.sampled_from([o.flag for o in OPTIONS]), max_size=5))
def test_any_command_line_gives_a_config_or_a_config_error(argv: list[str]) -> None:
    """No command line makes loading fail in any other way."""
    try:
        config = load(argv, {}, NOWHERE)
    except ConfigError:
        return
    assert config.app or {"-h", "--help", "-v", "--version"} & set(argv)


def test_no_public_authority_certifies_localhost(tmp_path: Path) -> None:
    """It is said at once, not after the first attempt; an authority of one's own may do so."""
    for name in ("localhost", "app.localhost"):
        with pytest.raises(ConfigError, match="--tls-internal"):
            resolve(["m:a", "--domain", name], {}, tmp_path)
        own = ["--domain", name, "--acme-directory=https://ca.example/dir"]
        assert resolve(["m:a", *own], {}, tmp_path).config.domains == (name,)
