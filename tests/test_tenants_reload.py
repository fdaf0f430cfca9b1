"""A reload of a server with tenants reads the configuration again; commands for running ones."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import command
from tests.support.server import Server
from tests.support.tenants import tenant
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sockets are passed as on POSIX")

APP = """
import json, os

def app(environ, start_response):
    body = json.dumps({"pid": os.getpid(), "said": os.environ.get("GREETING")}).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


def make_apps(root: Path) -> None:
    """The applications of two tenants."""
    for name in ("shop", "blog"):
        (root / name).mkdir(parents=True)
        (root / name / "main.py").write_text(APP)


def get(server: Server, host: str, path: str = "/") -> tuple[int, str]:
    """Status and body."""
    with server.connect(timeout=20) as client:
        response = client.request("GET", path, {"Host": host})
        return response.status, response.body.decode()


def told(server: Server, host: str) -> Any:
    """What the application has seen."""
    status, body = get(server, host)
    assert status == 200, body
    return json.loads(body)


def test_templates_follow_the_file(tmp_path: Path) -> None:
    """New values count for every tenant; a mistake, and what makes another kind of server, changes
    nothing and is told; what was evicted is started with the new values, too."""
    make_apps(tmp_path / "apps")
    file, control = tmp_path / "nogilserve.toml", tmp_path / "control"
    text = f'app = "main:app"\nworking-dir = "{tmp_path}/apps/{{host.labels.1}}"\n'
    text += f'control-socket = "{control}"\nhealth-path = "/up"\n'
    file.write_text(text + 'env = ["GREETING=one"]\n')
    with Server(f"--config={file}", env={"SHARED": "x"}) as server:
        first = told(server, "shop.test")
        assert first["said"] == "one"
        assert get(server, "any", "/up") == (200, "alive\n")
        for wrong, why in (
            ("thread = 3\n", "did you mean threads"),
            ('env = ["A={host}"]\n', "nogilserve upgrade"),
            ('[[site]]\nhosts = "a.test"\nrespond = "a"\n', "nogilserve upgrade"),
        ):
            file.write_text(text + wrong)
            done = command(control, "reload")
            assert (done.returncode, why in done.stderr) == (1, True), done
            assert told(server, "shop.test") == first
        server.signal(signal.SIGHUP)
        server.wait_log("No reload, the configuration in force stays: .*nogilserve upgrade")
        assert told(server, "shop.test") == first
        file.write_text(text.replace("/up", "/live") + 'env = ["GREETING=two"]\n')
        assert command(control, "reload").stdout == "Reloading 1 tenant\n"
        wait_until(lambda: told(server, "shop.test")["said"] == "two", 20)
        assert told(server, "blog.test")["said"] == "two"
        assert get(server, "any", "/live") == (200, "alive\n")
        assert get(server, "shop.test", "/up")[0] == 200
        assert "CRITICAL" not in server.log


def test_sites_come_move_and_go(tmp_path: Path) -> None:
    """Rows before a tenant's do not change what it is; a host that moves to another is never
    turned away; a site that is gone has no process any more."""
    tenant(tmp_path / "apps" / "a", "1.0", APP)
    tenant(tmp_path / "apps" / "b", "2.0", APP)
    file, control = tmp_path / "nogilserve.toml", tmp_path / "control"
    head = f'control-socket = "{control}"\n'
    rest = '[[site]]\nhosts = "plain.test"\nrespond = "plain"\n'

    def site(name: str, *hosts: str) -> str:
        return (
            f'[[site]]\nhosts = {list(hosts)}\napp = "main:app"\n'
            f'working-dir = "{tmp_path}/apps/{name}"\nenv = ["GREETING={name}"]\n'
        )

    file.write_text(head + site("a", "a.test", "moving.test") + rest)
    with Server(f"--config={file}") as server:
        assert told(server, "moving.test")["said"] == "a"
        assert get(server, "plain.test") == (200, "plain")
        assert get(server, "b.test")[0] in (404, 421)
        file.write_text(head + site("b", "b.test") + site("a", "a.test", "moving.test") + rest)
        assert command(control, "reload").returncode == 0
        wait_until(lambda: get(server, "b.test")[0] == 200, 20)
        assert told(server, "b.test")["said"] == "b"
        assert told(server, "a.test")["said"] == "a"
        # The old process of b does not know the name yet when it gets the first of these.
        file.write_text(head + site("b", "b.test", "moving.test") + site("a", "a.test") + rest)
        assert command(control, "reload").returncode == 0
        for _ in range(5):
            assert told(server, "moving.test")["said"] == "b"
        file.write_text(head + site("b", "b.test", "moving.test"))
        assert command(control, "reload").returncode == 0
        server.wait_log("a.test: ending: its site is no more", timeout=20)
        assert get(server, "a.test")[0] == 421
        assert told(server, "b.test")["said"] == "b"
        file.write_text(head + rest)
        done = command(control, "reload")
        assert "another kind of server" in done.stderr
        assert "CRITICAL" not in server.log


