"""Where settings come from: the command line, environment variables, TOML files.

Each source becomes a layer: option name → what was written there, unchecked, and where. Unknown
names are refused here, with a suggestion; values are checked later, and only those in force.
"""

import argparse
import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from nogilserve.config.declare import SECRET, Option
from nogilserve.config.options import OPTIONS, SECTIONS
from nogilserve.config.peers import not_here
from nogilserve.config.tomllines import Place, lines_of
from nogilserve.errors import ConfigError

__all__ = [
    "COMMANDS",
    "CONVENTIONAL",
    "NO_FILE",
    "PREFIX",
    "TABLES",
    "FileLayer",
    "Layer",
    "Written",
    "from_argv",
    "from_conventions",
    "from_environment",
    "from_file",
    "from_systemd",
    "make_parser",
    "read_table",
    "unknown",
]

PREFIX: Final = "NOGILSERVE_"
CONVENTIONAL: Final = {
    "PORT": "port",
    "WEB_CONCURRENCY": "workers",
    "FORWARDED_ALLOW_IPS": "forwarded-allow-ips",
}

_NOT_OPTIONS: Final = frozenset(
    {"NOGILSERVE_PYTHON", "NOGILSERVE_PYTHON_SOURCE", "NOGILSERVE_BUNDLES", "NOGILSERVE_TENANT"}
)
"""Read by the project's own tooling, or told to applications; not read by the server."""

_SERVICE: Final = re.compile(r"NOGILSERVE_(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT_\w+)")
"""What Kubernetes puts into every container beside a Service called nogilserve, and Docker for a
link; NOGILSERVE_PORT, which they set too, is an option's."""


@dataclass(frozen=True, slots=True)
class Written:
    """A value as it was written: text for one value, a tuple of texts for several."""

    value: str | tuple[str, ...]
    origin: str
    """A phrase for messages: "the command line", "NOGILSERVE_THREADS", …"""


type Layer = dict[str, Written]
"""By the name of the option (`Option.name`)."""


def unknown(what: str, written: str, option: str, known: Mapping[str, str]) -> ConfigError:
    """The error for a name that is no option's.

    `written` is that name as the message has it, `option` the option it would be; `known` maps
    what `option` may be to how it is written in this place.
    """
    if answer := not_here(option):
        return ConfigError(f"{what} {written}: {answer}")
    near = difflib.get_close_matches(option, known, n=1, cutoff=_NEAR)
    hint = f"; did you mean {known[near[0]]}?" if near else ""
    return ConfigError(f"unknown {what} {written}{hint}")


_NEAR: Final = 0.75
"""Similarity from which a name is suggested; a wrong guess is worse than none."""


# ---- command line ----------------------------------------------------------------------------


