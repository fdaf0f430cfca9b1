"""`nogilserve doctor` as it is called: real applications, real extension modules."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from nogilserve.prepare import AVAILABLE, IMMORTAL
from tests.doctor.patients import ROOT, WSGI, diagnosis, doctor
from tests.support.extension import compile_extension
from tests.support.waiting import wait_until

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

needs_free_threading = pytest.mark.skipif(not FREE_THREADED, reason="this build has a GIL")
needs_a_gil = pytest.mark.skipif(FREE_THREADED, reason="this build can do without a GIL")


@needs_free_threading
def test_sound_application(tmp_path: Path) -> None:
    """Nothing found: status 0, threads, and it says so."""
    report = diagnosis(tmp_path, WSGI, "--strict", "--workers", "3")
    assert (report["status"], report["ready"], report["findings"]) == (0, True, [])
    assert (report["app"], report["interface"]) == ("main:app", "wsgi")
    assert report["lifespan"] == ""
    assert (report["runtime"], report["cores"]) == ("threads", 3)
    assert report["python"]["gil_before"] is report["python"]["gil_after"] is False
    assert report["standard_extensions"] > 0
    ended = doctor(tmp_path, "main:app")
    assert ended.stdout.endswith("stands between this application and free threading.\n")
    assert ended.stderr == ""


@needs_free_threading
def test_every_extension_that_switches_the_gil_on_is_named(tmp_path: Path) -> None:
    """All of them, though Python warns of the first one only, and what is loaded after them."""
    for name, safe in (
        ("one_safe", True),
        ("two_bad", False),
        ("three_safe", True),
        ("four_bad", False),
    ):
        compile_extension(tmp_path, name, safe=safe)
    text = f"import one_safe, two_bad, three_safe, four_bad\n{WSGI}"
    report = diagnosis(tmp_path, text)
    assert report["status"] == 1
    assert [(each["module"], each["gil"]) for each in report["extensions"]] == [
        ("one_safe", "keeps it off"),
        ("two_bad", "switches it on"),
        ("three_safe", "keeps it off"),
        ("four_bad", "switches it on"),
    ]
    assert [(each["area"], each["where"], each["problem"]) for each in report["findings"]] == [
        ("gil", "two_bad", True),
        ("gil", "four_bad", True),
    ]
    assert report["runtime"] == ("processes" if report["cores"] > 1 else "threads")
    ended = doctor(tmp_path, "main:app")
    assert ended.stdout.endswith("2 problems found.\n")
    assert "off before the application was imported, on afterwards" in ended.stdout


@needs_free_threading
@pytest.mark.parametrize(
    ("value", "runtime", "status"), [("0", "threads", 0), ("1", "processes", 1)]
)
def test_forced_gil_is_told_and_looked_past(
    tmp_path: Path, value: str, runtime: str, status: int
) -> None:
    """PYTHON_GIL decides what auto takes, but the extensions are watched without it."""
    report = diagnosis(tmp_path, WSGI, "--workers", "2", PYTHON_GIL=value)
    assert (report["runtime"], report["status"]) == (runtime, status)
    assert report["python"]["gil_before"] is False
    (finding,) = report["findings"]
    assert finding["where"] == "PYTHON_GIL or -X gil"


@needs_a_gil
def test_build_with_a_gil_says_what_can_be_known(tmp_path: Path) -> None:
    """What modules declare is read from their definitions; the rest is called unknown."""
    compile_extension(tmp_path, "one_safe", safe=True)
    compile_extension(tmp_path, "two_bad", safe=False)
    report = diagnosis(tmp_path, f"import one_safe, two_bad\n{WSGI}", "--workers", "2")
    assert [(each["module"], each["gil"]) for each in report["extensions"]] == [
        ("one_safe", "declares to keep it off"),
        ("two_bad", "unknown"),
    ]
    assert report["status"] == 0
    assert report["runtime"] in ("processes", "subinterpreters")
    assert "free-threaded build" in report["findings"][0]["why"]


@needs_a_gil
@pytest.mark.skipif(sys.version_info < (3, 14), reason="there is no concurrent.interpreters")
def test_application_is_tried_in_a_subinterpreter(tmp_path: Path) -> None:
    """What refuses to be imported there gets processes, and the reason."""
    report = diagnosis(tmp_path, WSGI, "--workers", "2")
    assert report["runtime"] == "subinterpreters"
    text = "import _thread\nassert _thread.daemon_threads_allowed(), 'not here'\n" + WSGI
    report = diagnosis(tmp_path, text, "--workers", "2")
    assert report["runtime"] == "processes"
    assert "AssertionError: not here" in report["reason"]


BOUND = """
import asyncio, sqlite3
lock = asyncio.Lock()
database = sqlite3.connect(":memory:")
class Thing: pass
"""


def test_objects_of_one_thread_or_loop_are_found(tmp_path: Path) -> None:
    """For ASGI a lock of asyncio's is a problem, for WSGI worth a look; --loop-bound adds types."""
    asgi = BOUND + "async def app(scope, receive, send): pass\nthing = Thing()\n"
    report = diagnosis(tmp_path, asgi, "--loop-bound", "main:Thing")
    found = [(each["area"], each["where"], each["problem"]) for each in report["findings"]]
    assert [each for each in found if each[0] in ("loop", "thread")] == [
        ("loop", "main:lock", True),
        ("loop", "main:thing", True),
        ("thread", "main:database", True),
    ]
    report = diagnosis(tmp_path, BOUND + WSGI)
    found = [(each["area"], each["where"], each["problem"]) for each in report["findings"]]
    assert ("loop", "main:lock", False) in found
    assert ("thread", "main:database", True) in found


