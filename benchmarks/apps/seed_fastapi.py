"""FastAPI's hello of Caddy Snake's published table."""

from typing import Any

from fastapi import FastAPI

from benchmarks.apps.plain import about as describe

__all__ = ["app"]

app = FastAPI()


@app.get("/hello")
async def hello() -> dict[str, str]:
    """A JSON object of one member."""
    return {"message": "Hello, World!"}


@app.get("/about")
async def about() -> dict[str, Any]:
    """What the serving process is."""
    return describe()