COMMANDS: Final = {
    "status": "Say what the running server does.",
    "reload": "Have it import the application anew, without losing a request.",
    "upgrade": "Have it replaced by a new start of its own command, with the same sockets.",
    "stop": "Have it finish what it has accepted, and end.",
    "drain": "Have probes say that it takes no new clients, for load balancers; it serves on.",
    "threads": "Change the number of its threads.",
    "log-level": "Change what it logs.",
    "gc": "Have it collect garbage now.",
    "stacks": "Print where its threads are.",
    "profile": "Look where its threads are for some seconds, and draw a flame graph.",
    "memory": "Print what its objects are, by type.",
}
"""Commands for a running server, and what they do."""
_OTHERS: Final = (
    ("init", "Write a nogilserve.toml for the application of this folder."),
    ("doctor", "Say what stands between APP and free threading."),
    ("stress", "Find the races in APP."),
    ("trust", "Say how to have this system trust the authority of --tls-internal."),
    ("certs", "List, renew, import or export certificates of automatic HTTPS."),
    ("import-caddyfile", "Translate a Caddyfile with Caddy Snake's python into nogilserve.toml."),
    ("python-server", "Serve with the flags of Caddy Snake's python-server."),
)


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line; it collects texts and checks no value."""
    parser = argparse.ArgumentParser(
        prog="nogilserve",
        usage="%(prog)s APP [options]\n       %(prog)s COMMAND [options]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Serve a WSGI or ASGI application on every core, in one process.\n\ncommands:\n"
        + "".join(f"  {name:<17}{what}\n" for name, what in (*COMMANDS.items(), *_OTHERS)),
        epilog="Every option can also be set in nogilserve.toml, in [tool.nogilserve] of\n"
        f"pyproject.toml, and as an environment variable: --log-level is {PREFIX}LOG_LEVEL.",
        add_help=False,
        allow_abbrev=False,
        exit_on_error=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("APP", nargs="*", help=argparse.SUPPRESS)
    for section in SECTIONS:
        group = parser.add_argument_group(section)
        for option in OPTIONS:
            if option.section == section:
                _add(group, option)
    return parser


def _add(group: Any, option: Option) -> None:
    text = f"{option.help}{_default(option)}".replace("%", "%%")
    details = {"action": "store_const", "const": "true"} if option.is_flag else _arity(option)
    group.add_argument(*option.flags, dest=option.name, help=text, **details)
    if option.scope != "argv" and (option.is_flag or option.bare):
        group.add_argument(
            *(f"--no-{name}" for name in option.names),
            dest=option.name,
            action="store_const",
            const="false" if option.is_flag else "",
            help=argparse.SUPPRESS,
        )


def _arity(option: Option) -> dict[str, Any]:
    details: dict[str, Any] = {"metavar": option.metavar}
    if option.many:
        details["action"] = "append"
    if option.bare:
        details |= {"nargs": "?", "const": option.bare}
    return details


def _default(option: Option) -> str:
    """The default as the end of a help text."""
    if option.scope == "argv":
        return ""
    if option.default is True:
        return f" [default: on; {option.flag.replace('--', '--no-', 1)} turns it off]"
    text = option.default_words
    return f" [default: {text}]" if text else ""


def from_argv(argv: Sequence[str]) -> Layer:
    """Read the command line; `--foo_bar` is the same as `--foo-bar`."""
    parser = make_parser()
    try:
        found, rest = parser.parse_known_args([_hyphens(word) for word in argv])
    except argparse.ArgumentError as error:
        raise _explained(error) from None
    values: dict[str, Any] = vars(found)
    apps: list[str] = values.pop("APP", [])
    if strange := [word for word in rest if word.startswith("-")]:
        name = strange[0].partition("=")[0]
        flags = {f"--{flag}": f"--{flag}" for option in OPTIONS for flag in option.names}
        raise unknown("option", name, name, flags)
    apps += rest
    layer = {
        name: Written(tuple(value) if isinstance(value, list) else value, "the command line")
        for name, value in values.items()
    }
    if apps:
        if len(apps) > 1 or "app" in layer:
            first = layer["app"].value if "app" in layer else apps.pop(0)
            raise ConfigError(f"unexpected argument {apps[0]!r}: the application is {first!r}")
        layer["app"] = Written(apps[0], "the command line")
    return layer


def _explained(error: argparse.ArgumentError) -> ConfigError:
    """What argparse did not like, in our words."""
    flags = (error.argument_name or "").split("/")
    for option in OPTIONS:
        if flags[-1] in option.flags:
            if option.is_flag:
                return ConfigError(f"option {option.flag} takes no value")
            return ConfigError(
                f"option {option.flag}: a value is missing; expected {option.kind.allowed}"
            )
    return ConfigError(f"option {flags[-1]} takes no value")


def _hyphens(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


# ---- environment -----------------------------------------------------------------------------


def from_environment(environ: Mapping[str, str]) -> Layer:
    """Read NOGILSERVE_* variables; empty ones count as not set."""
    known = {
        PREFIX + name.replace("-", "_").upper(): option
        for option in OPTIONS
        if option.scope in ("all", "no file")
        for name in option.names
    }
    layer: Layer = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in _NOT_OPTIONS:
            continue
        if _SERVICE.fullmatch(variable):
            continue
        option = known.get(variable)
        if option is None:
            names = {_option_name(name): name for name in known}
            raise unknown("environment variable", variable, _option_name(variable), names)
        text = environ[variable]
        if not text:
            continue
        if option.name in layer:
            raise ConfigError(f"{variable} and {layer[option.name].origin} both set {option.flag}")
        value = tuple(item.strip() for item in text.split(",")) if option.many else text
        layer[option.name] = Written(value, variable)
    return layer


def _option_name(variable: str) -> str:
    return variable.removeprefix(PREFIX).lower().replace("_", "-")


def from_systemd(environ: Mapping[str, str], pid: int) -> Layer:
    """Sockets that systemd passed to the process `pid` (sd_listen_fds(3)), as `--bind`."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(pid) or not count.isdecimal() or int(count) < 1:
        return {}
    fds = tuple(f"fd://{3 + index}" for index in range(min(int(count), 1024)))
    return {"bind": Written(fds, "systemd (LISTEN_FDS)")}


def from_conventions(environ: Mapping[str, str]) -> Layer:
    """Variables that platforms set for every server; empty ones count as not set."""
    return {
        name: Written(environ[variable], variable)
        for variable, name in CONVENTIONAL.items()
        if environ.get(variable)
    }


