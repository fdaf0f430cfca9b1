"""sd_notify and the watchdog, with a real notification socket."""

import os
import socket
import sys
from pathlib import Path

import pytest

from nogilserve.supervise.systemd import sd_notify, watchdog_interval


@pytest.mark.parametrize("abstract", [False, True])
def test_notification_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    """The message arrives at the socket that NOTIFY_SOCKET names, a path or an abstract name."""
    if abstract and sys.platform != "linux":
        pytest.skip("abstract sockets are Linux's")
    path = f"@nogilserve-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path.replace("@", "\0", 1))
        receiver.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        assert sd_notify("READY=1\nSTATUS=ready")
        assert receiver.recv(100) == b"READY=1\nSTATUS=ready"


@pytest.mark.parametrize("value", ["", "relative", "/no/such/socket", "@", "vsock:2:1"])
def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Without a usable socket nothing happens, and nothing is raised."""
    monkeypatch.setenv("NOTIFY_SOCKET", value)
    assert not sd_notify("READY=1")


@pytest.mark.parametrize(
    ("limit", "pid", "interval"),
    [
        ("30000000", "", 15.0),
        ("1000000", "own", 0.5),
        ("1000000", "1", None),
        ("", "", None),
        ("0", "", None),
        ("soon", "", None),
        ("-1", "", None),
    ],
)
def test_watchdog_interval(
    monkeypatch: pytest.MonkeyPatch, limit: str, pid: str, interval: float | None
) -> None:
    """Half of WATCHDOG_USEC, and only when it is meant for this process."""
    monkeypatch.setenv("WATCHDOG_USEC", limit)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert watchdog_interval() == interval
