"""Processes and subinterpreters as a user sees them: real servers, real clients."""

import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.server import Server
from tests.support.waiting import wait_until

APP = "tests.apps.members:app"
ASGI = "tests.apps.members:asgi"
Start = Callable[..., Server]

KINDS = ["processes"]
if sys.version_info >= (3, 14):
    KINDS.append("subinterpreters")


def options(kind: str, members: int = 2) -> list[str]:
    """The command line for that many members without a master."""
    return ["--runtime", kind, "--workers", str(members), "--no-master"]


def copies(server: Server, connections: int) -> Counter[str]:
    """How many of some connections that are open at once each copy of the application serves."""
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(connections)]
        return Counter(client.get("/copy").body.decode() for client in clients)


@pytest.mark.parametrize("app", [APP, ASGI])
@pytest.mark.parametrize("kind", KINDS)
def test_load_is_even(serve: Start, kind: str, app: str) -> None:
    """Of 64 keep-alive connections each member has its share, exactly."""
    server = serve(app, *options(kind, 2))
    assert f"runtime {kind}, 2 with" in server.log
    assert sorted(copies(server, 64).values()) == [32, 32]


@pytest.mark.parametrize("kind", KINDS)
def test_closed_connections_no_longer_count(serve: Start, kind: str) -> None:
    """A member whose clients have left gets the next ones."""
    server = serve(APP, *options(kind))
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(10)]
        names = [client.get("/copy").body for client in clients]
        gone = [client for client, name in zip(clients, names, strict=True) if name == names[0]]
        for client in gone:
            client.close()

        def all_go_there() -> bool:
            with server.connect() as client:
                return client.get("/copy").body == names[0]

        wait_until(all_go_there)
        again = [stack.enter_context(server.connect()) for _ in gone[1:]]
        assert {client.get("/copy").body for client in again} == {names[0]}


@pytest.mark.parametrize("kind", KINDS)
def test_environment_of_a_member(serve: Start, tmp_path: Path, kind: str) -> None:
    """A member knows that it is one of several, and addresses as if it had accepted itself."""
    server = serve(APP, *options(kind))
    with server.connect() as client:
        assert client.get("/multiprocess").body == b"True"
        expected = f"127.0.0.1 {server.port} 127.0.0.1"
        assert client.get("/addresses").body.decode() == expected


@pytest.mark.parametrize("kind", KINDS)
def test_several_addresses(serve: Start, tmp_path: Path, kind: str) -> None:
    """Each listening socket leads to every member; unix sockets have no peer address."""
    path = str(tmp_path / "s")
    server = serve(
        APP, *options(kind), "--bind", f"unix:{path}", "--bind", "127.0.0.1:0", addresses=2
    )
    with server.connect(0) as one, server.connect(1) as two:
        assert one.get("/addresses").body == b"localhost 80 "
        assert two.get("/addresses").body.endswith(b" 127.0.0.1")
        assert one.get("/copy").body != two.get("/copy").body


@pytest.mark.parametrize("kind", KINDS)
def test_import_error(kind: str) -> None:
    """The traceback, exit status 3, nothing was accepted; it is told once."""
    env = {"MEMBERS_BROKEN": "so there"}
    with Server(APP, *options(kind), env=env, wait_ready=False) as server:
        assert server.wait() == 3
    assert server.log.count("Traceback") == 1
    assert "failed: RuntimeError: broken on purpose: so there\n" in server.log
    assert 'members.py", line' in server.log
    assert "Listening" not in server.log


def test_death_while_importing() -> None:
    """The signal that ended the process is named; exit status 3."""
    with Server(APP, *options("processes"), env={"MEMBERS_DIE": "1"}, wait_ready=False) as server:
        assert server.wait() == 3
    assert "ended by SIGSEGV" in server.log


@pytest.mark.parametrize("kind", KINDS)
def test_lifespan_that_fails(kind: str) -> None:
    """As an import error: said, exit status 3, nothing was accepted."""
    env = {"MEMBERS_LIFESPAN": "1"}
    with Server(ASGI, *options(kind), env=env, wait_ready=False) as server:
        assert server.wait() == 3
    assert "no database, on purpose" in server.log
    assert "Listening" not in server.log


