"""The list of loop-bound types against the libraries themselves, as far as they are installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from nogilserve.apps.loopbound import application_modules
from nogilserve.apps.loopbound_types import EXEMPT, LOOP_BOUND, OPAQUE, TRANSPARENT, UNBOUND_IF

ROOT = Path(__file__).resolve().parents[1]

ENTRIES = sorted(
    {
        *(*LOOP_BOUND, *OPAQUE, *TRANSPARENT, *UNBOUND_IF, *(owner for owner, _ in EXEMPT)),
        *(kind for _, kind in UNBOUND_IF.values() if kind),
    }
)

# In a child, because importing a library may switch the GIL on.
LOOK = """
import importlib, sys, warnings
warnings.simplefilter("ignore")
for entry in sys.argv[1:]:
    module, _, name = entry.partition(":")
    try:
        kind = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        # Optional parts of a library want another one that is not there.
        kind = None if (error.name or module).startswith(module.partition(".")[0]) else entry
    if not isinstance(kind, type):
        print(entry if kind != entry else "", end=" ")
    elif f"{kind.__module__}:{kind.__qualname__}" not in sys.argv:
        print(f"{entry} (is {kind.__module__}:{kind.__qualname__})", end=" ")
"""

# Names that exist in some configurations only.
ELSEWHERE = {
    "_contextvars:Context": "contextvars",  # builtins that no module shows under that name
    "_contextvars:ContextVar": "contextvars",
    "asyncio.futures:Future": "asyncio",  # the versions in Python, where there is no C
    "asyncio.tasks:Task": "asyncio",
    "uvloop.loop:Server": "uvloop",
}


def child(code: str, *arguments: str, cwd: Path = ROOT) -> str:
    """What a Python child prints."""
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_entries_are_the_names_that_the_classes_have() -> None:
    """A library that renames or moves a class would make an entry silently useless."""
    installed = [
        entry
        for entry in ENTRIES
        if entry not in ELSEWHERE
        and importlib.util.find_spec(entry.partition(":")[0].partition(".")[0]) is not None
    ]
    assert len(installed) > 20
    assert child(LOOK, *installed).split() == []


def test_entries_are_listed_once() -> None:
    """And have the form module:name."""
    assert len(set(LOOP_BOUND)) == len(LOOP_BOUND)
    assert all(entry.count(":") == 1 for entry in ENTRIES)


# ---- frameworks ------------------------------------------------------------------------------

HELLO = {
    "fastapi": """
from contextlib import asynccontextmanager
from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

@asynccontextmanager
async def lifespan(app):
    app.state.name = "hello"
    yield {"greeting": "hello"}

def number():
    yield 1

app = FastAPI(lifespan=lifespan)
app.add_middleware(CORSMiddleware, allow_origins=["*"])
app.mount("/static", StaticFiles(directory="."))

@app.middleware("http")
async def pass_on(request, call_next):
    return await call_next(request)

@app.get("/")
async def hello(tasks: BackgroundTasks, n: int = Depends(number)) -> dict[str, int]:
    return {"n": n}

@app.websocket("/ws")
async def talk(socket: WebSocket):
    await socket.accept()
""",
    "starlette": """
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

async def hello(request):
    return PlainTextResponse("hello")

app = Starlette(
    routes=[Route("/", hello), Mount("/static", StaticFiles(directory="."))],
    middleware=[Middleware(GZipMiddleware)],
)
""",
    "django": """
import sys
from django.conf import settings
settings.configure(
    ROOT_URLCONF="main", SECRET_KEY="x" * 50, USE_TZ=True,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path

async def hello(request):
    return HttpResponse("hello")

urlpatterns = [path("", hello)]
app = get_asgi_application()
""",
    "quart": """
from quart import Quart
app = Quart("main")

@app.get("/")
async def hello():
    return "hello"
""",
    "litestar": """
from litestar import Litestar, get

@get("/")
async def hello() -> str:
    return "hello"

app = Litestar([hello])
""",
}

# Runs the start-up of the lifespan, one request, looks, and runs the shutdown.
DRIVE = """
import asyncio, sys
import main
from nogilserve.apps.loopbound import application_modules, find_loop_bound

HTTP = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/",
        "raw_path": b"/", "query_string": b"", "root_path": "", "headers": [(b"host", b"x")],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "asgi": {"version": "3.0"}}