LIVING = """
import asyncio, os, subprocess, sys, time
class Holder: pass
holder = Holder()
async def app(scope, receive, send):
    if scope["type"] != "lifespan":
        return
    await receive()
    STARTUP
    await send({"type": "lifespan.startup.complete"})
    await receive()
    SHUTDOWN
    await send({"type": "lifespan.shutdown.complete"})
"""


def living(startup: str, shutdown: str = "pass") -> str:
    """An application whose lifespan does that."""
    return LIVING.replace("STARTUP", startup).replace("SHUTDOWN", shutdown)


def found_in(report: dict[str, Any], area: str) -> list[tuple[str, str, bool]]:
    """What of that area was found."""
    return [
        (each["where"], each["what"], each["problem"])
        for each in report["findings"]
        if each["area"] == area
    ]


def test_what_the_lifespan_makes_is_found(tmp_path: Path) -> None:
    """As when it is served: what is kept on an object of the application is a problem, what each
    loop gets in its state is not, unless the lifespan runs once for all. It ends, too."""
    made = living("holder.lock = asyncio.Lock()", "open('ended', 'w').close()")
    report = diagnosis(tmp_path, made)
    assert report["lifespan"] == "started"
    assert found_in(report, "loop") == [("main:holder.lock", "asyncio.locks.Lock", True)]
    assert (tmp_path / "ended").exists()
    report = diagnosis(tmp_path, made, "--lifespan", "off")
    assert (report["lifespan"], found_in(report, "loop")) == ("off", [])
    state = living("scope['state']['lock'] = asyncio.Lock()")
    assert found_in(diagnosis(tmp_path, state, "--workers", "2"), "loop") == []
    report = diagnosis(tmp_path, state, "--lifespan-scope", "generation")
    assert [where for where, _, _ in found_in(report, "loop")] == ["lifespan state['lock']"]
    report = diagnosis(tmp_path, "async def app(scope, receive, send): raise TypeError")
    assert (report["lifespan"], report["status"]) == ("none", 0)