@pytest.mark.parametrize("app", [APP, ASGI])
@pytest.mark.parametrize("kind", KINDS)
def test_what_runs_is_finished(kind: str, app: str) -> None:
    """A stop waits for the requests inside all members, and the counters are theirs together."""
    with Server(app, *options(kind)) as server, ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(4)]
        done: list[int] = []

        def ask(index: int) -> None:
            done.append(clients[index].get("/sleep?0.5").status)
            clients[index].close()  # an event loop would wait a moment for that

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        with server.connect() as last:
            assert last.get("/copy").status == 200
        server.signal(signal.SIGTERM)
        for thread in threads:
            thread.join(10)
        assert server.wait() == 0
        assert done == [200] * 4
        assert "5 requests on 5 connections" in server.log
        if app == ASGI:
            assert server.out.count("shut down in order") == 2


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_finish_is_cut_off(kind: str) -> None:
    """After the deadline the request is named, stacks are written, and all is over."""
    with (
        Server(APP, *options(kind), "--graceful-timeout", "0.3") as server,
        server.connect() as client,
    ):
        client.send(b"GET /sleep?60 HTTP/1.1\r\nHost: a\r\n\r\n")
        with server.connect() as other:
            assert other.get("/copy").status == 200
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert "inside the application: GET /sleep?60" in server.log
        assert "members.py" in server.log


