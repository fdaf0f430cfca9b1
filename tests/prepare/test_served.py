"""Prepared applications on real servers: warm-up, what stays of objects, garbage, contexts."""

import gc
import json
import os
import re
import signal
import sys
import sysconfig
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import nogilserve
from nogilserve.cli import main
from nogilserve.observe.profile import sample
from nogilserve.prepare import AVAILABLE, IMMORTAL
from nogilserve.prepare.warmup import TIMES, USER_AGENT
from tests.support.server import RUNTIME, Server, children_of
from tests.support.waiting import Deadline, wait_until

SECONDS = 30.0
APPS = ["tests.apps.prepared:wsgi", "tests.apps.prepared:asgi"]
BOTH = pytest.mark.parametrize("app", APPS, ids=["wsgi", "asgi"])
TWO = ("--workers", "2", "--threads", "4")
COPIES = ["processes", *(["subinterpreters"] if sys.version_info >= (3, 14) else [])]
defers = pytest.mark.skipif(
    not AVAILABLE or RUNTIME != "auto", reason="free-threaded CPython 3.14 and later"
)
in_one_process = pytest.mark.skipif(
    RUNTIME not in ("auto", "threads"), reason="looks at what is in one process"
)


def ask(server: Server, path: str) -> Any:
    """What the application answers."""
    with server.connect() as client:
        answer = client.get(path)
        assert answer.status == 200, (path, answer)
        return json.loads(answer.body)


# ---- warm-up


@in_one_process
@BOTH
def test_every_core_is_warmed_up(serve: Callable[..., Server], app: str) -> None:
    """Each path on each core's own thread, marked, before the server says that it listens."""
    server = serve(app, *TWO, "--warmup", "/hello?x=1", "--warmup", "/")
    assert server.log.index("Warmed up with") < server.log.index("Listening on")
    seen = ask(server, "/seen")
    assert {agent for _, agent in seen} == {USER_AGENT}
    threads = Counter(thread for thread, _ in seen)
    if sysconfig.get_config_var("Py_GIL_DISABLED") or app == APPS[0]:
        assert threads.total() == 2 * 2 * TIMES
        if app == APPS[0]:  # another thread may take over where a call is found blocked
            assert {"core-0", "core-1"} <= threads.keys()
        else:
            assert set(threads.values()) == {2 * TIMES}
    assert f"Warmed up with {len(seen)} requests in" in server.log


@BOTH
def test_warm_up_is_logged_and_counted_as_what_it_is(
    serve: Callable[..., Server], app: str
) -> None:
    """The access log shows the requests with their user agent, from nobody's address."""
    server = serve(app, *TWO, "--warmup", "/hello", "--access-log", "-")
    cores = len(ask(server, "/seen")) // TIMES
    server.wait_out(rf'^-.*"GET /hello HTTP/1.1" 200 .*"{USER_AGENT}"', SECONDS, cores * TIMES)


@BOTH
def test_what_fails_is_told_and_prevents_nothing(serve: Callable[..., Server], app: str) -> None:
    """Once for each path, whatever the number of cores and repetitions; other paths are asked."""
    options = ("--workers", "1", "--warmup", "/broken", "--warmup", "/none", "--warmup", "/hello")
    server = serve(app, *options)
    log = server.log
    assert log.count("(--warmup)") == 2
    assert "Warming up: GET /broken was answered with 500 Internal Server Error (--warmup)" in log
    assert "Warming up: GET /none was answered with 404" in log
    assert f"Warmed up with {TIMES} requests" in log
    assert ask(server, "/hello") == "ok"


@in_one_process
def test_a_warm_up_that_blocks_does_not_keep_the_other_cores(
    serve: Callable[..., Server],
) -> None:
    """A request that waits is as any: another thread drives meanwhile."""
    server = serve(APPS[0], *TWO, "--warmup", "/slow?s=0.05", "--warmup", "/hello")
    assert f"Warmed up with {4 * TIMES} requests" in server.log