async def drive():
    state, told, answered = {}, asyncio.Queue(), asyncio.Event()
    async def send(message):
        answered.set()
    complete = asyncio.Event()
    async def answer(message):
        if message["type"] == "http.response.body" and not message.get("more_body"):
            complete.set()
    body = iter([{"type": "http.request", "body": b"", "more_body": False}])
    async def receive():
        if message := next(body, None):
            return message
        await complete.wait()
        return {"type": "http.disconnect"}
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    lifespan = asyncio.ensure_future(main.app(scope, told.get, send))
    told.put_nowait({"type": "lifespan.startup"})
    wait = asyncio.ensure_future(answered.wait())
    await asyncio.wait([lifespan, wait], return_when="FIRST_COMPLETED", timeout=30)
    if "request" in sys.argv:
        await main.app(HTTP | {"state": dict(state)}, receive, answer)
    for each in find_loop_bound(main.app, application_modules("main"), state):
        print(each)
    told.put_nowait({"type": "lifespan.shutdown"})
    await asyncio.gather(lifespan, return_exceptions=True)
    wait.cancel()

asyncio.run(drive())
"""


@pytest.mark.parametrize("framework", HELLO)
def test_plain_applications_have_nothing_loop_bound(tmp_path: Path, framework: str) -> None:
    """What the frameworks themselves keep does not cost an application its loops."""
    pytest.importorskip(framework)
    (tmp_path / "main.py").write_text(HELLO[framework])
    assert child(DRIVE, "request", cwd=tmp_path) == ""


FAULTY = """
engine = create_async_engine("sqlite+aiosqlite://")
Session = async_sessionmaker(engine)
Another = async_sessionmaker(create_async_engine("sqlite+aiosqlite://"))
unpooled = create_async_engine("sqlite+aiosqlite://", poolclass=NullPool)

@asynccontextmanager
async def lifespan(app):
    app.state.http = httpx.AsyncClient()
    app.state.later = per_loop(httpx.AsyncClient, close=httpx.AsyncClient.aclose)
    await app.state.later()
    yield {"redis": redis.asyncio.Redis(), "engine": engine}
    await app.state.http.aclose()

app = FastAPI(lifespan=lifespan)
"""


def test_pools_and_clients_of_an_application_are_found(tmp_path: Path) -> None:
    """SQLAlchemy, httpx and redis in a module, on `app.state` and in the lifespan's state."""
    for needed in ("fastapi", "sqlalchemy", "httpx", "redis", "aiosqlite"):
        pytest.importorskip(needed)
    (tmp_path / "main.py").write_text(
        "from contextlib import asynccontextmanager\nimport httpx, redis.asyncio\n"
        "from fastapi import FastAPI\nfrom nogilserve import per_loop\n"
        "from sqlalchemy.pool import NullPool\n"
        f"from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine\n{FAULTY}"
    )
    assert child(DRIVE, cwd=tmp_path).splitlines() == [
        "main:engine (sqlalchemy.ext.asyncio.engine.AsyncEngine)",
        "main:Another.kw['bind'] (sqlalchemy.ext.asyncio.engine.AsyncEngine)",
        "main:app.state.http (httpx.AsyncClient)",
        "lifespan state['redis'] (redis.asyncio.client.Redis)",
    ]


def test_layer_of_channels_is_found_in_the_settings(tmp_path: Path) -> None:
    """Channels makes its layer at the first request; until then only the settings tell."""
    pytest.importorskip("channels")
    (tmp_path / "main.py").write_text(
        "from django.conf import settings\n"
        "layers = {'default': {'BACKEND': 'channels.layers.InMemoryChannelLayer'},\n"
        "          'other': {'BACKEND': 'mine.Layer'}}\n"
        "settings.configure(CHANNEL_LAYERS=layers)\n"
        "import channels.layers\nfrom channels.routing import ProtocolTypeRouter\n"
        "async def hello(scope, receive, send): pass\n"
        "app = ProtocolTypeRouter({'http': hello, 'lifespan': hello})\n"
    )
    assert child(DRIVE, cwd=tmp_path).splitlines() == [
        "settings.CHANNEL_LAYERS['default'] (channels.layers.InMemoryChannelLayer)"
    ]


def test_socketio_server_is_found(tmp_path: Path) -> None:
    """It passes messages between connections through asyncio's queues."""
    pytest.importorskip("socketio")
    (tmp_path / "main.py").write_text(
        "import socketio\n"
        "def make():\n    return socketio.ASGIApp(socketio.AsyncServer(async_mode='asgi'))\n"
        "app = make()\n"
    )
    (found,) = child(DRIVE, cwd=tmp_path).splitlines()
    assert found == "main:app.engineio_server (socketio.async_server.AsyncServer)"


def test_modules_that_only_say_they_are() -> None:
    """cffi puts objects into sys.modules whose `__class__` lies; they are left alone."""

    class Lib:
        __class__ = ModuleType  # type: ignore[assignment]

    sys.modules["tests.no_module"] = Lib()  # type: ignore[assignment]
    try:
        assert isinstance(Lib(), ModuleType)
        assert "Lib" not in {type(module).__name__ for module in application_modules("main")}
    finally:
        del sys.modules["tests.no_module"]
