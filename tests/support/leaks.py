"""Noticing threads and file descriptors that a test leaves behind."""

import gc
import os
import threading

from tests.support.waiting import wait_until

__all__ = ["Possessions"]

FOLDER = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"


def describe(descriptor: int) -> str | None:
    """What a descriptor refers to; None when it is not open (any more)."""
    try:
        return os.readlink(f"{FOLDER}/{descriptor}")
    except FileNotFoundError:
        return None
    except OSError:  # macOS: nothing to read there
        try:
            status = os.fstat(descriptor)
        except OSError:
            return None
        return f"device {status.st_dev} inode {status.st_ino} mode {status.st_mode:o}"


def descriptors() -> set[tuple[int, str]]:
    """The open descriptors of this process, each with what it refers to.

    The one that lists the folder is gone by the time it is looked at.
    """
    found = set()
    for name in os.listdir(FOLDER):
        what = describe(int(name))
        if what is not None:
            found.add((int(name), what))
    return found


class Possessions:
    """The threads and descriptors of this process at the moment this was made."""

    def __init__(self) -> None:
        self.threads = set(threading.enumerate())
        self.descriptors = descriptors()

    def leaked(self) -> list[str]:
        """What is there now and was not then, in words."""
        threads = [thread for thread in threading.enumerate() if thread not in self.threads]
        return [f"thread {thread.name!r}" for thread in threads] + [
            f"descriptor {number}: {what}"
            for number, what in sorted(descriptors() - self.descriptors)
        ]

    def wait_for_no_leak(self, timeout: float) -> list[str]:
        """Give what is on its way out `timeout` seconds; what is left then."""

        def clean() -> bool:
            if not self.leaked():
                return True
            gc.collect()  # a socket dropped unclosed complains by a warning, which is an error
            return not self.leaked()

        try:
            wait_until(clean, timeout)
        except TimeoutError:
            return self.leaked()
        return []
