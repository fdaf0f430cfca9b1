"""Telling systemd how the service is: sd_notify(3) and the watchdog. Main thread only."""

import os
import socket
from typing import Final

__all__ = ["sd_notify", "watchdog_interval"]

_MICROSECONDS: Final = 1_000_000


def sd_notify(message: str) -> bool:
    """Send a state such as "READY=1"; True if it went out, False if nobody asked or listens.

    Several states are separated by newlines. Never raises: a service runs on without systemd.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@") or len(path) < 2 or not hasattr(socket, "AF_UNIX"):
        return False
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            sock.sendto(message.encode(), address)
    except OSError:
        return False
    return True


def watchdog_interval() -> float | None:
    """Seconds after which to send WATCHDOG=1 again; None if systemd does not watch us.

    Half of the time after which systemd gives up, as sd_watchdog_enabled(3) recommends.
    """
    limit = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not limit.isdecimal() or not int(limit) or (pid and pid != str(os.getpid())):
        return None
    return int(limit) / _MICROSECONDS / 2