@in_one_process
@pytest.mark.parametrize("app", ["wsgi", "asgi"])
def test_a_path_that_is_never_answered_holds_up_nothing(
    serve: Callable[..., Server], app: str
) -> None:
    """It has a share of the time, is named, and the others have theirs; the end of the server does
    not wait for it."""
    long = ("--graceful-timeout", "300", "--workers", "1", "--threads", "4")
    warmup = ("--warmup", "/never", "--warmup", "/")
    server = serve(f"tests.apps.impatient:{app}", *long, *warmup)
    assert f"Warming up: GET /never is slow: 0 of {TIMES} answers in its share of" in server.log
    assert f"Warmed up with {TIMES} requests" in server.log
    assert server.log.count("(--warmup)") == 1
    server.signal(signal.SIGTERM)
    server.wait_log("Stopped after", SECONDS)


def test_sites_and_hosts(serve: Callable[..., Server], tmp_path: Path) -> None:
    """A path is asked where a site has it; a host may be named."""
    path = tmp_path / "nogilserve.toml"
    path.write_text(
        'warmup = ["/hello", "b.test/hello", "c.test/x"]\nworkers = 1\n'
        '[[site]]\nhosts = ["a.test"]\nrespond = "a"\n'
        '[[site]]\nhosts = ["b.test"]\npath = "/"\napp = "tests.apps.prepared:wsgi"\n'
    )
    server = serve(f"--config={path}", "--workers", "1")
    assert "Warming up: GET c.test/x was answered with 421" in server.log
    assert f"Warmed up with {2 * TIMES} requests" in server.log


@pytest.mark.parametrize("runtime", COPIES)
def test_members_with_a_path_that_is_never_answered_hold_up_nothing(
    serve: Callable[..., Server], runtime: str
) -> None:
    """As a server with one copy of the application."""
    options = ("--runtime", runtime, "--workers", "1", "--threads", "4")
    server = serve(
        *("tests.apps.impatient:wsgi", "--graceful-timeout", "300", *options),
        *("--warmup", "/never", "--warmup", "/"),
    )
    server.signal(signal.SIGTERM)
    server.wait_log("Stopped after", SECONDS)
    assert server.wait(SECONDS) == 0


@pytest.mark.parametrize("runtime", COPIES)
def test_members_warm_up_their_own_copies(serve: Callable[..., Server], runtime: str) -> None:
    """Each copy of the application is asked, before the server accepts."""
    server = serve(APPS[0], "--runtime", runtime, *TWO, "--warmup", "/hello")
    server.wait_log(f"Warmed up with {TIMES} requests", SECONDS, 2)
    assert server.log.index("Warmed up with") < server.log.index("Listening on")
    assert [agent for _, agent in ask(server, "/seen")] == [USER_AGENT] * TIMES


def test_the_next_generation_is_warm_before_it_takes_over(serve: Callable[..., Server]) -> None:
    """As the first one."""
    server = serve(APPS[0], "--workers", "1", "--warmup", "/hello")
    server.signal(signal.SIGHUP)
    server.wait_log("Generation 2 has taken over", SECONDS)
    log = server.log
    assert log.count("Warmed up with") == 2
    assert log.rindex("Warmed up with") < log.index("Generation 2 has taken over")


# ---- objects


@defers
@BOTH
def test_removed_while_serving(serve: Callable[..., Server], app: str) -> None:
    """What the application lets go of is freed by the next collection, not before."""
    server = serve(app, *TWO, "--prepare", "defer", "--gc", "off")
    assert ask(server, "/deferred") is True
    ask(server, "/remove")
    assert ask(server, "/model") is True
    ask(server, "/collect")
    assert ask(server, "/model") is False


@in_one_process
@BOTH
def test_frozen_alone_is_freed_without_a_collection(serve: Callable[..., Server], app: str) -> None:
    """Its count frees it, as soon as the thread that made it runs again."""
    server = serve(app, *TWO, "--prepare", "freeze", "--gc", "off")
    assert ask(server, "/deferred") is False
    assert ask(server, "/collecting")[1] > 1000
    ask(server, "/remove")
    wait_until(lambda: ask(server, "/model") is False, SECONDS)


