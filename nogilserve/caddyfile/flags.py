"""The flags of `caddy python-server`: `nogilserve python-server` takes them as they are.

What is no flag of theirs is passed on, so that our options can stand beside them.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from nogilserve.caddyfile.pythonblock import duration, plain_placeholders
from nogilserve.errors import ConfigError

__all__ = ["HELP", "translate_flags"]

HELP: Final = """\
usage: nogilserve python-server --app MODULE:ATTRIBUTE [FLAG ...] [OPTION ...]

Serve as `caddy python-server` does: with its flags, and with options of nogilserve beside them.

  -t, --server-type wsgi|asgi        --interface; found out where it is not said
  -a, --app MODULE:ATTRIBUTE         the application
  -l, --listen ADDRESS               --bind; 127.0.0.1:9080 where it is not said
  -d, --domain NAME                  --domain: automatic HTTPS
  -w, --workers N                    --workers: cores
  --working-dir DIR, --venv DIR, --python-path FILE
                                     --working-dir, --venv, --python
  --env-file FILE, --env-var A=B     --env-file, --env
  --lifespan on|off, --runtime NAME  --lifespan (off where it is not said), --loop
  --static-path DIR, --static-route ROUTE
                                     --static-path ROUTE=DIR
  --debug, --access-logs, --autoreload
                                     --log-level debug, --access-log in JSON, --reload
  --start-timeout DURATION           --ready-timeout
  --max-dynamic-apps N               --max-tenants
  --request-body-max-size SIZE       --limit-request-body

Responses are compressed, and connections kept for 30 seconds. `nogilserve --help` has the options.
"""

_SHORT: Final = {
    "-t": "--server-type",
    "-a": "--app",
    "-d": "--domain",
    "-l": "--listen",
    "-w": "--workers",
}
_SAME: Final = {
    "--domain": "--domain",
    "--listen": "--bind",
    "--env-file": "--env-file",
    "--env-var": "--env",
    "--max-dynamic-apps": "--max-tenants",
    "--request-body-max-size": "--limit-request-body",
    "--python-path": "--python",
}
_TEMPLATES: Final = {"--app": "--app", "--working-dir": "--working-dir", "--venv": "--venv"}
_SWITCHES: Final = {
    "--debug": ("--log-level=debug",),
    "--access-logs": ("--access-log=-", "--access-log-format=json"),
    "--autoreload": ("--reload",),
}
_OWN: Final = frozenset({"--static-path", "--static-route", "--lifespan", "--runtime"})
_VALUED: Final = frozenset(
    {*_SAME, *_TEMPLATES, *_OWN, "--server-type", "--workers", "--start-timeout", "--isolation"}
)
_TRUE: Final = frozenset({"1", "t", "true"})
_FALSE: Final = frozenset({"0", "f", "false"})


def translate_flags(
    argv: Sequence[str], environ: Mapping[str, str], is_directory: Callable[[str], bool]
) -> list[str]:
    """A command line of nogilserve. Raises ConfigError for what is not here.

    `is_directory`: whether a path, relative to --working-dir or not, is one.
    """
    values, result, rest = _read(argv)
    for flag, found in values.items():
        for value in found:
            if flag in _SAME:
                result.append(f"{_SAME[flag]}={value}")
            elif flag in _TEMPLATES:
                result.append(f"{_TEMPLATES[flag]}={plain_placeholders(value)}")
    kind = values.get("--server-type", ["auto"])[-1]
    if kind not in ("wsgi", "asgi", "auto"):
        raise ConfigError(f"--server-type {kind}: wsgi and asgi are served here")
    result.append(f"--interface={kind}")
    if kind != "wsgi":
        result.append(f"--lifespan={values.get('--lifespan', ['off'])[-1]}")
        loop = {"native": "asyncio", "libuv": "asyncio"}.get(values.get("--runtime", [""])[-1])
        result += [f"--loop={loop}"] * bool(loop)
    workers = values.get("--workers", ["0"])[-1]
    if workers != "0":
        result.append(f"--workers={workers}")
    result += _start_timeout(values) + _static(values, is_directory) + _venv(values, environ)
    if "--listen" not in values and "--domain" not in values:
        result.append("--bind=127.0.0.1:9080")
    return [*result, "--compress=auto", "--keep-alive=30", *rest]


def _read(argv: Sequence[str]) -> tuple[dict[str, list[str]], list[str], list[str]]:
    """Their flags with values, ours for their switches, and what is not theirs."""
    values: dict[str, list[str]] = {}
    switched: list[str] = []
    rest: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") and flag[:2] in _SHORT and len(flag) > 2:
            flag, equals, value = flag[:2], "=", word[2:].removeprefix("=")
        flag = _SHORT.get(flag, flag)
        if flag in _SWITCHES:
            if not equals or value.lower() in _TRUE:
                switched += _SWITCHES[flag]
            elif value.lower() not in _FALSE:
                raise ConfigError(f"{flag} is true or false, not {value!r}")
        elif flag.startswith("--isolation"):
            raise ConfigError(
                f"{flag}: run the server in a container; for tenants see --tenant-user and "
                "--tenant-memory"
            )
        elif flag in _VALUED:
            if not equals:
                if not words:
                    raise ConfigError(f"{flag}: a value is missing")
                value = words.pop(0)
            values.setdefault(flag, []).append(value)
        else:
            rest.append(word)
    return values, switched, rest


def _start_timeout(values: Mapping[str, Sequence[str]]) -> list[str]:
    text = values.get("--start-timeout", [""])[-1]
    if not text:
        return []
    seconds = duration(text)
    if seconds is None:
        raise ConfigError(f"--start-timeout: {text!r} is no duration such as 120s")
    return [f"--ready-timeout={seconds}"]


def _static(values: Mapping[str, Sequence[str]], is_directory: Callable[[str], bool]) -> list[str]:
    """Their files lie below the directory by their whole path, with the route. Where there is no
    such directory the files themselves are meant."""
    if "--static-path" not in values:
        return []
    folder = values["--static-path"][-1]
    route = "/" + values.get("--static-route", ["/static"])[-1].strip("/*")
    below = os.path.join(folder, route.strip("/"))
    return [f"--static-path={route}={below if is_directory(below) else folder}"]


def _venv(values: Mapping[str, Sequence[str]], environ: Mapping[str, str]) -> list[str]:
    """The virtual environment that is activated, unless that is what we run in."""
    active = environ.get("VIRTUAL_ENV", "")
    if "--venv" in values or "--python-path" in values or not active:
        return []
    same = os.path.realpath(active) == os.path.realpath(sys.prefix)
    return [] if same else [f"--venv={active}"]
