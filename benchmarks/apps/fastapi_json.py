"""The JSON workload on FastAPI: routing, dependency resolution and serialisation."""

from typing import Any

from fastapi import FastAPI

from benchmarks.apps.plain import about as describe

__all__ = ["app"]

app = FastAPI()
ITEMS = [{"id": n, "name": f"item {n}", "tags": ["a", "b"]} for n in range(5)]


@app.get("/json")
async def items() -> dict[str, Any]:
    """A small document made anew for each request."""
    return {"message": "Hello, World!", "items": ITEMS}


@app.get("/about")
async def about() -> dict[str, Any]:
    """What the serving process is."""
    return describe()
