"""Who holds a port or a unix socket, for messages. Linux only; elsewhere the answer is "".

Reads /proc: the sockets of every process of this network namespace, but the descriptors of other
users' processes only as root.
"""

import os
from collections.abc import Iterator

__all__ = ["holders_of_port", "holders_of_unix_socket"]

_LISTENING = "0A"
_MOST = 3


def holders_of_port(port: int) -> str:
    """The processes that listen on a TCP port, as "pid 12 (gunicorn)"; "" if unknown."""
    inodes = {
        fields[9]
        for table in ("tcp", "tcp6")
        for fields in _rows(table)
        if len(fields) > 9
        and fields[3] == _LISTENING
        and int(fields[1].rpartition(":")[2], 16) == port
    }
    return _holders(inodes)


def holders_of_unix_socket(path: str) -> str:
    """The processes that listen on a unix socket."""
    inodes = {
        fields[6]
        for fields in _rows("unix")
        # Flags: 00010000 is __SO_ACCEPTCON, a listening socket.
        if len(fields) > 7 and fields[7] == path and int(fields[3], 16) & 0x10000
    }
    return _holders(inodes)


def _rows(table: str) -> Iterator[list[str]]:
    try:
        with open(f"/proc/net/{table}", encoding="utf-8", errors="surrogateescape") as file:
            next(file, None)
            for line in file:
                yield line.rstrip("\n").split(maxsplit=7 if table == "unix" else -1)
    except OSError:
        return


def _holders(inodes: set[str]) -> str:
    if not inodes:
        return ""
    targets = {f"socket:[{inode}]" for inode in inodes}
    found = [pid for pid in _pids() if _holds(pid, targets)]
    if not found:
        return "a process of another user" if os.getuid() else "a process of another container"
    names = [_named(pid) for pid in found[:_MOST]]
    more = len(found) - _MOST
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def _pids() -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
    except OSError:
        return []


def _holds(pid: int, targets: set[str]) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):
            try:
                if os.readlink(f"{folder}/{name}") in targets:
                    return True
            except OSError:
                continue
    except OSError:
        pass
    return False


def _named(pid: int) -> str:
    if pid == os.getpid():
        return f"pid {pid} (this process)"
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return f"pid {pid} ({file.read().strip()})"
    except OSError:
        return f"pid {pid}"
