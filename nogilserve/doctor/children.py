"""The processes in which the doctor looks at an application: the same interpreter, started anew."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import nogilserve
from nogilserve.errors import AppImportError

__all__ = ["examine", "free_threaded_python"]

_REQUIRES: Final = re.compile(r"^# loading module '(.+)', which requires the GIL", re.MULTILINE)
"""What `python -v` says of each such module; the warning names the first one only."""


def examine(
    request: Mapping[str, Any], environment: Mapping[str, str], timeout: float
) -> dict[str, Any]:
    """The facts that `doctor.probe` finds, with "switched": every module that switches the GIL on,
    and "ended": how the process has ended before it had done all, "" if it had.

    Raises AppImportError for an application that cannot be imported within `timeout` seconds. Its
    lifespan may take as long again.
    """
    facts, _ = _child({**request, "subinterpreter": False}, environment, timeout)
    if "failed" in facts:
        raise AppImportError(facts["failed"], facts["detail"])
    facts["switched"] = list(facts["culprits"])
    if facts["culprits"]:
        again = {**request, "subinterpreter": False, "lifespan": "", "prepare": ""}
        _, said = _child(again, environment, timeout, "-v")
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
        errors = Path(folder, "errors")
        with errors.open("wb") as file:
            status = _run([*command, str(question), str(answer)], variables, file, answer, timeout)
        said = errors.read_text(errors="replace")
        if answer.exists():
            facts = json.loads(answer.read_text())
            over = request["subinterpreter"] or facts["step"] == "end"
            facts["ended"] = "" if over else _how_it_ended(status, timeout)
            return facts, said
    if status is None:
        raise AppImportError(
            f"{request['spec']} is not imported after {timeout:g} s; "
            "--import-timeout allows it more"
        )
    if request["subinterpreter"]:
        return {}, said
    how = _how_it_ended(status, timeout)
    raise AppImportError(f"the process that imported {request['spec']} {how}", said)


def _run(
    command: Sequence[str],
    variables: Mapping[str, str],
    errors: BinaryIO,
    answer: Path,
    timeout: float,
) -> int | None:
    """The exit status, None if it had to be killed: without an answer after `timeout` seconds, with
    the first part of one after as long again. What it has started is killed with it."""
    # What it writes goes to a file: a pipe would stay open in processes that it leaves behind.
    process = subprocess.Popen(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,
    )
    try:
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            if not answer.exists():
                return None
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
    finally:
        _kill(process)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End it and what belongs to it, also where it has ended itself."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _how_it_ended(status: int | None, timeout: float) -> str:
    """As the end of a sentence."""
    if status is None:
        return f"was not done after {timeout:g} s; --import-timeout allows it more"
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"


def free_threaded_python() -> str:
    """The path of a free-threaded Python on PATH, "" if there is none. Starts nothing."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        for minor in (15, 14, 13):
            path = os.path.join(folder, f"python3.{minor}t")
            if os.access(path, os.X_OK):
                return path
    return ""