def test_process_that_cannot_be_told_to_stop() -> None:
    """One that does not listen any more does not outlive its parent."""
    with Server(APP, *options("processes"), "--graceful-timeout", "0.3") as server:
        with server.connect() as client:
            os.kill(int(client.get("/pid").body), signal.SIGSTOP)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert "Not finished in 0.3 s" in server.log


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_dead_process_is_replaced(serve: Start, how: str) -> None:
    """Its end is logged with the signal or status; the other one serves meanwhile, then both."""
    server = serve(APP, *options("processes"))
    before = set(copies(server, 4))
    with server.connect() as client:
        client.send(f"GET /{how} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        client.wait_closed()
    server.wait_log(r"process \d+ ended (by SIGKILL|with status 7); another one is started")
    assert set(copies(server, 4)) & before
    wait_until(lambda: len(set(copies(server, 6))) == 2, 10)
    assert len(set(copies(server, 6)) - before) == 1


def test_process_that_keeps_dying(serve: Start) -> None:
    """The next is started later each time, and the wish to stop is obeyed in between."""
    server = serve(APP, *options("processes", 1))
    for count in range(1, 4):
        with server.connect() as client:
            client.send(b"GET /kill HTTP/1.1\r\nHost: a\r\n\r\n")
            client.wait_closed()
        server.wait_log("by SIGKILL; another one is started", count=count)
    assert "another one is started in 0.25 s\n" in server.log
    assert "another one is started in 0.5 s\n" in server.log


def test_connection_that_was_not_taken_is_served_by_the_next(serve: Start) -> None:
    """What waits for a stopped process is answered by its successor."""
    server = serve(APP, *options("processes", 1))
    with server.connect() as client:
        pid = int(client.get("/pid").body)
    os.kill(pid, signal.SIGSTOP)
    with server.connect() as client:
        client.send(b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n")
        os.kill(pid, signal.SIGKILL)
        assert int(client.receive().body) != pid


def test_stop_while_one_is_replaced(serve: Start, tmp_path: Path) -> None:
    """The member that is being started then is not forgotten: it ends with the others."""
    gate, reached = tmp_path / "gate", tmp_path / "reached"
    (tmp_path / "main.py").write_text(
        "import os, pathlib, time\n"
        f"gate, reached = pathlib.Path({str(gate)!r}), pathlib.Path({str(reached)!r})\n"
        "def app(environ, start_response):\n"
        "    while gate.exists():\n"
        "        reached.touch()\n"
        "        time.sleep(0.01)\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [str(os.getpid()).encode()]\n"
    )
    server = serve("main:app", *options("processes", 1), "--warmup", "/", cwd=tmp_path)
    with server.connect() as client:
        pid = int(client.get("/").body)
    gate.touch()
    os.kill(pid, signal.SIGKILL)
    wait_until(reached.exists, 20)
    server.signal(signal.SIGTERM)
    server.wait_log("Stopping: finishing")
    gate.unlink()
    assert server.wait(15) == 0
    assert "Not finished" not in server.log


def test_stopped_process_is_avoided(serve: Start) -> None:
    """New connections go to the processes that take them."""
    server = serve(APP, *options("processes"))
    with server.connect() as client:
        pid = int(client.get("/pid").body)
        os.kill(pid, signal.SIGSTOP)
        try:
            with ExitStack() as stack:
                # One may be given to it before it is noticed.
                waiting = stack.enter_context(server.connect())
                waiting.send(b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n")

                def avoided() -> bool:
                    clients = [stack.enter_context(server.connect(timeout=0.5)) for _ in "12"]
                    try:
                        found = {int(client.get("/pid").body) for client in clients}
                    except TimeoutError:
                        return False
                    return pid not in found

                wait_until(avoided, 10)
        finally:
            os.kill(pid, signal.SIGCONT)


def test_children_end_with_their_parent(serve: Start) -> None:
    """When the parent is killed, its children finish and end by themselves."""
    server = serve(APP, *options("processes"))
    with server.connect() as client, server.connect() as other:
        pids = {int(one.get("/pid").body) for one in (client, other)}
    server.process.kill()
    server.wait()  # its pipes are closed: no child holds them any more
    assert server.log.count("The process that accepts connections is gone; finishing") == 2
    assert len(pids) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_access_log_is_shared(serve: Start, tmp_path: Path, kind: str) -> None:
    """All members append whole lines to one file."""
    path = tmp_path / "log"
    server = serve(APP, *options(kind), "--access-log", str(path))
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(4)]
        for number in range(50):
            for client in clients:
                assert client.get(f"/{number}").status == 200
    assert server.stop() == 0
    lines = path.read_text().splitlines()
    assert len(lines) == 200
    assert all(line.startswith("127.0.0.1 - - [") and line.endswith('"-"') for line in lines)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("poller", ["poll", "select"])
def test_other_pollers(serve: Start, kind: str, poller: str) -> None:
    """What Windows and macOS have to do with works here, too."""
    server = serve(APP, *options(kind), "--poller", poller)
    assert sorted(copies(server, 10).values()) == [5, 5]


def test_application_that_subinterpreters_refuse(serve: Start, tmp_path: Path) -> None:
    """It is served by processes, and the banner says why."""
    if "subinterpreters" not in KINDS:
        pytest.skip("this Python is too old for subinterpreters")
    (tmp_path / "main.py").write_text("import faulthandler\nfrom tests.apps.members import app\n")
    server = serve("main:app", *options("subinterpreters"), cwd=tmp_path)
    assert "runtime processes, 2 with" in server.log
    assert "module faulthandler does not support loading in subinterpreters" in server.log
    assert sorted(copies(server, 4).values()) == [2, 2]


@pytest.mark.parametrize(
    ("asked", "found"), [(["--loops", "4"], "2"), (["--loops", "1"], "1"), ([], "1")]
)
def test_event_loops_are_shared(serve: Start, tmp_path: Path, asked: list[str], found: str) -> None:
    """As many as asked for in all, and one at least in each process."""
    (tmp_path / "main.py").write_text(
        "import threading\n"
        "async def app(scope, receive, send):\n"
        "    loops = [t for t in threading.enumerate() if t.name.startswith('loop-')]\n"
        "    await send({'type': 'http.response.start', 'status': 200})\n"
        "    await send({'type': 'http.response.body', 'body': str(len(loops)).encode()})\n"
    )
    server = serve("main:app", *options("processes", 2), *asked, cwd=tmp_path)
    with server.connect() as one, server.connect() as other:
        assert one.get("/").body == other.get("/").body == found.encode()


def test_import_path_and_directory_of_a_process(serve: Start, tmp_path: Path) -> None:
    """They are those of the command line, whatever the application does to its own."""
    (tmp_path / "main.py").write_text(
        "import os\nfrom tests.apps.members import app\nos.chdir('/')\n"
    )
    server = serve("main:app", *options("processes"), "--app-dir", str(tmp_path))
    with server.connect() as client:
        assert client.get("/path").body.decode() == f"/ {tmp_path}"


@pytest.mark.parametrize("kind", KINDS)
def test_check_config(kind: str) -> None:
    """--check-config imports in a member, says what there is, and leaves nothing behind."""
    with Server(APP, *options(kind), "--check-config", wait_ready=False) as server:
        assert server.wait() == 0
    assert "is a WSGI application" in server.out
    assert server.log == ""


@pytest.mark.parametrize("kind", KINDS)
def test_address_in_use(serve: Start, kind: str) -> None:
    """Members that have imported the application in vain are ended; exit status 1."""
    first = serve(APP, *options("threads", 1))
    bind = ("--bind", f"127.0.0.1:{first.port}")
    with Server(APP, *options(kind), *bind, wait_ready=False) as server:
        assert server.wait() == 1
    assert re.fullmatch(r"nogilserve: cannot listen on .*in use.*\n", server.log)
