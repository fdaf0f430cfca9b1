"""The JSON workload on FastAPI: routing, dependency resolution and serialisation."""

from typing import Any

from fastapi import FastAPI

from benchmarks.apps.documents import document, made
from benchmarks.apps.plain import about as describe

__all__ = ["app"]

app = FastAPI()


@app.get("/json")
async def items() -> dict[str, Any]:
    """A small document of data that all requests share."""
    return document()


@app.get("/made")
async def made_items() -> dict[str, Any]:
    """The same document of new data."""
    return made()


@app.get("/about")
async def about() -> dict[str, Any]:
    """What the serving process is."""
    return describe()
