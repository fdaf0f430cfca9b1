"""From sites to gateways: several applications, files, redirects and fixed answers in one server.

If every application is WSGI, the threads' engine serves all. As soon as one is ASGI, event loops
do, and WSGI applications are called by threads beside them.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from nogilserve.apps import LoadedApp, load_app
from nogilserve.apps.interface import Interface
from nogilserve.config import Config, Site
from nogilserve.engine.loop.core import AsyncGateway
from nogilserve.engine.settings import Gateway
from nogilserve.gateways.fixed import Answer, AsyncFixedGateway, FixedGateway, fixed, redirect
from nogilserve.gateways.mounted import MountedWsgiGateway
from nogilserve.gateways.slots import AsyncSlotsGateway, Slots, SlotsGateway
from nogilserve.messages import Limits, TimeLimits
from nogilserve.runtimes.encrypting import encrypting
from nogilserve.runtimes.front import async_in_front, in_front
from nogilserve.sites.gateway import AsyncSitesGateway, SitesGateway
from nogilserve.sites.places import router_of, settings_of_sites
from nogilserve.sites.table import Router

if TYPE_CHECKING:
    from nogilserve.gateways.callthreads import CallThreads

__all__ = ["LoadedSites", "Row", "load_sites"]

_NO_HOST: Final = fixed(421, "Misdirected Request: no site of this server has this host\n")
_NO_PATH: Final = fixed(404, "Not Found\n")
_ELSEWHERE: Final = fixed(
    421, "Misdirected Request: this host is served on other connections; connect anew\n"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A site that is ready to be served. Immutable."""

    site: Site
    config: Config
    """The settings in force there."""
    app: LoadedApp | None
    slots: Slots | None
    """Where it has a limit of its own, shared by all cores."""

    @property
    def answer(self) -> Answer | None:
        """What answers where there is no application."""
        site = self.site
        if self.app is not None:
            return None
        if site.redirect:
            return redirect(site.redirect, site.redirect_status, site.path)
        if site.respond is not None:
            return fixed(site.respond_status, site.respond)
        return _ELSEWHERE if site.own_process else _NO_PATH


@dataclass(frozen=True, slots=True)
class LoadedSites:
    """All sites, with their applications imported. Immutable."""

    rows: tuple[Row, ...]
    router: Router
    apps: tuple[LoadedApp, ...]
    """Each once, in the order of the file."""

    @property
    def interface(self) -> Interface:
        """What the engine has to know: one ASGI application makes all of it event loops."""
        return "asgi" if any(app.interface == "asgi" for app in self.apps) else "wsgi"

    @property
    def name(self) -> str:
        """For the banner."""
        return ", ".join(app.name for app in self.apps) or "sites without an application"

    @property
    def gil_enabled_by(self) -> tuple[str, ...]:
        """Extension modules that switched the GIL on, of all imports."""
        return tuple(dict.fromkeys(name for app in self.apps for name in app.gil_enabled_by))

    @property
    def asgi_rows(self) -> list[tuple[LoadedApp, list[Row]]]:
        """The ASGI applications, each with the rows that it answers for."""
        return [
            (app, [row for row in self.rows if row.app is app])
            for app in self.apps
            if app.interface == "asgi"
        ]

    def limits(self, limits: Limits) -> Limits:
        """What a peer may send, with each site's own bound of bodies."""
        bodies = [row.config.limit_request_body for row in self.rows]
        if all(body == limits.body for body in bodies):
            return limits
        by_index = (*bodies, limits.body, limits.body)  # unknown paths, unknown hosts
        find = self.router.find
        return replace(limits, body_of=lambda authority, path: by_index[find(authority, path)])

    def time_limits(self) -> TimeLimits:
        """How long each site's application may take."""
        own = tuple(
            TimeLimits(row.config.timeout, row.config.timeout_routes) if row.app else TimeLimits()
            for row in self.rows
        )
        by_index = (*own, TimeLimits(), TimeLimits())
        find = self.router.find
        return TimeLimits(choose=lambda authority, path: by_index[find(authority, path)], sites=own)

    def threads_gateway(self, *, alone: bool) -> Callable[[], Gateway]:
        """Makes the gateway of a core of the threads' engine."""
        made = [_on_threads(row, alone=alone) for row in self.rows]
        rest = [FixedGateway(answer).run for answer in (_NO_PATH, _NO_HOST)]
        return lambda: SitesGateway(self.router, [*(make() for make in made), *rest]).run

    def loops_gateway(
        self,
        asgi: Sequence[AsyncGateway],
        loop: asyncio.AbstractEventLoop,
        threads: "CallThreads",
        *,
        alone: bool,
    ) -> AsyncGateway:
        """The gateway of an event loop. `asgi`: those of `asgi_rows`, in that order; `threads`
        call the WSGI applications."""
        of_row = dict(
            zip((id(row) for _, rows in self.asgi_rows for row in rows), asgi, strict=True)
        )
        made: list[AsyncGateway] = []
        for row in self.rows:
            gateway = of_row.get(id(row)) or _plain(row, loop, threads, alone=alone)
            gateway = async_in_front(row.config, row.site.path)(gateway)
            if row.slots is not None:
                gateway = AsyncSlotsGateway(row.slots, gateway)
            made.append(gateway)
        rest = [AsyncFixedGateway(answer) for answer in (_NO_PATH, _NO_HOST)]
        return AsyncSitesGateway(self.router, [*made, *rest])


def load_sites(config: Config) -> LoadedSites:
    """Import the applications of all sites. Raises AppImportError."""
    pairs = settings_of_sites(config)
    loaded: dict[tuple[object, ...], LoadedApp] = {}
    rows = []
    for site, own in pairs:
        app = None
        if own.app and not site.own_process:
            key = (own.app, own.factory, own.app_dir, own.interface)
            if key not in loaded:
                loaded[key] = load_app(
                    own.app, factory=own.factory, app_dir=own.app_dir, interface=own.interface
                )
            app = loaded[key]
        limit = dict(site.settings).get("limit_concurrency", 0)
        rows.append(Row(site, own, app, Slots(limit) if limit else None))
    return LoadedSites(tuple(rows), router_of(pairs), tuple(loaded.values()))


def _on_threads(row: Row, *, alone: bool) -> Callable[[], Gateway]:
    answer = row.answer
    if answer is not None:
        run = FixedGateway(answer).run
        make: Callable[[], Gateway] = lambda: run  # noqa: E731
    else:
        make = lambda: _wsgi(row, alone=alone)  # noqa: E731
    made = in_front(row.config, make, row.site.path)
    slots = row.slots
    if slots is None:
        return made
    return lambda: SlotsGateway(slots, made()).run


def _wsgi(row: Row, *, alone: bool) -> Gateway:
    assert row.app is not None
    return encrypting(row.config, MountedWsgiGateway)(
        row.app.app,
        row.app.name,
        root_path=row.config.root_path,
        path=row.site.path,
        prefix=row.site.prefix,
        debug=row.config.debug,
        multiprocess=not alone,
    ).run


def _plain(
    row: Row, loop: asyncio.AbstractEventLoop, threads: "CallThreads", *, alone: bool
) -> AsyncGateway:
    """On an event loop, what is no ASGI application."""
    answer = row.answer
    if answer is not None:
        return AsyncFixedGateway(answer)
    from nogilserve.gateways.bridge import BridgingGateway

    limits = TimeLimits(row.config.timeout, row.config.timeout_routes)
    assert row.app is not None
    return BridgingGateway(_wsgi(row, alone=alone), loop, threads, limits, row.app.name)
