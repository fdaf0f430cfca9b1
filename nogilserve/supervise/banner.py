"""The banner: Python build, GIL state, runtime, addresses."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

__all__ = ["announce", "warn_of_gil"]


class _Log(Protocol):
    """Where it is written: that of a master, or of `logging`."""

    def info(self, text: str, /, *values: object) -> None:
        """Write it."""

    def warning(self, text: str, /, *values: object) -> None:
        """Write it."""


def announce(log: _Log, served: Mapping[str, Any], labels: Sequence[str]) -> None:
    """The whole of it. `served`: `serving.describe`."""
    log.info(
        "nogilserve %s on CPython %s (%s, GIL %s), pid %d",
        served["version"],
        served["python"],
        served["build"],
        served["gil"],
        os.getpid(),
    )
    log.info("Serving %s (%s): %s", served["app"], served["interface"].upper(), served["how"])
    if served["switched_on"]:
        warn_of_gil(log, served["culprits"])
    for label in labels:
        log.info("Listening on %s", label)


def warn_of_gil(log: _Log, culprits: Sequence[str]) -> None:
    """Say what switched the GIL on."""
    if culprits:
        reason = f"by importing {', '.join(culprits)}, which does not declare that"
        reason += " it is safe without it; upgrade or replace that package"
    else:
        reason = "by PYTHON_GIL=1 or -X gil=1; leave that out"
    log.warning(
        "The GIL was switched on %s. Until then the application runs on one processor at a time.",
        reason,
    )
