"""`python -m tests.stress.signalled NUMBER ARGUMENTS`: `python -m stress`, which gets SIGTERM in
the moment in which the NUMBERth process is there that it starts, and nobody knows of that yet."""

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

left = 0


def told(start: Callable[..., int]) -> Callable[..., int]:
    """A function that starts a process, which is told to end meanwhile."""

    def start_and_be_told(*arguments: Any, **named: Any) -> int:
        global left
        pid = start(*arguments, **named)
        left -= 1
        if not left:
            signal.raise_signal(signal.SIGTERM)
        return pid

    return start_and_be_told


if __name__ == "__main__":
    left = int(sys.argv.pop(1))
    # The ways in which `subprocess` starts one.
    for module, name in ((subprocess, "_fork_exec"), (os, "posix_spawn")):
        setattr(module, name, told(getattr(module, name)))
    runpy.run_module("stress", run_name="__main__", alter_sys=True)
