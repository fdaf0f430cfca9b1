"""The examples of Caddy Snake's documentation, translated and served."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.caddyfile import examples
from tests.support.server import ROOT, Server
from tests.support.wire import Response

APP = """\
import os

def app(environ, start_response):
    if environ["PATH_INFO"] != "/hello-world":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"not here"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [("Hello " + os.environ.get("WHO", "world") + "!").encode()]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            print(message["type"], flush=True)
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    text = "asgi " + scope["root_path"] + scope["path"]
    await send({"type": "http.response.body", "body": text.encode()})
"""


def imported(folder: Path, caddyfile: str) -> Path:
    """The nogilserve.toml that the command makes of it."""
    (folder / "main.py").write_text(APP)
    (folder / "Caddyfile").write_text(caddyfile.replace("PORT", "9080"))
    done = subprocess.run(
        [sys.executable, "-m", "nogilserve", "import-caddyfile"],
        cwd=folder,
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "nogilserve.toml"


def ask(server: Server, target: str, host: str = "localhost") -> Response:
    """One request."""
    with server.connect() as client:
        return client.request("GET", target, headers={"Host": f"{host}:9080"})


@pytest.mark.parametrize(
    "name", ["FLASK_ROUTE", "FLASK", "FLASK_WORKERS", "SIMPLE", "FASTAPI", "FASTAPI_ROUTE"]
)
def test_single_application(tmp_path: Path, name: str) -> None:
    """Hello world at the host of the site, from the application that is named."""
    path = imported(tmp_path, getattr(examples, name))
    with Server(f"--config={path}", "--log-level=info", cwd=tmp_path) as server:
        answer = ask(server, "/hello-world")
        asgi = name.startswith("FASTAPI")
        assert answer.body == (b"asgi /hello-world" if asgi else b"Hello world!")
        assert ask(server, "/", "elsewhere").status == 421
    assert ("lifespan.startup" in server.out) == (name == "FASTAPI")


def test_variables_and_working_directory(tmp_path: Path) -> None:
    """From a file below the working directory, and one by one."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / ".env").write_text("WHO=shop\n")
    path = imported(tmp_path, examples.ENVIRONMENT)
    (tmp_path / "main.py").rename(tmp_path / "shop" / "main.py")
    with Server(f"--config={path}", cwd=tmp_path) as server:
        assert ask(server, "/hello-world").body == b"Hello shop!"


def test_two_applications(tmp_path: Path) -> None:
    """ASGI below a path, which it sees whole, and WSGI for the rest."""
    path = imported(tmp_path, examples.MULTIPLE)
    with Server(f"--config={path}", "--loops", "1", cwd=tmp_path) as server:
        assert ask(server, "/api/x").body == b"asgi /api/x"
        assert ask(server, "/hello-world").body == b"Hello world!"
        assert ask(server, "/apis").status == 404


def test_same_name_in_two_directories(tmp_path: Path) -> None:
    """Each in a process of its own, with its own working directory and variables."""
    block = 'python {}* {{\n module_wsgi "main:app"\n working_dir {}\n env_var WHO {}\n}}\n'
    blocks = block.format("/hello-world", "one", "one") + block.format("/", "two", "two")
    path = imported(tmp_path, f"http://localhost:PORT {{\n{blocks}}}\n")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.py").write_text(APP.replace("not here", f"not in {name}"))
    with Server(f"--config={path}", cwd=tmp_path) as server:
        assert ask(server, "/hello-world").body == b"Hello one!"
        assert ask(server, "/x").body == b"not in two"


@pytest.mark.parametrize("name", ["DYNAMIC", "DYNAMIC_PLAIN"])
def test_application_for_each_name(tmp_path: Path, name: str) -> None:
    """Each subdomain has the application of its directory."""
    path = imported(tmp_path, getattr(examples, name))
    for app in ("app1", "app2"):
        (tmp_path / app).mkdir()
        text = APP.replace('"asgi "', f'"{app} "').replace("async def asgi", "async def app")
        (tmp_path / app / f"{app}.py").write_text(text)
    with Server(f"--config={path}", cwd=tmp_path) as server:
        assert ask(server, "/x", "app1.example.com").body == b"app1 /x"
        assert ask(server, "/x", "app2.example.com").body == b"app2 /x"
        assert ask(server, "/x", "app3.example.com").status == 404


def test_flags_of_python_server(tmp_path: Path) -> None:
    """`nogilserve python-server` with their flags serves, with the files where they were."""
    (tmp_path / "main.py").write_text(APP)
    (tmp_path / "public" / "static").mkdir(parents=True)
    (tmp_path / "public" / "static" / "a.css").write_text("body {}")
    with Server(
        "python-server",
        *("--server-type", "asgi", "--app", "main:asgi", "--lifespan", "on", "--workers", "2"),
        *("--static-path", "./public", "--env-var", "A=b", "--access-logs", "--debug"),
        cwd=tmp_path,
    ) as server:
        assert ask(server, "/x").body == b"asgi /x"
        assert ask(server, "/static/a.css").body == b"body {}"
        assert ask(server, "/static/none").status == 404
        server.wait_out('"target": "/static/none"')
