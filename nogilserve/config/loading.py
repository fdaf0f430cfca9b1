"""From the command line, the environment and files to one checked Config.

Pure but for reading the files it is told of or finds: imports no application, binds nothing, sets
no variable, changes no directory. `cli.main` carries out what is decided here.
"""

import os
import select
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nogilserve.config.addresses import DEFAULT_HOST, DEFAULT_PORT, Bind
from nogilserve.config.arguments import from_arguments
from nogilserve.config.envfile import parse_env_file
from nogilserve.config.httpscheck import check_https, default_addresses
from nogilserve.config.observing import endpoint, is_loopback
from nogilserve.config.options import OPTIONS, SETTINGS, Invocation, processors
from nogilserve.config.reserved import why_reserved
from nogilserve.config.settings import Config
from nogilserve.config.site import all_sites
from nogilserve.config.siteread import read_sites, served_twice
from nogilserve.config.sources import (
    CONVENTIONAL,
    NO_FILE,
    PREFIX,
    Layer,
    Written,
    from_argv,
    from_conventions,
    from_environment,
    from_file,
    from_systemd,
)
from nogilserve.config.templates import Template, check_template, check_templates, is_templated
from nogilserve.config.tlscheck import check_tls, named
from nogilserve.config.values import all_mistakes, parse
from nogilserve.errors import ConfigError

__all__ = ["Resolved", "load", "resolve", "resolve_arguments", "to_argv"]

_BY_NAME: Final = {option.name: option for option in OPTIONS}
_DEVELOPMENT: Final = {
    "reload": "true",
    "debug": "true",
    "access-log": "-",
    "threads": "1",
    "workers": "1",
    "host": DEFAULT_HOST,
}
_ADDRESS_OPTIONS: Final = ("bind", "host", "port", "uds", "fd")
_TOO_LATE: Final = {PREFIX + name for name in ("CONFIG", "CHDIR", "WORKING_DIR", "ENV_FILE")}


@dataclass(frozen=True, slots=True)
class Resolved:
    """What to do, with which settings, and where each came from. Immutable."""

    config: Config
    invocation: Invocation
    origins: Mapping[str, str]
    """By field of Config: a phrase such as "the command line"; no entry for a default."""
    environment: Mapping[str, str]
    """Variables to set before the application is imported."""


def load(
    argv: Sequence[str], environ: Mapping[str, str], cwd: Path, cores: int | None = None
) -> Config:
    """The settings for serving; ConfigError names what is wrong.

    `cores` is the number of processors to assume, by default those this process may use.
    """
    resolved = resolve(argv, environ, cwd, cores)
    require_app(resolved)
    return resolved.config


def resolve(
    argv: Sequence[str],
    environ: Mapping[str, str],
    cwd: Path,
    cores: int | None = None,
    *,
    files: bool = True,
) -> Resolved:
    """Like `load`, with what is to be done and all origins; an application may be missing.

    Without `files` the configuration file has no say. With --help or --version nothing but the
    command line is looked at.
    """
    command = from_argv(argv)
    invocation = Invocation(
        **{
            option.field: parse(option, command[option.name])
            for option in OPTIONS
            if option.scope == "argv" and option.name in command
        }
    )
    if invocation.help or invocation.version:
        return Resolved(Config(), invocation, {}, {})
    variables = from_environment(environ)
    directory = _directory((command, variables), cwd)
    given = _first((command, variables), "config")
    name = parse(_BY_NAME["config"], given) if given else ""
    source = from_file(name, cwd, directory) if files else NO_FILE
    file = source.layer
    if "chdir" in file and not given:
        # It would have to be known to find the file that says it.
        raise ConfigError(f"option --chdir cannot stand in {file['chdir'].origin}")
    directory = _directory((command, variables, file), cwd)
    environment = _environment((command, variables, file), environ, directory)
    merged = {**environ, **environment}
    said = (command, from_environment(merged), file, from_systemd(environ, os.getpid()))
    layers = (*said, _for_development(said), from_conventions(merged))
    mistakes = list(source.mistakes)
    values, origins = _settle(layers, cores or processors(), mistakes)
    sites = read_sites(source, mistakes)
    if mistakes:
        raise all_mistakes(mistakes)
    config = Config(**values, sites=sites)
    if config.app_dir and not is_templated(config) and not (directory / config.app_dir).is_dir():
        raise ConfigError(
            f"option --app-dir: {config.app_dir!r} from {origins['app_dir']} is not a directory"
        )
    _check_together(config)
    check_tls(config)
    config = named(config)
    check_https(config, origins)
    check_templates(config)
    if not is_templated(config):
        _check_files(config, origins.get("static_paths", ""), directory, mistakes)
    for site in sites:
        _check_files(site.config(config), site.origin, directory, mistakes)
    mistakes += served_twice(config)
    if mistakes:
        raise all_mistakes(mistakes)
    return Resolved(config, invocation, origins, environment)


