"""The writer of the access log: nothing lost, nothing waited for, whatever the file does."""

import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nogilserve.messages import RequestRecord
from nogilserve.observe import accesslog
from nogilserve.observe.accesslog import AccessLog
from tests.support.waiting import wait_until

SECONDS = 10.0


def record(name: str) -> RequestRecord:
    """A finished request for /NAME."""
    return RequestRecord(
        request_id=name,
        client="192.0.2.7",
        method="GET",
        target=f"/{name}",
        minor=1,
        headers=[],
        status=200,
        response_headers=[],
        sent=1,
        received=0,
        started=0.0,
        seconds=0.0,
    )


@contextmanager
def running(log: AccessLog) -> Iterator[AccessLog]:
    """The log with its writer at work; closed at the end."""
    log.start()
    try:
        yield log
    finally:
        log.close()


def put_many(log: AccessLog, name: str) -> None:
    """Put five hundred records."""
    for number in range(500):
        log.put(record(f"{name}-{number}"))


def wait_for_lines(path: Path, *lines: str) -> None:
    """Wait until the file holds exactly these lines."""
    expected = "".join(f"{line}\n" for line in lines)
    wait_until(lambda: path.read_text() == expected, SECONDS, f"{path} never held {expected!r}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log is written."""
    return tmp_path / "access.log"


def test_lines_come_in_order_and_soon(path: Path) -> None:
    """Records are written in order while the server runs, each a line, without closing."""
    with running(AccessLog(str(path), "%U")) as log:
        log.put(record("one"))
        wait_for_lines(path, "/one")
        log.put(record("two"))
        log.put(record("three"))
        wait_for_lines(path, "/one", "/two", "/three")
    assert log.dropped == 0


def test_file_is_appended_to(path: Path) -> None:
    """What an earlier run wrote stays, and a file emptied meanwhile (copytruncate) is gone on
    with from its beginning."""
    path.write_text("earlier\n")
    with running(AccessLog(str(path), "%U")) as log:
        log.put(record("one"))
        wait_for_lines(path, "earlier", "/one")
        os.truncate(path, 0)
        log.put(record("two"))
        wait_for_lines(path, "/two")


def test_close_writes_what_waits(path: Path) -> None:
    """Nothing that was put before close() is lost, however much it is."""
    log = AccessLog(str(path), "%U")
    names = [str(number) for number in range(5000)]
    for name in names:
        log.put(record(name))
    assert path.read_text() == ""
    log.start()
    log.close()
    assert path.read_text().split() == [f"/{name}" for name in names]


def test_many_threads(path: Path) -> None:
    """Records of several threads are all there, those of one thread in its order."""
    with running(AccessLog(str(path), "%U")) as log:
        threads = [threading.Thread(target=put_many, args=(log, str(n))) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
    found = path.read_text().split()
    for number in range(4):
        mine = [line for line in found if line.startswith(f"/{number}-")]
        assert mine == [f"/{number}-{i}" for i in range(500)]
    assert len(found) == 2000


def test_record_that_makes_no_line(path: Path) -> None:
    """A record that cannot be written out takes no other with it."""
    broken: Any = None
    with running(AccessLog(str(path), "%U")) as log:
        log.put(record("one"))
        log.put(broken)
        log.put(record("two"))
        wait_for_lines(path, "/one", "- a line could not be made: AttributeError", "/two")


def test_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """ "-" is standard output, which stays open."""
    with running(AccessLog("-", "%U")) as log:
        log.put(record("one"))
    assert not sys.stdout.closed
    assert capsys.readouterr().out == "/one\n"


def test_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """It is noticed at once, by whoever makes the log."""
    with pytest.raises(FileNotFoundError):
        AccessLog(str(tmp_path / "missing" / "access.log"), "common")


# ---- sleeping and waking ---------------------------------------------------------------------


class Bell(threading.Event):
    """An event that notes how it was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []
        self.before_wait: Callable[[], None] | None = None
        self.before_clear: Callable[[], None] | None = None

    def wait(self, timeout: float | None = None) -> bool:
        hook, self.before_wait = self.before_wait, None
        if hook is not None:
            hook()
        self.waits.append(timeout)
        return super().wait(timeout)

    def clear(self) -> None:
        hook, self.before_clear = self.before_clear, None
        if hook is not None:
            hook()
        super().clear()


class ForcedLog(AccessLog):
    """An access log in which something can happen between any two steps of the writer, and of
    `put` in a thread called "late".
    """

    def __init__(self, path: str, form: str) -> None:
        self.value = False
        self.before_asleep: Callable[[], None] | None = None
        self.after_asleep: Callable[[], None] | None = None
        self.late_has_looked = threading.Event()
        self.late_may_go_on = threading.Event()
        super().__init__(path, form)
        self.bell = Bell()
        self._bell = self.bell

    @property
    def _asleep(self) -> bool:
        value = self.value
        if threading.current_thread().name == "late":
            self.late_has_looked.set()
            assert self.late_may_go_on.wait(SECONDS)
        return value

    @_asleep.setter
    def _asleep(self, value: bool) -> None:
        if value:
            before, self.before_asleep = self.before_asleep, None
            if before is not None:
                before()
        self.value = value
        if value:
            after, self.after_asleep = self.after_asleep, None
            if after is not None:
                after()


def test_idle_writer_sleeps(path: Path) -> None:
    """Without traffic the writer waits without a time limit: it wakes nobody up."""
    log = ForcedLog(str(path), "%U")
    with running(log):
        log.put(record("one"))
        wait_for_lines(path, "/one")
        wait_until(lambda: log.value and log.bell.waits, SECONDS)
        assert log.bell.waits[-1] is None
        asleep = len(log.bell.waits)
        log.put(record("two"))
        wait_for_lines(path, "/one", "/two")
        wait_until(lambda: len(log.bell.waits) > asleep, SECONDS)
        assert set(log.bell.waits) == {None}
        assert len(log.bell.waits) == asleep + 1


@pytest.mark.parametrize("moment", ["before_clear", "before_asleep", "after_asleep", "before_wait"])
def test_put_while_the_writer_falls_asleep(path: Path, moment: str) -> None:
    """A record put at any moment of the writer's going to sleep is written, and so is the next."""
    log = ForcedLog(str(path), "%U")
    happened = threading.Event()

    def put() -> None:
        log.put(record("one"))
        happened.set()

    setattr(log if "asleep" in moment else log.bell, moment, put)
    with running(log):
        assert happened.wait(SECONDS)
        wait_for_lines(path, "/one")
        wait_until(lambda: log.value, SECONDS)
        log.put(record("two"))
        wait_for_lines(path, "/one", "/two")


@pytest.mark.parametrize("moment", ["before_clear", "before_asleep", "after_asleep", "before_wait"])
def test_late_put_does_not_silence_the_next(path: Path, moment: str) -> None:
    """A `put` that was held up after it saw the writer asleep rings for a record that is long
    written, while the writer falls asleep again: the next record is written all the same."""
    log = ForcedLog(str(path), "%U")
    with running(log):
        wait_until(lambda: log.value and log.bell.waits, SECONDS)
        late = threading.Thread(target=lambda: log.put(record("late")), name="late")
        late.start()
        assert log.late_has_looked.wait(SECONDS)  # it saw the writer asleep
        happened = threading.Event()

        def go_on() -> None:
            log.late_may_go_on.set()
            late.join(SECONDS)
            happened.set()

        setattr(log if "asleep" in moment else log.bell, moment, go_on)
        log.put(record("waking"))
        assert happened.wait(SECONDS)
        wait_for_lines(path, "/late", "/waking")
        log.put(record("next"))
        wait_for_lines(path, "/late", "/waking", "/next")


# ---- too much, or no room --------------------------------------------------------------------


def test_full_queue_drops_and_counts(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the queue cannot hold is dropped at once, counted, and reported at the end."""
    monkeypatch.setattr(accesslog, "_QUEUE", 3)
    log = AccessLog(str(path), "%U")
    for number in range(5):
        log.put(record(str(number)))
    assert log.dropped == 2
    log.start()
    log.close()
    assert path.read_text().split() == ["/0", "/1", "/2"]
    expected = "the access log lost 2 records, the last because: 3 records were waiting"
    assert expected in caplog.text


def test_dropped_records_are_reported(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is reported where nothing was lost."""
    with running(AccessLog(str(path), "%U")) as log:
        log.put(record("one"))
    assert caplog.text == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no /dev/full")
def test_full_disk_is_counted_and_survived(caplog: pytest.LogCaptureFixture) -> None:
    """On a full disk lines are lost and counted; writer and close() go on."""
    with running(AccessLog("/dev/full", "%U")) as log:
        for count in (1, 2):
            log.put(record("lost"))
            wait_until(lambda count=count: log.dropped >= count, SECONDS)  # type: ignore[misc]
    assert log.dropped == 2
    assert "lost 2 records, the last because: No space left on device" in caplog.text


def test_closed_pipe_is_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A pipe whose reader has gone loses lines, not the server."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with running(AccessLog(str(fifo), "%U")) as log:
        log.put(record("read"))
        assert select.select([reader], [], [], SECONDS)[0]
        assert os.read(reader, 100) == b"/read\n"
        os.close(reader)
        log.put(record("lost"))
        wait_until(lambda: log.dropped == 1, SECONDS)
    assert "the access log lost 1 record, the last because: Broken pipe" in caplog.text


def test_close_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A reader that takes nothing holds close() up for its time-out only."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str(fifo), "%U")
    names = ["x" * 1000] * 2000
    try:
        for name in names:
            log.put(record(name))
        log.start()
        assert select.select([reader], [], [], SECONDS)[0]  # the writer is at it
        log.close(timeout=0.1)
        assert log._thread.is_alive()
    finally:
        os.close(reader)  # ends the writer with a broken pipe
        log._thread.join(SECONDS)
        log.close()
    assert not log._thread.is_alive()
