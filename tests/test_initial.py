"""`nogilserve init`: what it finds in a folder, and that its file serves."""

import subprocess
import sys
from pathlib import Path

import pytest

from nogilserve.initial import find_application
from tests.support.server import ROOT, Server


def init(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "nogilserve", "init", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("files", "spec", "framework"),
    [
        ({"main.py": "from flask import Flask\nweb = Flask(__name__)"}, "main:web", "Flask"),
        ({"x.py": "import fastapi\napi: object = fastapi.FastAPI()"}, "x:api", "FastAPI"),
        ({"a.py": "import falcon.asgi\napp = falcon.asgi.App()"}, "a:app", "Falcon"),
        ({"a.py": "x = 1", "b.py": "app = Starlette(routes=[])"}, "b:app", "Starlette"),
        ({"zoo.py": "app = Quart(1)", "main.py": "app = Flask(1)"}, "main:app", "Flask"),
        ({"shop/__init__.py": "app = Flask(1)"}, "shop:app", "Flask"),
        (
            {"src/shop.py": "app = Flask(1)", "tests/app.py": "app = Flask(1)"},
            "src.shop:app",
            "Flask",
        ),
        ({"x/__init__.py": "def create_app(a=1):\n return Flask(1)"}, "x:create_app()", "Flask"),
        ({"f.py": "def create_app():\n    return make()", "g.py": "a = Flask(1)"}, "g:a", "Flask"),
        ({"broken.py": "def (", "ok.py": "app = Bottle()"}, "ok:app", "Bottle"),
    ],
)
def test_found(tmp_path: Path, files: dict[str, str], spec: str, framework: str) -> None:
    """The likeliest application, without importing anything."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = find_application(tmp_path)
    assert found is not None
    assert (found.spec, found.framework) == (spec, framework)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"main.py": "def app(environ, start_response): ..."},
        {"main.py": "def create_app(name): return Flask(name)"},
        {"test_app.py": "app = Flask(1)", ".venv/flask.py": "app = Flask(1)"},
        {"manage.py": "print('not of Django')"},
    ],
)
def test_nothing_found(tmp_path: Path, files: dict[str, str]) -> None:
    """It says what it has looked for, and how to go on."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    ended = init(tmp_path)
    assert ended.returncode == 2
    assert "no application was found" in ended.stderr
    assert "nogilserve init module:attribute" in ended.stderr
    assert not (tmp_path / "nogilserve.toml").exists()


def test_django(tmp_path: Path) -> None:
    """A project as `django-admin startproject` makes it; with Channels, its other module."""
    pytest.importorskip("django")
    ended = subprocess.run(
        [sys.executable, "-m", "django", "startproject", "shop", str(tmp_path)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = find_application(tmp_path)
    assert found is not None
    assert (found.spec, found.framework) == ("shop.wsgi:application", "Django")
    (tmp_path / "shop/asgi.py").write_text("application = ProtocolTypeRouter({})")
    found = find_application(tmp_path)
    assert found is not None
    assert (found.spec, found.framework) == ("shop.asgi:application", "Channels")


def test_file_serves(tmp_path: Path) -> None:
    """What it writes is right as it is; a file that is there is not lost."""
    (tmp_path / "main.py").write_text(
        "from flask import Flask\napp = Flask(__name__)\n"
        "@app.get('/')\ndef index():\n    return 'of the folder'\n"
    )
    assert init(tmp_path).stdout.startswith("Wrote nogilserve.toml for main:app (Flask)")
    again = init(tmp_path)
    assert again.returncode == 2
    assert "exists; --force replaces it" in again.stderr
    text = (tmp_path / "nogilserve.toml").read_text()
    assert init(tmp_path, "--force").returncode == 0
    assert (tmp_path / "nogilserve.toml").read_text() == text
    uncommented = text.replace("# threads", "threads").replace("# timeout", "timeout")
    (tmp_path / "static").mkdir()
    (tmp_path / "nogilserve.toml").write_text(uncommented.replace("# static-path", "static-path"))
    with Server("--workers=1", cwd=tmp_path) as server, server.connect() as client:
        assert client.get("/").body == b"of the folder"