# ---- files -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileLayer:
    """What a configuration file says. Immutable, as far as anybody is concerned."""

    layer: Layer
    sites: Any
    """The value of the key `site`, () where there is none."""
    path: Path
    """The file; its lines are found with `where`."""
    lines: Mapping[Place, int]
    inside: Place
    """The table of the document that is ours."""
    mistakes: tuple[str, ...] = ()
    """Keys that cannot be read; their values are no part of the layer."""

    def where(self, *place: str | int) -> str:
        """The file and the line of a key, and the key, for messages."""
        line = self.lines.get((*self.inside, *place))
        at = f", line {line}" if line else ""
        key = place[-1] if place else 0
        return f"{self.path}{at}, key {key}" if isinstance(key, str) else f"{self.path}{at}"


NO_FILE: Final = FileLayer({}, (), Path(), {}, ())
"""Where there is none."""


def from_file(given: str, cwd: Path, directory: Path) -> FileLayer:
    """Read the configuration file.

    `given` is the file of `--config`, relative to `cwd`. Without it `directory` is searched:
    nogilserve.toml, and where there is none, [tool.nogilserve] in pyproject.toml.
    """
    if given:
        path = cwd / given
        if path.suffix == ".py":
            raise ConfigError(f"option --config: {given!r} is Python; allowed is a TOML file")
        return _layer(*_read_toml(path, "option --config: "), path)
    for name in ("nogilserve.toml", "pyproject.toml"):
        path = directory / name
        if path.is_file():
            table, text = _read_toml(path, "")
            if name == "nogilserve.toml" or table:
                return _layer(table, text, path)
    return NO_FILE


def _read_toml(path: Path, prefix: str) -> tuple[dict[str, Any], str]:
    """Our table of the document, and its text."""
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        document = tomllib.loads(text)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"{prefix}cannot read {path}: {reason}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{prefix}{path} is not valid TOML: {error}") from None
    if path.name != "pyproject.toml":
        return document, text
    table = document.get("tool", {}).get("nogilserve", {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: tool.nogilserve is not a table")
    return table, text


def _layer(table: dict[str, Any], text: str, path: Path) -> FileLayer:
    inside = ("tool", "nogilserve") if path.name == "pyproject.toml" else ()
    file = FileLayer({}, table.get("site", ()), path, lines_of(text), inside)
    known = {
        name: option
        for option in OPTIONS
        if option.scope in ("all", "no env")
        for name in option.names
    }
    content = {key: value for key, value in table.items() if key != "site"}
    layer, mistakes = read_table(content, known, file, ())
    return replace(file, layer=layer, mistakes=mistakes)


def read_table(
    table: Mapping[str, Any], known: Mapping[str, Option], file: FileLayer, place: Place
) -> tuple[Layer, tuple[str, ...]]:
    """The options of a table that stands at `place`, by the options `known` there; its mistakes."""
    layer: Layer = {}
    mistakes: list[str] = []
    for key, value in table.items():
        where = file.where(*place, key)
        option = known.get(key.replace("_", "-"))
        try:
            if option is None:
                names = {name: name for name in known} | ({} if place else {"site": "[[site]]"})
                at = where.removesuffix(f", key {key}")
                raise unknown("key", f"{key!r} in {at}", key.replace("_", "-"), names)
            if option.name in layer:
                raise ConfigError(f"{where} sets {option.called} twice")
            layer[option.name] = Written(_toml_value(option, value, where), where)
        except ConfigError as error:
            mistakes.append(str(error))
    return layer, tuple(mistakes)


def _toml_value(option: Option, value: Any, where: str) -> str | tuple[str, ...]:
    if option.many:
        if isinstance(value, dict) and option.name in TABLES:
            between = TABLES[option.name]
            value = [f"{name}{between}{content}" for name, content in value.items()]
        items = value if isinstance(value, list) else [value]
        return tuple(_toml_text(option, item, where) for item in items)
    return _toml_text(option, value, where)


TABLES: Final = {"env": "=", "mount": "=", "static-path": "=", "header": ": "}
"""Lists of pairs that may be written as a table, and what stands between the two."""


def _toml_text(option: Option, value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    # bool is an int to Python, not to the user.
    if type(value) in option.kind.native:
        return str(value).lower()
    # A token without its quotes is no reason to have it in the log.
    secret = option.field in SECRET or option.field == "env"
    shown = "what was given" if secret else json.dumps(value, default=str)
    raise ConfigError(
        f"option {option.called}: {shown} from {where}, "
        f"is not valid: expected {option.kind.allowed}"
    )
