"""The command `nogilserve`: reads the configuration, then serves, or says what is wrong.

What the exit status says is told in `supervise/outcome`.
"""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nogilserve import __version__
from nogilserve.config import (
    COMMANDS,
    Config,
    Resolved,
    all_sites,
    help_text,
    require_app,
    resolve,
    settings_document,
)
from nogilserve.config.templates import has_tenants, is_templated
from nogilserve.errors import ConfigError
from nogilserve.supervise.outcome import exit_status

# What serves is imported only by the process that serves.

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return exit_status(partial(_run, sys.argv[1:] if argv is None else argv))


def _run(argv: Sequence[str]) -> int:
    directory = _current_directory()
    if argv and argv[0] == "doctor":
        from nogilserve import doctor

        return doctor.main(argv[1:], directory)
    if argv and argv[0] == "stress":
        from nogilserve.stress import command as stress

        return stress.main(argv[1:], directory)
    if argv and argv[0] == "init":
        from nogilserve import initial

        return initial.main(argv[1:], directory)
    if argv and argv[0] == "trust":
        from nogilserve.tls import trust

        return trust.main(argv[1:])
    if argv and argv[0] == "certs":
        from nogilserve.tls.acme import command as certs

        return certs.run(argv[1:], os.environ, directory)
    if argv and argv[0] == "import-caddyfile":
        from nogilserve.caddyfile import command as import_caddyfile

        return import_caddyfile.main(argv[1:], directory, os.environ)
    if argv and argv[0] == "python-server":
        from nogilserve.caddyfile.flags import HELP, translate_flags

        if {"-h", "--help"} & set(argv[1:]):
            print(HELP, end="")
            return 0
        argv = translate_flags(argv[1:], os.environ, os.path.isdir)
    if argv and argv[0] in COMMANDS:
        from nogilserve.supervise import client

        return client.command(argv[0], argv[1:], os.environ, directory)
    handover = os.environ.pop("_NOGILSERVE_HANDOVER", "")
    if handover:
        from nogilserve.supervise.handover import adopt_environment

        adopt_environment()
    environment = dict(os.environ)
    resolved = resolve(argv, environment, directory)
    invocation = resolved.invocation
    if invocation.help:
        print(help_text(), end="")
    elif invocation.version:
        print(_version())
    elif invocation.print_config:
        print(settings_document(resolved), end="")
    else:
        return _serve(resolved, argv, directory, environment, handover)
    return 0


def _serve(
    resolved: Resolved,
    argv: Sequence[str],
    directory: Path,
    environment: dict[str, str],
    handover: str,
) -> int:
    """Serve what the configuration says, or check it."""
    require_app(resolved)
    config = resolved.config
    check = resolved.invocation.check_config
    tenants = has_tenants(config)
    if not tenants and (check or not config.master):
        _become_interpreter(config, directory, argv)
    from nogilserve.supervise.handover import Launch

    command = (sys.executable, *sys.orig_argv[1:])
    launch = Launch(command, str(directory), environment, handover)
    base = folder = launch.base()
    if not is_templated(config):  # else each tenant has a directory and variables of its own
        _enter(resolved)
        folder = os.getcwd()
    if check:
        return _check_tenants(config, folder) if tenants else _check(config)
    if not tenants and not config.master:
        from nogilserve.supervise import single

        return single.run(config)
    from nogilserve.supervise.entry import become_master

    return become_master(resolved, argv, launch, base, folder)


def _current_directory() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigError(f"the current directory cannot be used: {error.strerror}") from None


def _version() -> str:
    import platform

    from nogilserve.apps import FREE_THREADED, gil_is_on

    build = "free-threaded" if FREE_THREADED else "with a GIL"
    state = "on" if gil_is_on() else "off"
    return (
        f"nogilserve {__version__}, {platform.python_implementation()} "
        f"{platform.python_version()} {build}, GIL {state}"
    )


def _enter(resolved: Resolved) -> None:
    """Make the process what the configuration says: its variables and its directory."""
    os.environ.update(resolved.environment)
    if resolved.config.chdir:
        os.chdir(resolved.config.chdir)


def _become_interpreter(config: Config, directory: Path, argv: Sequence[str]) -> None:
    """Go on as the Python of --venv or --python; a master starts its generations with it."""
    if config.venv or config.python:
        from nogilserve.supervise.interpreter import find_interpreter, run_instead

        other = find_interpreter(config.python, config.venv, str(directory / config.chdir))
        if other is not None:
            run_instead(other, argv)


def _check_tenants(config: Config, folder: str) -> int:
    from nogilserve.supervise.tenants.plan import check

    print(check(config, folder))
    return 0


def _check(config: Config) -> int:
    """Do what serving does first, and refuse what it refuses, but listen and write nowhere."""
    from nogilserve.observe.accesslog import check_writable, unwritable
    from nogilserve.runtimes.build import load_runtime

    logs = [config.access_log, *(site.config(config).access_log for site in config.sites)]
    for path in dict.fromkeys(logs):
        try:
            if path not in ("", "-"):
                check_writable(path)
        except OSError as error:
            raise ConfigError(unwritable(path, error)) from None
    if config.automatic_https:
        from nogilserve.supervise.keeper import check_keeper

        check_keeper(config)
    served = load_runtime(config, None).served  # refuses what is not served
    if all_sites(config):
        print(f"The configuration is valid: {served.name}.")
    else:
        kind = "an ASGI" if served.interface == "asgi" else "a WSGI"
        print(f"The configuration is valid; {served.name} is {kind} application.")
    if served.gil_enabled_by:
        print(f"Importing it switched the GIL on: {', '.join(served.gil_enabled_by)}.")
    return 0


def _complain(message: str) -> None:
    print(f"nogilserve: {message}", file=sys.stderr)