@defers
@BOTH
def test_the_command_gc_frees_what_is_frozen_and_freezes_nothing(
    serve: Callable[..., Server],
    app: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A collection leaves what was there before alone, the command does not. What requests have
    made is counted as ever afterwards, and `memory` still knows it."""
    control = str(tmp_path / "c.sock")
    server = serve(app, *TWO, "--prepare", "freeze,defer", "--control-socket", control)
    assert ask(server, "/deferred") is True
    assert ask(server, "/collecting")[1] > 1000
    ask(server, "/remove")
    ask(server, "/collect")
    assert ask(server, "/model") is True
    ask(server, "/keep?n=3000")
    assert main(["gc", "--control-socket", control]) == 0
    wait_until(lambda: ask(server, "/model") is False, SECONDS)
    assert ask(server, "/collecting")[1:] == [0, gc.get_threshold()[0]]
    capsys.readouterr()
    assert main(["memory", "--control-socket", control]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "prepared._Thing" in line]
    assert max(int(text.replace(",", "")) for text in re.findall(r"[\d,]*\d", line)) >= 3000, line
    assert ask(server, "/left") == 3000
    ask(server, "/drop")
    ask(server, "/collect")
    assert ask(server, "/left") <= 1  # the last one may be on a stack still


def told(server: Server, control: Path, capsys: pytest.CaptureFixture[str], what: str) -> str:
    """What `nogilserve status` says, as soon as it says that."""
    found = ""

    def says() -> bool:
        nonlocal found
        assert main(["status", "--control-socket", str(control)]) == 0
        found = capsys.readouterr().out
        return what in found

    wait_until(says, SECONDS)
    return found


@BOTH
def test_status_tells_what_was_done(
    serve: Callable[..., Server], app: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many requests and objects, in what time; what was not done, and why; what garbage
    cost."""
    control = tmp_path / "c.sock"
    steps = ("--prepare", "freeze,defer", "--gc", "idle", "--control-socket", str(control))
    server = serve(app, *TWO, *steps, "--warmup", "/hello", "--warmup", "/none")
    text = told(server, control, capsys, "prepared in")
    warmed = sum(map(int, re.findall(r"Warmed up with (\d+) requests", server.log)))
    line = re.search(r"prepared in (\S+) s: (\d+) requests to warm up, (.*)", text)
    assert line, text
    assert float(line[1]) > 0
    assert int(line[2]) == warmed
    assert re.search(r"\b[1-9]\d+ frozen", line[3])
    assert "not prepared: warmup: GET /none was answered with 404" in text
    if AVAILABLE and RUNTIME == "auto":
        assert re.search(r"^[1-9]\d+ objects deferred", line[3]), text
        assert "not prepared: defer" not in text
    else:
        assert "not prepared: defer: " in text
    assert re.search(r"garbage: [1-9]\d* collections? in .*objects of age 2: .*--gc idle", text)
    assert main(["status", "--json", "--control-socket", str(control)]) == 0
    (generation,) = json.loads(capsys.readouterr().out)["generations"]
    assert generation["prepared"]["warmed"] == warmed
    assert generation["collections"]["2"]["seconds"] > 0


@pytest.mark.parametrize("runtime", COPIES)
def test_status_adds_up_what_members_did(
    serve: Callable[..., Server],
    tmp_path: Path,
    runtime: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also after one has died: what the dead one had prepared is not counted."""
    control = tmp_path / "c.sock"
    server = serve(
        *(APPS[0], "--runtime", runtime, *TWO, "--warmup", "/hello"),
        *("--control-socket", str(control)),
    )
    warmed = f"{2 * TIMES} requests to warm up"
    assert "garbage: " in told(server, control, capsys, warmed)  # collected before freezing
    if runtime == "processes" and os.name == "posix":
        os.kill(children_of(server.serving)[0], signal.SIGKILL)
        server.wait_log("another one is started", SECONDS)
        server.wait_log(f"Warmed up with {TIMES} requests", SECONDS, 3)
        told(server, control, capsys, warmed)


@in_one_process
@BOTH
def test_by_default_what_is_there_stays(serve: Callable[..., Server], app: str) -> None:
    """It is not counted, with one thread neither: the thread that has made it is another one."""
    server = serve(app, "--workers", "1", "--threads", "1")
    assert ask(server, "/collecting")[1] > 1000
    assert ask(server, "/immortal") is IMMORTAL
    if AVAILABLE:
        ask(server, "/remove")
        ask(server, "/collect")
        assert ask(server, "/model") is True


@pytest.mark.skipif(not IMMORTAL, reason="free-threaded CPython 3.14")
def test_subinterpreters_free_what_they_have(
    serve: Callable[..., Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With immortal objects they would not come to their end."""
    control = tmp_path / "c.sock"
    server = serve(
        *(APPS[0], "--runtime", "subinterpreters", "--workers", "1"),
        *("--prepare", "immortal", "--control-socket", str(control)),
    )
    assert "a subinterpreter frees all that it has" in told(server, control, capsys, "not prepared")
    assert ask(server, "/immortal") is False
    server.stop()


@in_one_process
@BOTH
def test_none(serve: Callable[..., Server], app: str) -> None:
    """Everything is left as it was."""
    server = serve(app, *TWO, "--prepare", "none")
    assert ask(server, "/collecting")[:2] == [True, 0]
    assert ask(server, "/deferred") is False


EXAMPLES = ["flask", "fastapi"]
FLASK = """
import gc
from flask import Flask, jsonify, request
app = Flask(__name__)

@app.get("/item/<int:number>")
def item(number):
    parts = [{"n": n} for n in range(20)]
    return jsonify(number=number, name=request.args.get("name"), parts=parts)

@app.get("/collect")
def collect():
    return jsonify(gc.collect() >= 0)
"""
FASTAPI = """
import gc
from fastapi import Depends, FastAPI
from pydantic import BaseModel
app = FastAPI()

class Item(BaseModel):
    number: int
    name: str | None
    parts: list[dict[str, int]]

def common(name: str | None = None):
    return {"name": name}

@app.get("/item/{number}")
async def item(number: int, common=Depends(common)) -> Item:
    return Item(number=number, parts=[{"n": n} for n in range(20)], **common)

@app.get("/collect")
async def collect() -> bool:
    return gc.collect() >= 0
"""


@defers
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")
@pytest.mark.parametrize("steps", ["freeze,defer", "defer,immortal"])
@pytest.mark.parametrize("source", [FLASK, FASTAPI], ids=EXAMPLES)
def test_requests_leave_nothing_behind(
    serve: Callable[..., Server], tmp_path: Path, source: str, steps: str
) -> None:
    """What comes into being with a request goes with it: memory does not grow."""
    pytest.importorskip("flask" if source is FLASK else "fastapi")
    (tmp_path / "main.py").write_text(source)
    options = (*TWO, "--prepare", steps, "--warmup", "/item/1?name=x", "--gc", "off")
    server = serve("main:app", *options, cwd=tmp_path)
    expected = {"number": 7, "name": "x", "parts": [{"n": n} for n in range(20)]}
    sizes = []
    with server.connect() as one, server.connect() as other:
        for _ in range(3):
            for number in range(1000):
                answer = (one if number % 2 else other).get("/item/7?name=x")
                assert json.loads(answer.body) == expected
            assert json.loads(one.get("/collect").body) is True  # Flask makes cycles
            sizes.append(resident(server.serving))
    # 1000 requests make some megabytes of objects; what is left is the allocator's.
    assert sizes[2] - sizes[1] < 1 << 20, sizes


def resident(pid: int) -> int:
    """Bytes of memory in use."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class Callee:
    """A WSGI application that can be watched."""

    def __init__(self) -> None:
        self.routes = {"/": [{"number": 1}]}

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]


def test_a_server_in_a_program_gives_everything_back() -> None:
    """Also where two overlap: the last one ends the freeze, and the application can go."""
    before = gc.get_freeze_count()
    app = Callee()
    gone = weakref.ref(app)
    with nogilserve.Server(app, prepare="freeze", gc="off", warmup=["/"]) as first:
        second = nogilserve.Server(app, prepare="freeze")
        second.start()
        assert gc.get_freeze_count() > before
        assert not gc.isenabled()
        assert first.counters["requests"] == first.config.workers * TIMES
        assert first.counters["accepted"] == first.config.workers
    assert gc.isenabled()
    assert gc.get_freeze_count() > before
    second.stop()
    assert gc.get_freeze_count() == before
    del app, first, second
    gc.collect()
    assert gone() is None


def test_a_server_in_a_program_prepares_nothing_by_itself() -> None:
    """The other objects of the program are its own business."""
    before = gc.get_freeze_count()
    with nogilserve.Server(Callee()):
        assert gc.get_freeze_count() == before


# ---- garbage


@in_one_process
@BOTH
@pytest.mark.parametrize(
    "options",
    [("--gc", "default"), ("--prepare", "none"), ("--gc", "default", "--prepare", "none")],
)
def test_collections_as_ever(
    serve: Callable[..., Server], app: str, options: tuple[str, ...]
) -> None:
    """Python's own rules hold."""
    automatic, _, threshold = ask(serve(app, *TWO, *options), "/collecting")
    assert (automatic, threshold) == (True, gc.get_threshold()[0])


@defers
@BOTH
def test_collections_that_look_at_little_come_sooner(
    serve: Callable[..., Server], app: str
) -> None:
    """By default, where the application is frozen."""
    automatic, frozen, threshold = ask(serve(app, *TWO), "/collecting")
    assert automatic
    assert frozen > 1000
    assert threshold < gc.get_threshold()[0]


@defers
def test_thresholds_of_the_application_stay(serve: Callable[..., Server]) -> None:
    """It knows better."""
    assert ask(serve("tests.apps.thresholds:wsgi", *TWO), "/collecting")[2] == 1234


@in_one_process
@BOTH
def test_no_collections(serve: Callable[..., Server], app: str) -> None:
    """Cycles stay until somebody collects."""
    server = serve(app, *TWO, "--gc", "off")
    assert ask(server, "/collecting")[0] is False
    ask(server, "/cycles?n=10000")
    assert ask(server, "/left") == 10000
    ask(server, "/collect")
    assert ask(server, "/left") <= 1  # the last one may be on a stack still


@in_one_process
@BOTH
def test_collections_when_idle(serve: Callable[..., Server], app: str) -> None:
    """They are made soon after the requests, by a thread of the server's own."""
    server = serve(app, *TWO, "--gc", "idle")
    assert ask(server, "/collecting")[0] is False
    for _ in range(3):
        ask(server, "/cycles?n=1000")
    wait_until(lambda: ask(server, "/left") <= 1, SECONDS)


def test_who_waits_to_collect_is_not_busy() -> None:
    """A profile of a server that has nothing to do does not show the thread that collects."""
    with nogilserve.Server(Callee(), gc="idle"):
        assert any(thread.name == "collector" for thread in threading.enumerate())
        deadline = Deadline(SECONDS)
        while (found := sample(0.3))["samples"] < 2:
            deadline.require("several looks in one profile")
    assert not [line for line in found["folded"] if line.startswith("collector;")]


def test_members_that_wait_are_not_busy(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Their main threads wait for words of the generation."""
    control = str(tmp_path / "c.sock")
    stacks = tmp_path / "stacks.txt"
    serve(APPS[0], "--runtime", "processes", *TWO, "--control-socket", control)
    asked = ["profile", "--seconds", "0.3", "-o", str(stacks), "--control-socket", control]
    assert main(asked) == 0
    assert "Channel" not in stacks.read_text()


# ---- contexts


@in_one_process
@pytest.mark.parametrize(
    ("path", "asked"),
    [("/asgi/context", 3), ("/context", 1)],
    ids=["asgi", "call thread"],
)
def test_requests_begin_in_empty_contexts(
    serve: Callable[..., Server], tmp_path: Path, path: str, asked: int
) -> None:
    """Importing has set a variable, requests set it: the next request on a loop sees neither, and
    a thread for WSGI starts without either."""
    (tmp_path / "nogilserve.toml").write_text(
        '[[site]]\npath = "/"\napp = "tests.apps.prepared:wsgi"\n'
        '[[site]]\npath = "/asgi"\napp = "tests.apps.prepared:asgi"\n'
    )
    server = serve(f"--config={tmp_path / 'nogilserve.toml'}", "--workers", "1", "--threads", "1")
    with server.connect() as client:
        assert json.loads(client.get("/asgi/context").body) == "None"
        for _ in range(asked):
            assert json.loads(client.get(path).body) == "None"


@in_one_process
def test_threads_of_cores_start_in_empty_contexts(serve: Callable[..., Server]) -> None:
    """Importing has set a variable."""
    server = serve(APPS[0], "--workers", "1", "--threads", "1")
    assert ask(server, "/context") == "None"


@in_one_process
def test_a_thread_keeps_nothing_of_the_request_it_was_started_for(
    serve: Callable[..., Server],
) -> None:
    """`asyncio.to_thread` takes the context along for the call only. Its futures may refer to each
    other, which is no thread's doing."""
    server = serve(APPS[1], "--workers", "1", "--threads", "1")
    assert ask(server, "/to-thread") is True

    def let_go() -> bool:
        ask(server, "/collect")
        return ask(server, "/kept") is False

    wait_until(let_go, SECONDS)