def resolve_arguments(arguments: Mapping[str, Any], cwd: Path, cores: int | None = None) -> Config:
    """The settings of a server that a program starts with these keyword arguments.

    Neither files nor the environment have a say. Raises ConfigError, for an application that is
    missing too.
    """
    mistakes: list[str] = []
    layer = from_arguments(arguments)
    layers = (layer, _for_development((layer,)))
    values, _ = _settle(layers, cores or processors(), mistakes)
    if mistakes:
        raise all_mistakes(mistakes)
    config = Config(**values)
    if is_templated(config):
        raise ConfigError("an application with placeholders in its name is for the command line")
    _check_together(config)
    _check_files(config, "the arguments", cwd, mistakes)
    if mistakes:
        raise all_mistakes(mistakes)
    return config


def require_app(resolved: Resolved) -> None:
    """Raise ConfigError where no application is named."""
    if resolved.config.app or all_sites(resolved.config):
        return
    hint = ""
    log = resolved.config.access_log
    if resolved.origins.get("access_log") == "the command line" and log not in ("", "-"):
        hint = f"; if {log!r} is it, write it before --access-log, which takes it for a file"
    raise ConfigError(f"no application given: nogilserve module:attribute{hint}")


def to_argv(config: Config) -> list[str]:
    """A command line that gives this Config again."""
    argv = []
    for option in SETTINGS:
        value = getattr(config, option.field)
        if option.is_flag:
            argv.append(option.flag if value else option.flag.replace("--", "--no-", 1))
        elif option.many or value != "" or option.bare:
            argv.extend(f"{option.flag}={text}" for text in option.shown(value))
    return argv


# ---- steps of resolve ------------------------------------------------------------------------


def _first(layers: Sequence[Layer], name: str) -> Written | None:
    return next((layer[name] for layer in layers if name in layer), None)


def _directory(layers: Sequence[Layer], cwd: Path) -> Path:
    written = _first(layers, "chdir")
    if written is None:
        return cwd
    name: str = parse(_BY_NAME["chdir"], written)
    if Template.of(name).names:
        return cwd  # each tenant has its own
    check_template("--working-dir", name)
    if not (cwd / name).is_dir():
        raise ConfigError(f"option --chdir: {name!r} from {written.origin} is not a directory")
    return cwd / name


def _environment(
    layers: Sequence[Layer], environ: Mapping[str, str], directory: Path
) -> dict[str, str]:
    """Variables of --env-file, where none exists already, then those of --env."""
    result: dict[str, str] = {}
    if _has_tenants(layers):  # each sets its own, in its own process
        given = _first(layers, "env")
        if given is not None and given.origin != "the command line":
            _refuse_reserved(dict(parse(_BY_NAME["env"], given)), given.origin)
        return {}
    if (files := _first(layers, "env-file")) is not None:
        option = _BY_NAME["env-file"]
        for name in parse(option, files):
            try:
                text = (directory / name).read_bytes().decode()
                found = dict(parse_env_file(text))
            except OSError as error:
                reason = error.strerror or str(error)
            except ValueError as error:
                reason = str(error)
            else:
                if early := _TOO_LATE & found.keys():
                    raise ConfigError(
                        f"{min(early)} cannot stand in {name}: it is needed to find that file"
                    )
                _refuse_reserved(found, name)
                result |= {key: value for key, value in found.items() if key not in environ}
                continue
            raise ConfigError(
                f"option --env-file: {name!r} from {files.origin} cannot be used: {reason}"
            )
    if (given := _first(layers, "env")) is not None:
        variables = dict(parse(_BY_NAME["env"], given))
        if given.origin != "the command line":
            _refuse_reserved(variables, given.origin)
        result |= variables
    return result


def _has_tenants(layers: Sequence[Layer]) -> bool:
    """As `is_templated`, before there is a Config."""
    found = [_first(layers, name) for name in ("app", "chdir", "venv")]
    return any(Template.of(str(item.value)).names for item in found if item is not None)


def _refuse_reserved(names: Iterable[str], origin: str) -> None:
    """Raise ConfigError for a variable that a file may not set."""
    for name in names:
        if why := why_reserved(name):
            raise ConfigError(
                f"{name} cannot stand in {origin}: {why}; where it is meant, set it in the "
                "environment nogilserve is started in"
            )


def _for_development(layers: Sequence[Layer]) -> Layer:
    """What --dev stands for, where it is on."""
    written = _first(layers, "dev")
    if written is None or not parse(_BY_NAME["dev"], written):
        return {}
    return {name: Written(text, "--dev") for name, text in _DEVELOPMENT.items()}


