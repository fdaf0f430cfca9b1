"""`nogilserve stress` finds the races of broken applications, and none in sound ones."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.stress_app.runs import EXAMPLES, stress

SOUND = """
import itertools, threading, time, uuid
numbers, lock, seen = itertools.count(1), threading.Lock(), {}
key = uuid.uuid4().hex

def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    status, kind = "200 OK", "text/plain"
    if path == "/":
        kind = "text/html"
        body = "".join(f"<a href='{p}'>x</a>" for p in ("/count", "/me?user=ada", "/key", "/late"))
    elif path == "/count":
        body = f"{next(numbers)} by {threading.current_thread().name}"
    elif path == "/me":
        with lock:
            seen[query] = seen.get(query, 0) + 1
        body = f"{query} at {time.time()}, {uuid.uuid4()}"
    elif path == "/key":
        body = key
    else:  # only once somebody has asked twice
        with lock:
            seen["late"] = seen.get("late", 0) + 1
            status = "200 OK" if seen["late"] > 2 else "404 Not Found"
        body = status
    start_response(status, [("Content-Type", kind), ("X-Number", str(len(body)))])
    return [body.encode()]
"""
FATAL = """
import os, threading
one, other, inside = threading.Lock(), threading.Lock(), []

def app(environ, start_response):
    path = environ["PATH_INFO"]
    first, second = (one, other) if path == "/there" else (other, one)
    if path == "/die":
        inside.append(path)
        if len(inside) > 1:
            os.abort()
        inside.pop()
    else:
        with first:
            inside[:] = inside
            with second:
                pass
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
"""
WAITING = """
import asyncio
from nogilserve import per_loop
one, other = per_loop(asyncio.Lock), per_loop(asyncio.Lock)

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    first, second = (one, other) if scope["path"] == "/there" else (other, one)
    async with await first():
        await asyncio.sleep(0)
        async with await second():
            pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})
"""
COUNTING = """
count = 0

def app(environ, start_response):
    global count
    if environ["REQUEST_METHOD"] == "POST":
        count += 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(count).encode() if environ["PATH_INFO"] == "/count" else b"thanks"]
"""
CHECK = """
masks = [r"thank\\w"]

def setup(client):
    client.headers["X-From"] = "setup"
    assert client.get("/count").json() == 0

def check(client):
    counted, sent = int(client.get("/count").text), client.sent["POST /"]
    assert counted == sent, f"{sent} were sent, {counted} are known"