def test_host_that_moves_asked_for_where_it_was_not(tmp_path: Path) -> None:
    """A connection that the process before has kept: what it does not know is for the next one."""
    for name in ("a", "b"):
        tenant(tmp_path / "apps" / name, "1.0", APP)
    file, control = tmp_path / "nogilserve.toml", tmp_path / "control"
    text = f'control-socket = "{control}"\nkeep-alive = 60\n'

    def sites(*hosts: str) -> str:
        return text + "".join(
            f'[[site]]\nhosts = ["{name}.test"{more}]\napp = "main:app"\n'
            f'working-dir = "{tmp_path}/apps/{name}"\nenv = ["GREETING={name}"]\n'
            for name, more in zip("ab", hosts, strict=True)
        )

    file.write_text(sites(', "moving.test"', ""))
    with Server(f"--config={file}") as server, server.connect(timeout=20) as kept:
        assert kept.request("GET", "/", {"Host": "b.test"}).status == 200
        file.write_text(sites("", ', "moving.test"'))
        assert command(control, "reload").returncode == 0
        server.wait_log("b.test: Generation 2 has taken over", timeout=20)
        assert told(server, "moving.test")["said"] == "b"
        response = kept.request("GET", "/", {"Host": "moving.test"})
        assert response.status == 200, response
        assert json.loads(response.body)["said"] == "b"


def test_commands_for_tenants(tmp_path: Path) -> None:
    """drain, threads and log-level, for one or for all; they hold over a reload until something
    else is written."""
    make_apps(tmp_path / "apps")
    file, control = tmp_path / "nogilserve.toml", tmp_path / "control"
    text = f'app = "main:app"\nworking-dir = "{tmp_path}/apps/{{host.labels.1}}"\nthreads = 3\n'
    text += f'control-socket = "{control}"\nreadiness-path = "/ready"\nruntime = "threads"\n'
    file.write_text(text)

    def threads() -> list[int]:
        shown = json.loads(command(control, "threads", "+0", "--json").stdout)
        return sorted(answer["now"] for answer in shown["answers"].values())

    with Server(f"--config={file}") as server:
        told(server, "shop.test")
        told(server, "blog.test")
        with server.connect(timeout=20) as kept:
            host = {"Host": "shop.test"}
            assert kept.request("GET", "/", host).status == 200
            assert command(control, "drain").returncode == 0
            assert get(server, "any", "/ready") == (503, "not ready for new clients\n")
            wait_until(lambda: kept.request("GET", "/ready", host).status == 503, 10)
            assert "drained" in command(control, "status").stdout
            assert command(control, "drain", "--off").returncode == 0
            assert get(server, "any", "/ready") == (200, "ready\n")
            wait_until(lambda: kept.request("GET", "/ready", host).status == 200, 10)
        assert command(control, "threads", "5").stdout == "There are 5 threads now\n" * 2
        assert command(control, "threads", "+2", "shop").stdout == "There are 7 threads now\n"
        assert "no tenant" in command(control, "threads", "2", "wiki").stderr
        assert threads() == [5, 7]
        assert command(control, "log-level", "debug", "blog").returncode == 0
        assert command(control, "log-level", "loud").returncode == 1
        assert command(control, "reload").returncode == 0
        server.wait_log("shop: Generation 2 has taken over", timeout=20)
        server.wait_log("blog: Generation 2 has taken over", timeout=20)
        assert threads() == [5, 7]
        file.write_text(text.replace("threads = 3", "threads = 2"))
        assert command(control, "reload").returncode == 0
        server.wait_log("shop: Generation 3 has taken over", timeout=20)
        server.wait_log("blog: Generation 3 has taken over", timeout=20)
        assert threads() == [2, 2]
        server.signal(signal.SIGTTIN)
        wait_until(lambda: threads() == [3, 3], 10)
        assert command(control, "log-level", "error").returncode == 0
        assert "CRITICAL" not in server.log
