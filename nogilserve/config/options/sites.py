"""Several applications, hosts and paths: what a `[[site]]` of the file may say, and --mount."""

import re
from dataclasses import dataclass
from typing import Final

from nogilserve.config.declare import group, option
from nogilserve.config.hostnames import HOSTNAME
from nogilserve.config.kinds import FLAG, TEXT, Kind, choice, integer, text
from nogilserve.config.routes import ROUTE, ROUTED_APP
from nogilserve.config.site import Site

__all__ = ["PLACEHOLDER", "PLACEHOLDERS", "SITES", "SITE_SETTINGS", "SiteTable", "Sites"]

SITES: Final = "Sites"

PLACEHOLDERS: Final = ("scheme", "host", "path", "query", "uri", "rest")
PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


def _parse_target(value: str) -> str:
    if not value.isascii() or not value.isprintable() or not value or " " in value:
        raise ValueError("write it percent-encoded, as it stands in a Location")
    for name in PLACEHOLDER.findall(value):
        if name not in PLACEHOLDERS:
            raise ValueError(
                f"there is no placeholder {{{name}}}; there are "
                + ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
            )
    if not (value.startswith(("/", "{", "http://", "https://")) or ":" in value):
        raise ValueError(f"write https://{value}")
    return value


_TARGET: Final = Kind(
    "a URL or path, with {scheme}, {host}, {path}, {query}, {uri} or {rest}", _parse_target, str
)
_REDIRECTS: Final = choice("301", "302", "303", "307", "308")
_REDIRECT_STATUS: Final = Kind(
    _REDIRECTS.allowed, lambda value: int(_REDIRECTS.parse(value)), str, (int,)
)


@group
class Sites:
    """The part of Config about several applications in one server."""

    mounts: tuple[tuple[str, str], ...] = option(
        (),
        "--mount",
        ROUTED_APP,
        """Serve a further application below a path: /api=api.main:app. It is told the path
        (SCRIPT_NAME, root_path) and gets the rest. The longest path wins. Repeatable; for hosts,
        redirects and settings of their own write [[site]] tables, see docs/sites.md.""",
        section=SITES,
        metavar="PATH=APP",
        many=True,
    )
    sites: tuple[Site, ...] = ()
    """The [[site]] tables, each route a row."""


@dataclass(frozen=True)
class SiteTable:
    """What a [[site]] or [[site.route]] may say besides SITE_SETTINGS."""

    name: str = option(
        "",
        "--name",
        TEXT,
        "What messages and the status call it.",
        section=SITES,
        scope="site",
        metavar="NAME",
        default_text="the first host and path",
    )
    hosts: tuple[str, ...] = option(
        (),
        "--hosts --host",
        HOSTNAME,
        """The hosts it answers for; * is the first label, and any one. Without hosts it answers for
        those that no other site names. Routes have those of their site.""",
        section=SITES,
        scope="site",
        metavar="HOST",
        many=True,
    )
    path: tuple[str, ...] = option(
        ("/",),
        "--path",
        ROUTE,
        """The path it answers for, and what is below it, in whole segments. The longest path wins.
        In a [[site.route]] it is below the site's.""",
        section=SITES,
        scope="site",
        metavar="PATH",
        many=True,
    )
    exact: bool = option(
        False,
        "--exact",
        FLAG,
        "Answer for the path alone, not for what is below it.",
        section=SITES,
        scope="site",
    )
    prefix: str = option(
        "mount",
        "--prefix",
        choice("mount", "keep", "strip"),
        """What becomes of the path: mount tells it to the application (SCRIPT_NAME, root_path),
        keep leaves it in the application's paths, strip cuts it off and says nothing.""",
        section=SITES,
        scope="site",
        metavar="MODE",
    )
    redirect: str = option(
        "",
        "--redirect",
        _TARGET,
        """Send clients there. {uri} is the path with the query, {rest} what is below the site's
        path.""",
        section=SITES,
        scope="site",
        metavar="URL",
    )
    redirect_status: int = option(
        308,
        "--redirect-status",
        _REDIRECT_STATUS,
        "The status of the redirect.",
        section=SITES,
        scope="site",
        metavar="STATUS",
    )
    respond: str | None = option(
        None,
        "--respond",
        text("text", empty=True),
        "Always answer with this text.",
        section=SITES,
        scope="site",
        metavar="TEXT",
    )
    respond_status: int = option(
        200,
        "--respond-status",
        integer(200, 599),
        "The status of that answer.",
        section=SITES,
        scope="site",
        metavar="STATUS",
    )


SITE_SETTINGS: Final = (
    "app",
    "chdir",
    "venv",
    "python",
    "env-file",
    "env",
    "interface",
    "factory",
    "root-path",
    "app-dir",
    "lifespan",
    "timeout",
    "timeout-route",
    "limit-request-body",
    "limit-concurrency",
    "compress",
    "header",
    "static-path",
    "static-route",
    "static-except",
    "static-fallthrough",
    "static-spa",
    "static-index",
    "static-listing",
    "static-cache",
    "static-immutable",
    "static-precompressed",
    "static-symlinks",
    "access-log",
    "access-log-format",
    "debug",
)
"""Names of the options that may also stand in a [[site]] and are in force there only."""
