"""The log of a process that serves, to standard error."""

import logging

from nogilserve.observe.formatters import JsonFormatter, formatter
from nogilserve.supervise import plainlog

__all__ = ["configure_logging", "form_others", "log"]

log = logging.getLogger("nogilserve")


def configure_logging(
    level: str, tenant: str = "", *, form: str = "text", generation: int = 0
) -> None:
    """Messages of this package go to standard error, with the generation and the tenant whose
    process this is, in the form of --log-format; other loggers are the application's, see
    `form_others`."""
    log.setLevel(level.upper())
    plainlog.log.configure(level, form)  # of the rooms that masters share with others
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
