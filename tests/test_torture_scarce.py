"""A server that runs out of descriptors or of disk: it refuses, recovers and never spins."""

import os
import time
from collections.abc import Iterator

import pytest

from tests.apps.raw_client import SECONDS, Incomplete, RawClient, request
from tests.apps.served import Served
from tests.support.waiting import wait_until

FILES = 80
MIB = 1 << 20
APP = "tests.apps.scarce:app"


def processor_seconds(server: Served) -> float:
    """Processor time the server has used so far."""
    with open(f"/proc/{server.serving}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def answered(server: Served) -> bool:
    """Whether a new connection is served within a second."""
    with server.raw() as client:
        client.sock.settimeout(1)
        try:
            return client.get("/raw/hello", "Connection: close\r\n").body == b"hello\n"
        except (TimeoutError, ConnectionResetError):
            return False


def test_out_of_descriptors() -> None:
    """Who came in is served, who did not waits in the backlog; nothing spins; it recovers."""
    with Served(
        APP, "--threads", "4", "--keep-alive", "60", env={"SCARCE_FILES": str(FILES)}
    ) as server:
        inside = server.raw()
        clients: list[RawClient] = [inside]
        try:
            assert inside.get("/raw/hello").body == b"hello\n"
            clients += [server.raw() for _ in range(2 * FILES)]
            wait_until(lambda: len(server.descriptors()) >= FILES - 10, SECONDS, "not full")
            used, started = processor_seconds(server), time.monotonic()
            while time.monotonic() - started < 2:
                assert inside.get("/raw/sleep?ms=100").body == b"slept\n"
            used, passed = processor_seconds(server) - used, time.monotonic() - started
            assert used < passed / 2, f"{used:.2f} s of processor time in {passed:.2f} s"
        finally:
            for client in clients:
                client.close()
        wait_until(lambda: answered(server), SECONDS, "it does not recover")


@pytest.fixture(scope="module")
def small_files() -> Iterator[Served]:
    """A server whose temporary files can have one megabyte, as on a full disk."""
    with Served(APP, "--threads", "2", env={"SCARCE_FILE_BYTES": str(MIB)}) as running:
        yield running
    assert "Traceback" not in running.log


@pytest.mark.parametrize("coding", ["length", "chunked", "expect"])
def test_upload_that_cannot_be_stored(small_files: Served, coding: str) -> None:
    """An upload larger than the disk is refused with a 5xx that says so; the next one works."""
    extra = {
        "length": f"Content-Length: {4 * MIB}\r\n",
        "chunked": "Transfer-Encoding: chunked\r\n",
        "expect": f"Expect: 100-continue\r\nContent-Length: {4 * MIB}\r\n",
    }[coding]
    body = b"x" * (4 * MIB)
    if coding == "chunked":
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    with small_files.raw() as client:
        client.send(request(f"/raw/upload?key=full-{coding}", extra, "POST"))
        client.send_quietly(body)
        answer = client.response()
        if coding == "expect" and answer.status == 200:
            return  # read by the application as it came: no disk was needed
        assert answer.status in (500, 503, 507)
    assert f"complete full-{coding}" not in small_files.counts()
    with small_files.raw() as client:
        assert client.post("/raw/echo", b"y" * 1000).body == b"y" * 1000


def test_response_that_cannot_be_spooled(small_files: Served) -> None:
    """A slow reader's large response is cut off, never garbled; others notice nothing."""
    size = 32 * MIB
    slow = [small_files.raw(receive_buffer=4096) for _ in range(3)]
    try:
        for client in slow:
            client.send(request(f"/raw/whole?n={size}"))
        wait_until(lambda: answered(small_files), SECONDS, "others are not served")
        for client in slow:
            answer = client.final_head()
            assert answer.header("content-length") == str(size)
            try:
                body = client.take(size)
            except ConnectionResetError:
                continue
            except Incomplete as cut:
                body = cut.args[0]
            assert body.count(b"w") == len(body)
    finally:
        for client in slow:
            client.close()
    assert answered(small_files)
