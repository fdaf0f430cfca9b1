"""The JSON workload on Starlette: its default middleware, routing and `JSONResponse`."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.apps.documents import document, made
from benchmarks.apps.plain import about as describe

__all__ = ["app"]


async def items(request: Request) -> JSONResponse:
    """A small document of data that all requests share."""
    return JSONResponse(document())


async def made_items(request: Request) -> JSONResponse:
    """The same document of new data."""
    return JSONResponse(made())


async def about(request: Request) -> JSONResponse:
    """What the serving process is."""
    return JSONResponse(describe())


app = Starlette(routes=[Route("/json", items), Route("/made", made_items), Route("/about", about)])
