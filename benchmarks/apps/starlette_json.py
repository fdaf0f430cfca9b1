"""The JSON workload on Starlette: its default middleware, routing and `JSONResponse`."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.apps.plain import about as describe

__all__ = ["app"]

ITEMS = [{"id": n, "name": f"item {n}", "tags": ["a", "b"]} for n in range(5)]


async def items(request: Request) -> JSONResponse:
    """A small document made anew for each request."""
    return JSONResponse({"message": "Hello, World!", "items": ITEMS})


async def about(request: Request) -> JSONResponse:
    """What the serving process is."""
    return JSONResponse(describe())


app = Starlette(routes=[Route("/json", items), Route("/about", about)])