@needs_free_threading
def test_an_extension_that_the_lifespan_imports(tmp_path: Path) -> None:
    """It switches the GIL on as one that is imported with the application."""
    compile_extension(tmp_path, "late_bad", safe=False)
    report = diagnosis(tmp_path, living("import late_bad"), "--workers", "2")
    assert ("late_bad", True) in [(where, bad) for where, _, bad in found_in(report, "gil")]
    assert (report["runtime"], report["python"]["gil_after"]) == ("processes", True)
    assert report["prepare"]["steps"] == ["freeze"]
    left = ["defer: the GIL is on", *(["immortal: the GIL is on"] if IMMORTAL else [])]
    assert report["prepare"]["left"] == left


@pytest.mark.parametrize(
    ("text", "part", "words"),
    [
        (living("raise OSError('no database here')"), "startup", "no database here"),
        (living("sys.exit(4)"), "startup", "SystemExit"),
        (living("os._exit(7)"), "startup", "ended with status 7"),
        (living("time.sleep(100)"), "startup", "was not done after 5 s; --import-timeout"),
        (living("pass", "os._exit(9)"), "shutdown", "ended with status 9"),
    ],
)
def test_a_lifespan_that_does_not_work_here(
    tmp_path: Path, text: str, part: str, words: str
) -> None:
    """It may need what is not there: that is told, and all else is looked at."""
    whole = f"import asyncio\nlock = asyncio.Lock()\n{text}"
    report = diagnosis(tmp_path, whole, "--import-timeout", "5" if "5 s" in words else "60")
    assert found_in(report, "lifespan") == [("main:app", part, False)]
    (why,) = [each["why"] for each in report["findings"] if each["area"] == "lifespan"]
    assert words in why
    assert found_in(report, "loop") == [("main:lock", "asyncio.locks.Lock", True)]
    assert report["status"] == 1


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_nothing_is_left_running(tmp_path: Path) -> None:
    """Neither threads that keep a process from ending, nor processes that it has started."""
    text = (
        "import subprocess, sys, threading\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
        f"open('pid', 'w').write(str(other.pid))\n{WSGI}"
    )
    assert diagnosis(tmp_path, text)["status"] == 0
    pid = int((tmp_path / "pid").read_text())

    def gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    wait_until(gone, 20)


def test_preparing_is_tried(tmp_path: Path) -> None:
    """With the options that are given; an application that does not take it has a problem."""
    report = diagnosis(tmp_path, WSGI, "--workers", "2")
    prepare = report["prepare"]
    assert prepare["objects"]["frozen"] > 1000
    if AVAILABLE:
        assert prepare["steps"] == ["defer", "freeze", *(["immortal"] if IMMORTAL else [])]
        assert prepare["objects"]["deferred"] > 1000
        assert prepare["left"] == []
    else:
        assert prepare["steps"] == ["freeze"]
        assert prepare["left"][0].startswith("defer: ")
    assert diagnosis(tmp_path, WSGI, "--prepare", "none")["prepare"]["objects"] == {}
    text = (
        "import gc, os\n"
        "gc.callbacks.append(lambda phase, info: info['generation'] == 2 and os._exit(5))\n" + WSGI
    )
    report = diagnosis(tmp_path, text)
    assert found_in(report, "prepare") == [("main:app", "--prepare", True)]
    assert report["prepare"] is None
    assert report["status"] == 1


CACHE = """
cache = {}
def app(environ, start_response):
    cache[environ["PATH_INFO"]] = 1
"""


def test_caches_are_worth_a_look_and_strict_minds_them(tmp_path: Path) -> None:
    """Of the application's own modules, the one it imports too; as a gate only with --strict."""
    (tmp_path / "views.py").write_text("seen = set()\ndef view(request):\n    seen.add(request)\n")
    text = f"import views\n{CACHE}"
    report = diagnosis(tmp_path, text)
    found = [
        (each["where"], each["what"]) for each in report["findings"] if each["area"] == "cache"
    ]
    assert found == [("main:cache", "app(), main.py:5"), ("views:seen", "view(), views.py:3")]
    assert report["status"] == 0
    assert diagnosis(tmp_path, text, "--strict")["status"] == 1


