"""Stacks, profiles, memory, pauses, failures, flame graphs, log lines, statsd lines."""

import gc
import json
import logging
import re
import threading
import xml.etree.ElementTree as ET

import pytest

from nogilserve import stacks
from nogilserve.observe import flame, memory, profile, statsd
from nogilserve.observe.failures import RecentFailures
from nogilserve.observe.formatters import formatter
from nogilserve.observe.pauses import Pauses
from tests.support.waiting import Deadline

THREADS = 4


def wait_for(event: threading.Event) -> None:
    """A function with a name that is found in stacks."""
    event.wait(30)


def test_stacks_tell_where_threads_are() -> None:
    """Every thread is there by its name, the innermost call last."""
    event = threading.Event()
    thread = threading.Thread(target=wait_for, args=(event,), name="waiting")
    thread.start()
    try:
        found = {item["name"]: item for item in stacks.threads()}
        names = [place[2] for place in found["waiting"]["stack"]]
        assert "wait_for" in names
        assert names.index("wait_for") > 0
        assert found["waiting"]["key"] == thread.ident
    finally:
        event.set()
        thread.join()


def test_threads_that_run_can_be_looked_at() -> None:
    """Looking again and again at threads that call and return disturbs none of them."""
    stop = threading.Event()
    turns = [0] * THREADS

    def deep(depth: int) -> int:
        return deep(depth - 1) + 1 if depth else 0

    def work(index: int) -> None:
        while not stop.is_set():
            assert deep(30) == 30
            turns[index] += 1

    threads = [threading.Thread(target=work, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(150):
            assert len(stacks.stacks()) >= THREADS
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert all(turns)


def test_a_profile_counts_busy_threads_only() -> None:
    """A thread that waits in the server's own code is no news; an application's is."""
    event = threading.Event()
    thread = threading.Thread(target=wait_for, args=(event,), name="application;1")
    thread.start()
    try:
        # Where a look has taken long, the profiler does nothing for longer still.
        deadline = Deadline(30)
        while (found := profile.sample(0.3))["samples"] < 2:
            deadline.require("several looks in one profile")
    finally:
        event.set()
        thread.join()
    lines = [line for line in found["folded"] if "wait_for" in line]
    assert lines
    assert all(line.startswith("application,1;") for line in lines)


def test_memory_names_types() -> None:
    """Objects are counted by type, and more of them are found when there are more."""

    class Kept:
        """Something to find."""

    name = f"{Kept.__module__}.{Kept.__qualname__}"
    kept = [Kept() for _ in range(5000)]
    found = memory.by_type()["types"]
    assert found[name]["count"] == len(kept)
    assert found[name]["bytes"] > 0


def test_pauses_are_noted_while_somebody_looks() -> None:
    """Collections after a look are told at the next one; then nothing stays installed."""
    pauses = Pauses()
    before = len(gc.callbacks)
    pauses.start()
    assert pauses.look(0) == []
    gc.collect()
    (first,) = [pause for pause in pauses.look(0) if pause["generation"] == 2][:1]
    assert first["seconds"] >= 0
    assert pauses.look(first["at"] + 1) == []
    pauses.stop()
    assert len(gc.callbacks) == before
    numbers = {age: row["number"] for age, row in pauses.counted().items()}
    assert numbers.keys() == {"0", "1", "2"}
    assert numbers["2"] >= 1


def test_collections_of_many_threads_are_all_counted(request: pytest.FixtureRequest) -> None:
    """Whichever thread collects, and whoever reads meanwhile: none is lost, and seconds only
    grow. Where two would overlap, the interpreter makes one of them."""
    gc.disable()  # none by itself between the interpreter's numbers and ours
    request.addfinalizer(gc.enable)
    pauses = Pauses()
    before = gc.get_stats()
    pauses.start()
    threads = [
        threading.Thread(target=lambda: [gc.collect(i % 3) for i in range(60)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in threads):
        seen.append(sum(row["seconds"] for row in pauses.counted().values()))
    pauses.stop()
    after = gc.get_stats()
    assert seen == sorted(seen)
    for age, row in pauses.counted().items():
        collections = [stats[int(age)]["collections"] for stats in (before, after)]
        assert row["number"] == collections[1] - collections[0]
        assert row["seconds"] > 0


def test_failures_that_come_out_of_order_are_told_once() -> None:
    """Of two threads the one whose record is older may be the later one to hand it over: whoever
    asks for what came since the last one gets it, and nothing twice."""
    failures = RecentFailures()
    texts = []
    moment = 0.0
    for number, created in enumerate([2000.0, 1000.0, 2000.0]):
        record = logging.LogRecord("x", 40, "", 0, f"{number}", (), None)
        record.created = created
        failures.handle(record)
        for item in failures.since(moment):
            texts.append(item["text"])
            moment = item["at"]
    assert texts == ["0", "1", "2"]
    failures.close()


def test_failures_are_kept_while_many_threads_fail() -> None:
    """Several threads log while another one reads: every text is whole, the last ones stay."""
    failures = RecentFailures()
    began = threading.Barrier(THREADS + 1)

    def fail(index: int) -> None:
        began.wait()
        for number in range(300):
            record = logging.LogRecord("x", 40, "", 0, "%d of %d", (number, index), None)
            failures.handle(record)

    threads = [threading.Thread(target=fail, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    began.wait()
    while any(thread.is_alive() for thread in threads):
        for item in failures.since(0):
            assert re.fullmatch(r"\d+ of \d", item["text"])
    for thread in threads:
        thread.join()
    assert len(failures.since(0)) == 50
    assert failures.since(failures.since(0)[-1]["at"]) == []
    failures.close()


def test_a_flame_graph_is_well_formed() -> None:
    """Names that mean something in XML do no harm; widths follow the counts."""
    folded = {"main;<module> (a.py:1);f & g": 3, 'main;<module> (a.py:1);"h"': 1}
    for interactive in (True, False):
        root = ET.fromstring(flame.svg(folded, "a < b", interactive=interactive))
        space = "{http://www.w3.org/2000/svg}"
        boxes = {box.get("data-name"): box for box in root.iter(f"{space}g")}
        assert set(boxes) == {"all", "main", "<module> (a.py:1)", "f & g", '"h"'}
        width = {name: float(box[1].get("width", 0)) for name, box in boxes.items()}
        assert width["f & g"] == 3 * width['"h"']
        assert (root.find(f"{space}script") is not None) == interactive
    assert "<svg" in flame.svg({}, "nothing")


def test_log_lines() -> None:
    """Text names the generation; JSON takes the id out of the message, and what follows the first
    line apart."""
    message = "[abc/1] GET /: exception in main:app\nTraceback\n  line"
    record = logging.LogRecord("nogilserve.error", 40, "", 0, message, (), None)
    assert formatter("text", 3).format(record).endswith(f"[ERROR] generation 3: {message}")
    assert "generation" not in formatter("text").format(record)
    line = formatter("json", 3, "shop").format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert found["request_id"] == "abc/1"
    assert found["message"] == "GET /: exception in main:app"
    assert found["detail"] == "Traceback\n  line"
    assert (found["generation"], found["tenant"], found["level"]) == (3, "shop", "error")


def test_statsd_lines_are_differences() -> None:
    """Counters since the last time, gauges as they are; what has not grown is left out."""
    before = {"counters": {"requests": 5, "accepted": 1, "refused": {"400 x": 1}}}
    look = {
        "totals": {
            "counters": {"requests": 9, "accepted": 1, "refused": {"400 x": 3}},
            "requests": {"GET 200 ": {"0": 3, "sum": 0.3}, "GET 503 ": {"2": 1, "sum": 0.1}},
        },
        "now": {"threads": 4, "busy": 2, "in_flight": 2, "open": 7},
    }
    assert list(statsd.lines("x", look, before)) == [
        "x.requests:4|c",
        "x.refused:2|c",
        "x.responses.2xx:3|c",
        "x.responses.5xx:1|c",
        "x.request_duration:100.000|ms",
        "x.threads:4|g",
        "x.threads_busy:2|g",
        "x.requests_in_flight:2|g",
        "x.connections:7|g",
    ]
