"""The flags of `caddy python-server`."""

import sys
from pathlib import Path

import pytest

from nogilserve.caddyfile import flags
from nogilserve.caddyfile.flags import HELP, translate_flags
from nogilserve.cli import main
from nogilserve.config import load
from nogilserve.errors import ConfigError


def translated(*argv: str, environ: dict[str, str] | None = None, there: str = "") -> list[str]:
    """The options; `there` is the one directory that exists."""
    return translate_flags(argv, environ or {}, lambda path: path == there)


BASE = {"--compress=auto", "--keep-alive=30"}


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ("-t wsgi -a main:app", {"--interface=wsgi", "--app=main:app", "--bind=127.0.0.1:9080"}),
        (
            "--server-type=asgi --app=main:app -l :8000 -w4",
            {"--interface=asgi", "--app=main:app", "--lifespan=off", "--bind=:8000", "--workers=4"},
        ),
        (
            "-t asgi -a m:a --lifespan on --runtime native --workers 0 --debug --autoreload",
            {
                *("--interface=asgi", "--app=m:a", "--lifespan=on", "--loop=asyncio"),
                *("--log-level=debug", "--reload", "--bind=127.0.0.1:9080"),
            },
        ),
        (
            "-a m:a -l :1",
            {"--interface=auto", "--app=m:a", "--lifespan=off", "--bind=:1"},
        ),
        (
            "-t wsgi -a m:a --domain a.test --access-logs=true --debug=false",
            {
                *("--interface=wsgi", "--app=m:a", "--domain=a.test"),
                *("--access-log=-", "--access-log-format=json"),
            },
        ),
        (
            """-t wsgi -a m:a --listen :1 --working-dir /w --venv /v --python-path /p
            --env-file .env
            --env-var A=b --env-var C=d,e --start-timeout -1 --max-dynamic-apps 9
            --request-body-max-size 1KiB""",
            {
                *("--interface=wsgi", "--app=m:a", "--bind=:1", "--working-dir=/w", "--venv=/v"),
                *("--python=/p", "--env-file=.env", "--env=A=b", "--env=C=d,e"),
                *("--ready-timeout=0", "--max-tenants=9", "--limit-request-body=1KiB"),
            },
        ),
        (
            "-t asgi -l :1 -a {http.request.host.labels.2}:app --working-dir {http.request.host}/",
            {
                *("--interface=asgi", "--bind=:1", "--lifespan=off", "--app={host.labels.2}:app"),
                "--working-dir={host}/",
            },
        ),
    ],
)
def test_flags(flags: str, options: set[str]) -> None:
    """Each has its option."""
    assert set(translated(*flags.split())) == options | BASE


def test_files_lie_where_they_did() -> None:
    """Below the directory by the whole path, or, where that is not there, at the directory."""
    argv = ("-t", "wsgi", "-a", "m:a", "--static-path", "./public", "--static-route", "/s/*")
    assert "--static-path=/s=./public/s" in translated(*argv, there="./public/s")
    assert "--static-path=/s=./public" in translated(*argv)


def test_active_virtual_environment() -> None:
    """It counts, unless it is the one we run in or another one is named."""
    argv = ("-t", "wsgi", "-a", "m:a")
    assert "--venv=/other" in translated(*argv, environ={"VIRTUAL_ENV": "/other"})
    assert not [o for o in translated(*argv, environ={"VIRTUAL_ENV": sys.prefix}) if "venv" in o]
    named = translated(*argv, "--venv", "/mine", environ={"VIRTUAL_ENV": "/other"})
    assert [option for option in named if "venv" in option] == ["--venv=/mine"]


def test_our_options_stand_beside(tmp_path: Path) -> None:
    """What is none of their flags is passed on, and the whole is a command line of ours."""
    argv = translated("-t", "wsgi", "-a", "m:a", "--threads", "3", "--root-path=/x")
    config = load(argv, {}, tmp_path, 2)
    assert (config.app, config.threads, config.root_path) == ("m:a", 3, "/x")
    assert (config.compress, config.keep_alive) == ("auto", 30)


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ("-t esgi -a m:a", "esgi"),
        ("-t wsgi --isolation docker", "container"),
        ("-t wsgi --isolation-image x", "container"),
        ("-t wsgi --start-timeout soon", "no duration"),
        ("-t wsgi --debug=perhaps", "true or false"),
        ("-a", "a value is missing"),
    ],
)
def test_what_is_not_here(flags: str, wanted: str) -> None:
    """One sentence about it."""
    with pytest.raises(ConfigError, match=wanted):
        translated(*flags.split())


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_about_the_flags(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every flag of theirs that is here, and what it is here."""
    assert main(["python-server", "-a", "main:app", flag]) == 0
    assert capsys.readouterr().out == HELP
    known = {*flags._SHORT, *flags._VALUED, *flags._SWITCHES} - {"--isolation"}
    assert known <= set(HELP.replace(",", " ").split())