def _settle(
    layers: Sequence[Layer], cores: int, mistakes: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings by field, and where each comes from; what is wrong goes to `mistakes`."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for option in SETTINGS:
        written = _first(layers, option.name)
        if option.name == "bind" or written is None:
            continue
        try:
            values[option.field] = parse(option, written)
        except ConfigError as error:
            mistakes += str(error).split("\n")
        origins[option.field] = written.origin
    try:
        values["binds"], origin = _binds(layers)
    except ConfigError as error:
        mistakes += str(error).split("\n")
        origin = ""
    if origin:
        origins["binds"] = origin
    default_addresses(values, origins)
    if origins.get("threads") == "--dev" and origins.get("workers") != "--dev":
        values["threads"] = max(1, values.get("workers", 1))
    if "threads" not in values:
        values["threads"] = max(16, 4 * cores, values.get("workers", 0))
    threads = values["threads"]
    if "workers" not in values:
        values["workers"] = min(cores, threads)
    elif origins.get("workers") in CONVENTIONAL:
        # A platform's guess for servers of processes bows to what was said about threads.
        values["workers"] = min(values["workers"], threads)
    if values.get("debug") and "log_level" not in values:
        values["log_level"] = "debug"
        origins["log_level"] = "--debug"
    if values.get("log_format") == "json" and "access_log_format" not in values:
        values["access_log_format"] = "json"
        origins["access_log_format"] = "--log-format"
    return values, origins


def _binds(layers: Sequence[Layer]) -> tuple[tuple[Bind, ...], str]:
    """Where to listen, and who says so: the highest source that says anything about it.

    Only host and port look further down: `--port 80` keeps the host that a file names.
    """
    for index, layer in enumerate(layers):
        used = [name for name in _ADDRESS_OPTIONS if name in layer]
        if not used:
            continue
        origin = layer[used[0]].origin
        pair = "host" in used or "port" in used
        if pair and "bind" in used:
            raise ConfigError(
                f"option --bind cannot stand beside --host or --port (from {origin}): "
                f"write --bind HOST:PORT"
            )
        found = list(parse(_BY_NAME["bind"], layer["bind"])) if "bind" in used else []
        if pair:
            found.append(_host_and_port(layers[index:]))
        if "uds" in used:
            found.append(Bind("unix", path=parse(_BY_NAME["uds"], layer["uds"])))
        if "fd" in used:
            found.append(Bind("fd", fd=parse(_BY_NAME["fd"], layer["fd"])))
        for bind in found:
            if found.count(bind) > 1 and not (bind.kind == "tcp" and bind.port == 0):
                raise ConfigError(f"option --bind: {bind} from {origin} stands there twice")
        if found:
            return tuple(found), origin
    return (Bind("tcp", DEFAULT_HOST, DEFAULT_PORT),), ""


def _host_and_port(layers: Sequence[Layer]) -> Bind:
    host, port = _first(layers, "host"), _first(layers, "port")
    number = DEFAULT_PORT if port is None else parse(_BY_NAME["port"], port)
    if host is not None:
        return Bind("tcp", parse(_BY_NAME["host"], host), number)
    # A platform that sets PORT connects from outside.
    return Bind("tcp", "0.0.0.0" if port and port.origin == "PORT" else DEFAULT_HOST, number)


def _check_together(config: Config) -> None:
    if config.workers > config.threads:
        raise ConfigError(
            f"option --workers: {config.workers} is more than --threads {config.threads}; "
            f"threads are counted for the whole process, and each core needs one"
        )
    for flag, part in (
        ("--limit-request-line", config.limit_request_line),
        ("--limit-request-field-size", config.limit_request_field_size),
    ):
        if part > config.limit_request_head:
            raise ConfigError(
                f"option {flag}: {part} is more than --limit-request-head "
                f"{config.limit_request_head}, which is to hold it"
            )
    if config.max_requests_jitter and not config.max_requests:
        raise ConfigError(
            f"option --max-requests-jitter: {config.max_requests_jitter} means nothing without "
            f"--max-requests"
        )
    if config.admin and not config.admin_token and not is_loopback(endpoint(config.admin)[0]):
        raise ConfigError(
            f"option --admin: {config.admin} can be reached from other machines; that needs "
            "--admin-token (or NOGILSERVE_ADMIN_TOKEN), without which only a loopback address "
            "such as 127.0.0.1:9000 is taken"
        )
    if config.poller != "auto" and not hasattr(select, config.poller):
        raise ConfigError(f"option --poller: this system has no {config.poller}")


def _check_files(config: Config, origin: str, directory: Path, mistakes: list[str]) -> None:
    """Every directory of static files is there, and has its route for itself."""
    routes: dict[str, str] = {}
    for own, path in config.static_paths:
        if not (directory / path).is_dir():
            mistakes.append(f"option --static-path: {path!r} from {origin} is not a directory")
        route = own or config.static_route
        if route in routes:
            mistakes.append(
                f"option --static-path: {routes[route]!r} and {path!r} from {origin} are both at "
                f"{route}; write --static-path ROUTE=DIR"
            )
        routes[route] = path
