"""An application with one resource that belongs to an event loop: `tests.apps.loopbound_app:app`.

The environment says which (`TORTURE_KIND`), where it is kept (`TORTURE_PLACE`: module, app, state
or per_loop), and what it connects to (`TORTURE_URL`).
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from nogilserve import per_loop

KIND = os.environ["TORTURE_KIND"]
PLACE = os.environ["TORTURE_PLACE"]
URL = os.environ["TORTURE_URL"]
AT_ONCE = 4
"""How often a request uses the resource at the same time: pools have to wait and to wake up."""


def _sqlalchemy() -> Any:
    from sqlalchemy.ext.asyncio import create_async_engine

    return create_async_engine(URL, pool_size=2, max_overflow=1)


async def _use_sqlalchemy(engine: Any) -> int:
    from sqlalchemy import text

    async with engine.connect() as connection:
        return int((await connection.execute(text("SELECT 42, pg_sleep(0.005)"))).one()[0])


def _redis() -> Any:
    import redis.asyncio

    return redis.asyncio.from_url(URL, max_connections=100)


async def _use_redis(client: Any) -> int:
    await client.incr("visits")
    await client.blpop(["nothing"], timeout=0.01)
    return 42 if int(await client.get("visits")) > 0 else 0


def _httpx() -> Any:
    import httpx

    return httpx.AsyncClient(trust_env=False, timeout=60, limits=httpx.Limits(max_connections=2))


async def _use_httpx(client: Any) -> int:
    answer = await client.get(URL)
    return 42 if answer.text == "slept\n" else 0


def _aiohttp() -> Any:
    import aiohttp

    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2))


async def _use_aiohttp(session: Any) -> int:
    async with session.get(URL) as answer:
        return 42 if await answer.text() == "slept\n" else 0


def _lock() -> Any:
    return asyncio.Lock()


async def _use_lock(lock: Any) -> int:
    async with lock:
        await asyncio.sleep(0.002)
    return 42


KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], Awaitable[int]], str]] = {
    "sqlalchemy": (_sqlalchemy, _use_sqlalchemy, "dispose"),
    "redis": (_redis, _use_redis, "aclose"),
    "httpx": (_httpx, _use_httpx, "aclose"),
    "aiohttp": (_aiohttp, _use_aiohttp, "close"),
    "lock": (_lock, _use_lock, ""),
}
MAKE, USE, CLOSE = KINDS[KIND]
NEEDS_A_LOOP = KIND == "aiohttp"

resource: Any = MAKE() if PLACE == "module" and not NEEDS_A_LOOP else None


async def _closed(thing: Any) -> None:
    if CLOSE:
        await getattr(thing, CLOSE)()


each = per_loop(MAKE, close=_closed) if PLACE == "per_loop" else None


async def use(request: Request) -> JSONResponse:
    """Use the resource several times at once; which loop did it."""
    if PLACE == "state":
        mine = request.state.resource
    elif PLACE == "app":
        mine = request.app.state.resource
    elif each is not None:
        mine = await each()
    else:
        mine = resource
    values = await asyncio.gather(*(USE(mine) for _ in range(AT_ONCE)))
    return JSONResponse({"values": values, "loop": threading.get_ident()})


def synchronous(request: Request) -> JSONResponse:
    """A synchronous endpoint: Starlette runs it in a thread, also where there is one loop."""
    return JSONResponse({"thread": threading.get_ident()})


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    """Make the resource where it is kept, if not done yet, and close it at the end."""
    global resource
    if PLACE == "state":
        mine = MAKE()
        yield {"resource": mine}
        await _closed(mine)
    elif PLACE == "app":
        app.state.resource = MAKE()
        yield {}
        await _closed(app.state.resource)
    elif PLACE == "module":
        if resource is None:
            resource = MAKE()
        yield {}
        await _closed(resource)
    else:
        yield {}


app = Starlette(routes=[Route("/use", use), Route("/sync", synchronous)], lifespan=lifespan)
