"""Applications prepared as by default, under load: what requests make goes with them, and what
replaces something that was there at the start goes when it is replaced in turn."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nogilserve.prepare import IMMORTAL
from tests.support.server import RUNTIME, Server

TWO = ("--workers", "2", "--threads", "4")
CLIENTS = 4
EACH = 100
"""Requests of one client in one turn."""
FEW = CLIENTS * EACH
"""Objects by which two turns may differ: a request that leaves one behind makes it twice that."""

pytestmark = pytest.mark.skipif(
    not IMMORTAL or RUNTIME != "auto", reason="free-threaded CPython 3.14"
)

# Each has something of each kind that applications keep and replace.
STATE = """
import functools, gc, itertools, logging, weakref

class Model:
    def __init__(self, number):
        self.parts = [{"number": number, "text": f"part {number}"} for _ in range(20)]
        self.me = self

state = {"model": Model(0), "settings": {"flag": False}, "text": "text " * 1000}
models = weakref.WeakValueDictionary(now=state["model"])
numbers = itertools.count()
recent = [Model(number) for number in range(10)]

@functools.lru_cache(maxsize=8)
def cached(number):
    return Model(number)

for number in range(20):
    cached(number)

def touch(number):
    turn = next(numbers)
    cached(turn % 20)
    state["model"] = models["now"] = models[turn % 5] = Model(number)
    state["settings"] = {**state["settings"], "flag": turn}
    state["text"] = f"text {turn} " * 1000
    recent.append(Model(turn))
    del recent[:-10]
    logging.getLogger("app").setLevel(logging.INFO if turn % 2 else logging.WARNING)
    return len(recent) <= 18  # others may have added theirs

def left():
    del recent[:-10]
    cached.cache_clear()
    gc.collect()
    return len(gc.get_objects())
"""
FLASK = """
from flask import Flask, jsonify, render_template_string, request
from state import left, touch
app = Flask(__name__)
app.add_url_rule("/left", "left", lambda: jsonify(left()))

@app.get("/item/<int:number>")
def item(number):
    name = request.args["name"]
    text = render_template_string("{{ number }} {{ name }}", name=name, number=number)
    return jsonify(text=text, good=touch(number))
"""
FASTAPI = """
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from state import left, touch
app = FastAPI()

class Item(BaseModel):
    text: str
    good: bool

def common(name: str):
    return {"name": name}

@app.get("/item/{number}")
async def item(number: int, common=Depends(common)) -> Item:
    return Item(text=f"{number} {common['name']}", good=touch(number))

@app.get("/left")
def what_is_left() -> int:
    return left()
"""
DJANGO = """
import sys
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.template import engines
from django.urls import path
from state import left, touch

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="secret",
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
)

def item(request, number):
    template = engines["django"].from_string("{{ number }} {{ name }}")
    text = template.render({"number": number, "name": request.GET["name"]})
    return JsonResponse({"text": text, "good": touch(number)})

urlpatterns = [
    path("item/<int:number>", item),
    path("left", lambda request: JsonResponse(left(), safe=False)),
]
app = get_wsgi_application()
"""
APPS = {"flask": FLASK, "fastapi": FASTAPI, "django": DJANGO}


def ask(server: Server, path: str) -> Any:
    """What the application answers."""
    with server.connect() as client:
        answer = client.get(path)
        assert answer.status == 200, (path, answer)
        return json.loads(answer.body)


def press(server: Server) -> list[str]:
    """Several clients at the same time; what was wrong."""
    wrong: list[str] = []

    def client() -> None:
        with server.connect() as connection:
            for number in range(EACH):
                answer = connection.get(f"/item/{number}?name=x")
                if answer.status != 200 or json.loads(answer.body) != {
                    "text": f"{number} x",
                    "good": True,
                }:
                    wrong.append(repr(answer))

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


@pytest.mark.parametrize("name", APPS)
def test_nothing_grows(serve: Callable[..., Server], tmp_path: Path, name: str) -> None:
    """Objects that the collector knows, without what was there at the start, which is frozen."""
    pytest.importorskip(name)
    (tmp_path / "state.py").write_text(STATE)
    (tmp_path / "main.py").write_text(APPS[name])
    server = serve("main:app", *TWO, "--warmup", "/item/1?name=x", cwd=tmp_path)
    found = []
    for _ in range(4):
        assert press(server) == []
        found.append(ask(server, "/left"))
    # The first turns make what each thread has of its own.
    assert found[3] - found[1] < FEW, found