"""
RUNS: dict[str, tuple[str, ...]] = {
    "counter": ("counter:app", "--first", "--seconds", "60"),
    "cache": ("cache:app", "--first", "--seconds", "60"),
    "cursor": ("cursor:app", "--first", "--seconds", "60"),
    "user": ("user:app", "--requests", "user.http", "--first", "--seconds", "60"),
    "pool": ("pool:app", "--first", "--seconds", "60"),
    "fastapi_demo": ("fastapi_demo:app", "--seconds", "2"),
    "sound": ("sound:app", "--seconds", "2"),
    "deadlock": (
        *("fatal:app", "--requests", "deadlock.http", "--deadline", "1.5"),
        *("--first", "--seconds", "60"),
    ),
    "tasks": (
        *("waiting:app", "--requests", "deadlock.http", "--deadline", "1.5", "--loops", "1"),
        *("--first", "--seconds", "60"),
    ),
    "crash": ("fatal:app", "--requests", "crash.jsonl", "--first", "--seconds", "60"),
    "counting": (
        *("counting:app", "--requests", "post.http", "--check", "counters.py"),
        *("--first", "--seconds", "60", "--save", "found.http"),
    ),
    "checked": (
        *("counting:app", "--requests", "post.http", "--check", "check.py"),
        *("--first", "--seconds", "60"),
    ),
}
FILES = {
    "sound.py": SOUND,
    "fatal.py": FATAL,
    "waiting.py": WAITING,
    "deadlock.http": "GET /there\n###\nGET /back\n",
    "crash.jsonl": '{"path": "/die"}\n',
    "counting.py": COUNTING,
    "post.http": "POST /\n",
    "counters.py": 'counters = ["GET /count"]\n',
    "check.py": CHECK,
}
NEEDS = {
    **dict.fromkeys(("counter", "cache", "cursor", "user"), "flask"),
    "fastapi_demo": "fastapi",
}


def report_of(folder: Path, name: str) -> dict[str, Any]:
    """The report of a run."""
    if name in NEEDS and not importlib.util.find_spec(NEEDS[name]):
        pytest.skip(f"{NEEDS[name]} is not installed, or has no wheels for this interpreter")
    for file in (*(EXAMPLES / "races").iterdir(), EXAMPLES / "fastapi_demo.py"):
        if file.is_file():
            shutil.copy(file, folder)
    for file_name, text in FILES.items():
        (folder / file_name).write_text(text)
    more = ("--seed", "1", *(() if name == "pool" else ("--quiet",)))
    return stress(folder, *RUNS[name], *more)


def finding_of(folder: Path, name: str) -> dict[str, Any]:
    """The only finding of a run, shrunk; its report has to end as reports with one do."""
    report = report_of(folder, name)
    assert report["status"] == 1, report["said"]
    (finding,) = report["findings"]
    assert finding["shrunk"], report["text"]
    assert report["text"].endswith("1 race found.\n")
    found: dict[str, Any] = finding
    return found | {"report": report}


def shared(finding: dict[str, Any]) -> set[str]:
    """The names of what the requests share."""
    return {each["name"] for each in finding["shared"]}


@pytest.mark.parametrize(
    ("name", "kinds", "state"),
    [
        ("counter", {"twice"}, "hits"),
        ("cache", {"constant"}, "accounts"),
        ("cursor", {"answer", "error"}, "cursor"),
        ("user", {"answer", "marker"}, "current_user"),
    ],
)
def test_broken_flask_example(tmp_path: Path, name: str, kinds: set[str], state: str) -> None:
    """The race is found, with the two requests that show it and the variable they share."""
    finding = finding_of(tmp_path, name)
    assert finding["kind"] in kinds
    assert state in shared(finding)
    assert len(finding["requests"]) == 2, finding["report"]["text"]
    assert {each["name"] for each in finding["moments"]} >= {state}
    assert finding["moments"][0]["stack"]


def test_pool_on_event_loops(tmp_path: Path) -> None:
    """Four requests for three connections, on however many loops."""
    finding = finding_of(tmp_path, "pool")
    assert (finding["kind"], len(finding["requests"])) == ("answer", 4)
    assert "free" in shared(finding)
    assert any("IndexError: pop from empty list" in text for text in finding["failures"])
    assert "--seed 1 repeats this run" in finding["report"]["said"]
    assert "found: GET /" in finding["report"]["said"]


def test_sound_application(tmp_path: Path) -> None:
    """Locked counters, names of threads, tokens, times, keys made at start, answers that depend on
    what was asked before: nothing is found."""
    report = report_of(tmp_path, "sound")
    assert (report["status"], report["findings"]) == (0, []), report["text"]
    assert report["sent"] > 4
    assert "No race found." in report["text"]


def test_sound_fastapi_demo(tmp_path: Path) -> None:
    """By its OpenAPI document, which is found without being named."""
    report = report_of(tmp_path, "fastapi_demo")
    assert (report["status"], report["findings"]) == (0, []), report["text"]
    asked = {f"{each['method']} {each['target']}" for each in report["requests"]}
    assert {"GET /?name=Ada", "GET /?name={marker}", "POST /notes", "GET /notes/1"} <= asked


def test_deadlock_is_shown_with_its_stacks(tmp_path: Path) -> None:
    """Two locks, taken in two orders."""
    finding = finding_of(tmp_path, "deadlock")
    assert finding["kind"] == "hang"
    stuck = [frames for _, frames in finding["stacks"] if "with second:" in "".join(frames)]
    assert len(stuck) == 2
    assert finding["report"]["text"].count("with second:") == 2


def test_tasks_that_wait_for_each_other_are_shown(tmp_path: Path) -> None:
    """The same with tasks of one event loop: no thread is stuck."""
    finding = finding_of(tmp_path, "tasks")
    assert (finding["kind"], len(finding["requests"])) == ("hang", 2)
    stuck = [frames for name, frames in finding["stacks"] if name.startswith("task of")]
    assert len(stuck) == 2
    assert finding["report"]["text"].count("async with await second():") == 2


def test_crash_is_a_finding(tmp_path: Path) -> None:
    """With what the process had to say."""
    finding = finding_of(tmp_path, "crash")
    assert finding["kind"] == "crash"
    assert "was killed by SIGABRT" in finding["what"]
    assert "in app" in finding["failures"][0]
    assert len(finding["requests"]) == 2


@pytest.mark.parametrize(("name", "kind"), [("counting", "counter"), ("checked", "check")])
def test_lost_updates_by_the_hook(tmp_path: Path, name: str, kind: str) -> None:
    """What the answers do not show, a counter or a function of the user's finds."""
    finding = finding_of(tmp_path, name)
    assert (finding["kind"], len(finding["requests"])) == (kind, 2)
    assert "count" in shared(finding)
