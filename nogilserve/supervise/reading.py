"""Reading the configuration for a master, which does not do it itself.

What reads it knows all options, with their help and checks, and takes as much memory as the rest
of the master. At the start that is done by the process that becomes the master (see `entry`), at
each reload by one that ends with it. What either has read is plain data, a `Reading`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from nogilserve.errors import ConfigError
from nogilserve.supervise.interpreter import ROOT
from nogilserve.supervise.spec import plain

if TYPE_CHECKING:
    from nogilserve.config import Resolved

__all__ = ["Reading", "main", "read_anew", "reading_of"]

Reading = dict[str, Any]
"""`config`: all settings; `given`: variables to take on; `tenants`, `templated`: what kind of
server that makes; `held`: settings of the master itself, each with what users call it."""

_CODE: Final = (
    "import signal, sys; signal.signal(2, signal.SIG_IGN); sys.path.insert(0, sys.argv[1]); "
    "import nogilserve; del sys.path[0]; "
    "from nogilserve.supervise.reading import main; sys.exit(main())"
)
_PATIENCE: Final = 60.0
"""Seconds it may take."""


def reading_of(resolved: "Resolved") -> Reading:
    """What is handed on of a configuration. Raises ConfigError where no application is named."""
    from nogilserve.config import require_app
    from nogilserve.config.options import SETTINGS
    from nogilserve.config.options.listening import LISTENING
    from nogilserve.config.options.process import PROCESS, RELOADING
    from nogilserve.config.templates import has_tenants, is_templated

    require_app(resolved)
    templated, tenants = is_templated(resolved.config), has_tenants(resolved.config)
    held = {
        option.field: option.flag
        for option in SETTINGS
        if option.section in (LISTENING, PROCESS, RELOADING)
    }
    if tenants and not templated:
        held["chdir"] = "--chdir"  # the master is there, and folders of sites below
    return {
        "config": plain(resolved.config, addresses=True),
        # Variables of templates are each tenant's.
        "given": {} if templated else dict(resolved.environment),
        "tenants": tenants,
        "templated": templated,
        "held": held,
    }


def read_anew(argv: Sequence[str], environment: Mapping[str, str], directory: str) -> Reading:
    """The configuration as it is written now, for the command line `argv` in that directory.
    Waits for the process that reads it. Raises ConfigError."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    question = {"argv": argv, "environment": environment, "directory": directory}
    try:
        done = subprocess.run(
            [sys.executable, *flags, "-P", "-c", _CODE, ROOT],
            input=json.dumps(question | {"pid": os.getpid()}).encode(),
            stdout=subprocess.PIPE,
            timeout=_PATIENCE,
            check=True,
        )
        answer: Reading = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ConfigError(f"the configuration cannot be read: {error}") from None
    if "error" in answer:
        raise ConfigError(answer["error"])
    return answer


def main() -> int:
    """The process that reads: a question on standard input, the answer on standard output."""
    from pathlib import Path

    from nogilserve.config import resolve

    question = json.load(sys.stdin)
    environment = question["environment"]
    if environment.get("LISTEN_PID") == str(question["pid"]):  # systemd means who asks
        environment["LISTEN_PID"] = str(os.getpid())
    try:
        resolved = resolve(question["argv"], environment, Path(question["directory"]))
        answer = reading_of(resolved)
    except ConfigError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))
    return 0
