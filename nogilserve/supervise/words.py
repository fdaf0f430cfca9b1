"""The log of the process itself: to standard error, and the banner."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nogilserve.observe.logformat import JsonFormatter, formatter

__all__ = ["LEVELS", "announce", "configure_logging", "form_others", "log", "warn_of_gil"]

log = logging.getLogger("nogilserve")

LEVELS: Final = ("critical", "error", "warning", "info", "debug")


def configure_logging(
    level: str, tenant: str = "", *, form: str = "text", generation: int = 0
) -> None:
    """Messages of this package go to standard error, with the generation and the tenant whose
    process this is, in the form of --log-format; other loggers are the application's, see
    `form_others`."""
    log.setLevel(level.upper())
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(formatter(form, generation, tenant))
        log.addHandler(handler)
        log.propagate = False
        form_others()


def form_others() -> None:
    """With --log-format json loggers of the application write so, too, where it has not chosen a
    form itself. To be called once more when it is imported."""
    made = next((handler.formatter for handler in log.handlers), None)
    if not isinstance(made, JsonFormatter):
        return
    if logging.lastResort is not None:  # for loggers without any handler
        logging.lastResort.setFormatter(made)
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler and _is_plain(handler.formatter):
            handler.setFormatter(made)


def _is_plain(formatter: logging.Formatter | None) -> bool:
    """Whether it is what `logging.basicConfig` takes where nothing is said."""
    return formatter is None or getattr(formatter, "_fmt", "") == logging.BASIC_FORMAT


def announce(served: Mapping[str, Any], labels: Sequence[str]) -> None:
    """The banner: Python build, GIL state, runtime, addresses. `served`: `serving.describe`."""
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
        warn_of_gil(served["culprits"])
    for label in labels:
        log.info("Listening on %s", label)


def warn_of_gil(culprits: Sequence[str]) -> None:
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
