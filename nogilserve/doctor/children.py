"""The processes in which the doctor looks at an application: the same interpreter, started anew."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import nogilserve
from nogilserve.errors import AppImportError

__all__ = ["examine", "free_threaded_python"]

_REQUIRES: Final = re.compile(r"^# loading module '(.+)', which requires the GIL", re.MULTILINE)
"""What `python -v` says of each such module; the warning names the first one only."""


def examine(
    request: Mapping[str, Any], environment: Mapping[str, str], timeout: float
) -> dict[str, Any]:
    """The facts that `doctor.probe` finds, with "switched": every module that switches the GIL on.

    Raises AppImportError for an application that cannot be imported within `timeout` seconds.
    """
    facts, _ = _child({**request, "subinterpreter": False}, environment, timeout)
    if "failed" in facts:
        raise AppImportError(facts["failed"], facts["detail"])
    facts["switched"] = list(facts["culprits"])
    if facts["culprits"]:
        _, said = _child({**request, "subinterpreter": False}, environment, timeout, "-v")
        facts["switched"] = list(dict.fromkeys([*facts["culprits"], *_REQUIRES.findall(said)]))
    facts["obstacle"] = ""
    if not facts["free_threaded"] and sys.version_info >= (3, 14):
        answer, _ = _child({**request, "subinterpreter": True}, environment, timeout)
        facts["obstacle"] = answer.get("obstacle", "it ended the process")
    return facts


def _child(
    request: Mapping[str, Any], environment: Mapping[str, str], timeout: float, *options: str
) -> tuple[dict[str, Any], str]:
    """What a child answers ({} if it died) and what it wrote to standard error."""
    root = str(Path(nogilserve.__file__).resolve().parents[1])
    variables = {**os.environ, **environment}
    variables.pop("PYTHON_GIL", None)  # what extensions do shows only where they may do it
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [variables.get("PYTHONPATH"), root]))
    with tempfile.TemporaryDirectory(prefix="nogilserve-doctor-") as folder:
        question, answer = Path(folder, "request"), Path(folder, "result")
        question.write_text(json.dumps(request))
        # -P: a glob.py of the user's would else stand in for the standard library's.
        command = [sys.executable, *options, "-P", "-m", "nogilserve.doctor.probe"]
        try:
            ended = subprocess.run(
                [*command, str(question), str(answer)],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise AppImportError(
                f"{request['spec']} is not imported after {timeout:g} s; "
                "--import-timeout allows it more"
            ) from error
        if answer.exists():
            return json.loads(answer.read_text()), ended.stderr
    if request["subinterpreter"]:
        return {}, ended.stderr
    raise AppImportError(_how_it_died(request["spec"], ended.returncode), ended.stderr)


def _how_it_died(spec: str, status: int) -> str:
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    return f"the process that imported {spec} {how}"


def free_threaded_python() -> str:
    """The path of a free-threaded Python on PATH, "" if there is none. Starts nothing."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        for minor in (15, 14, 13):
            path = os.path.join(folder, f"python3.{minor}t")
            if os.access(path, os.X_OK):
                return path
    return ""