def test_package_that_is_known_for_trouble(tmp_path: Path) -> None:
    """By its name, if the application imports it."""
    (tmp_path / "eventlet.py").write_text("")
    report = diagnosis(tmp_path, f"import eventlet\n{WSGI}")
    assert [each["where"] for each in report["findings"] if each["area"] == "package"] == [
        "eventlet"
    ]
    assert report["status"] == 1


def test_threads_are_recommended_with_a_reason(tmp_path: Path) -> None:
    """What waits for others is named; a pool of connections is a limit."""
    (tmp_path / "pymysql.py").write_text("")
    report = diagnosis(tmp_path, f"import pymysql\n{WSGI}")
    assert report["threads"] >= 16
    assert "pymysql" in report["threads_reason"]
    (tmp_path / "sqlalchemy").mkdir()
    (tmp_path / "sqlalchemy" / "__init__.py").write_text("")
    text = (
        "class Engine: __module__ = 'sqlalchemy.engine.base'\n"
        "class Pool: pass\n"
        "engine, pool, queue = Engine(), Pool(), Pool()\n"
        "engine.pool, pool._pool, queue.maxsize, pool._max_overflow = pool, queue, 5, 7\n"
    )
    report = diagnosis(tmp_path, text + WSGI, "--workers", "2")
    assert report["threads"] == 12
    assert "main:engine" in report["threads_reason"]


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("import os\nos._exit(3)", 3, "ended with status 3"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", 3, "was killed by signal 9"),
        ("1 / 0", 3, "ZeroDivisionError"),
        ("", 3, "has neither 'app' nor 'application'"),
        ("input()", 3, "EOFError"),
        ("import threading\nthreading.Event().wait()", 3, "not imported after 2 s"),
    ],
)
def test_application_that_cannot_be_imported(
    tmp_path: Path, text: str, status: int, words: str
) -> None:
    """Status 3 and one sentence, as for serving, even if it takes the process with it."""
    (tmp_path / "main.py").write_text(text)
    ended = doctor(tmp_path, "main", "--import-timeout", "2" if "wait" in text else "60")
    assert (ended.returncode, ended.stdout) == (status, "")
    assert words in ended.stderr
    assert "doctor/" not in ended.stderr


def test_options_for_serving_are_understood(tmp_path: Path) -> None:
    """--app-dir, --chdir and so on mean what they mean for serving; what it prints is hidden."""
    (tmp_path / "source").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "source" / "made.py").write_text(
        "import os\nprint('hello'); print(os.getcwd())\n"
        "assert os.environ['WORD'] == 'yes' and os.getcwd().endswith('work')\n"
        f"def make():\n    return app\n{WSGI}"
    )
    (tmp_path / "env").write_text("WORD=yes\n")
    options = ["--app-dir", "../source", "--chdir", "work", "--env-file", "../env", "--factory"]
    ended = doctor(tmp_path, "made:make", *options)
    assert ended.returncode == 0, ended.stderr
    assert "made:make (WSGI)" in ended.stdout
    assert "hello" not in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--help"], 0, "exits with 1 if there is a problem"),
        ([], 2, "no application given"),
        (["main:app", "--thraeds", "3"], 2, "--threads"),
        (["main:app", "--import-timeout", "soon"], 2, "invalid float"),
    ],
)
def test_wrong_command_lines(tmp_path: Path, arguments: list[str], status: int, words: str) -> None:
    """Answered as those for serving are."""
    ended = doctor(tmp_path, *arguments)
    assert ended.returncode == status
    assert words in " ".join((ended.stdout + ended.stderr).split())


@pytest.mark.parametrize("command", [["doctor", "main:app"], ["main:app", "--check-config"]])
def test_files_named_like_standard_modules(tmp_path: Path, command: list[str]) -> None:
    """A file of the user's is not imported in place of a standard module by any child process."""
    (tmp_path / "main.py").write_text(WSGI)
    for name in ("glob", "tempfile", "fnmatch", "queue"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "nogilserve", *command, "--runtime", "processes"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "the wrong one" not in ended.stdout + ended.stderr
    assert ended.returncode == 0
