"""Variables that a file may not set: they decide what is loaded into the process, or belong to
whoever started it. Reads names, touches no environment."""

from typing import Final

__all__ = ["why_reserved"]

_LOADER: Final = ("LD_", "DYLD_")
_LIBRARY: Final = frozenset({"GLIBC_TUNABLES", "GCONV_PATH", "LOCPATH", "NLSPATH"})
_INTERPRETER: Final = frozenset(
    (
        *("PYTHONHOME", "PYTHONEXECUTABLE", "PYTHONPLATLIBDIR", "PYTHONINSPECT"),
        *("__PYVENV_LAUNCHER__", "PYTHONSTARTUP", "PYTHON_GIL"),
    )
)
_SERVICE: Final = frozenset(
    (
        *("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET"),
        *("WATCHDOG_PID", "WATCHDOG_USEC"),
    )
)


def why_reserved(name: str) -> str:
    """Why a file may not set this variable, as a clause; "" if it may."""
    upper = name.upper()
    if upper.startswith(_LOADER) or upper in _LIBRARY:
        return "it tells the system which code to load"
    if upper in _INTERPRETER:
        return "it tells Python how to start"
    if upper in _SERVICE or upper.startswith("_NOGILSERVE"):
        return "it is set by what starts the server"
    return ""
