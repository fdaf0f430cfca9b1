"""What is served without the application: files."""

from typing import Final

from nogilserve.config.declare import group, option
from nogilserve.config.kinds import FLAG, GLOB, TEXT, text
from nogilserve.config.routes import CACHE_CONTROL, ROUTE, ROUTED_FOLDER

__all__ = ["FILES", "Files"]

FILES: Final = "Static files"

_NAME: Final = text("the path of a file below the directory", empty=True)


@group
class Files:
    """The part of Config about static files."""

    static_paths: tuple[tuple[str, str], ...] = option(
        (),
        "--static-path",
        ROUTED_FOLDER,
        """Serve the files of a directory: below --static-route, or below a route of its own as in
        /media=uploads. The route is not part of the files' paths. Repeatable.""",
        section=FILES,
        metavar="[ROUTE=]DIR",
        many=True,
    )
    static_route: str = option(
        "/static",
        "--static-route",
        ROUTE,
        "The route of directories that are given without one.",
        section=FILES,
        metavar="ROUTE",
    )
    static_except: tuple[str, ...] = option(
        (),
        "--static-except",
        ROUTE,
        """Leave this path and what is below it to the application, though a route of files covers
        it. Repeatable.""",
        section=FILES,
        metavar="PATH",
        many=True,
    )
    static_fallthrough: bool = option(
        False,
        "--static-fallthrough",
        FLAG,
        """Requests that no file answers, and methods other than GET and HEAD, go to the
        application; else they are answered 404 and 405.""",
        section=FILES,
    )
    static_spa: str = option(
        "",
        "--static-spa",
        _NAME,
        """For single-page applications: the file below DIR that is served for pages that are not
        there, such as index.html. Scripts, images and the like still get 404.""",
        section=FILES,
        metavar="FILE",
        default_text="none",
    )
    static_indexes: tuple[str, ...] = option(
        ("index.html",),
        "--static-index",
        TEXT,
        "The file that is served for a directory. Repeatable: the first that is there.",
        section=FILES,
        metavar="NAME",
        many=True,
    )
    static_listing: bool = option(
        False,
        "--static-listing",
        FLAG,
        "Show what is in directories that have no index file.",
        section=FILES,
    )
    static_cache: str = option(
        "no-cache",
        "--static-cache",
        CACHE_CONTROL,
        """Cache-Control of files. no-cache lets clients keep them and ask each time whether they
        have changed.""",
        section=FILES,
        metavar="DIRECTIVES",
    )
    static_immutable: tuple[str, ...] = option(
        (),
        "--static-immutable",
        GLOB,
        """Files whose content never changes under their name, which clients may keep for a year:
        patterns of names, or of paths below the route, such as assets/*. Names with a hexadecimal
        hash in them, such as app.3f2a9c1b.js, count anyway. Repeatable.""",
        section=FILES,
        metavar="PATTERN",
        many=True,
    )
    static_precompressed: bool = option(
        True,
        "--static-precompressed",
        FLAG,
        """Send app.js.br, app.js.zst or app.js.gz in place of app.js to clients that take
        it.""",
        section=FILES,
    )
    static_symlinks: bool = option(
        False,
        "--static-symlinks",
        FLAG,
        "Follow symbolic links that lead out of the directory.",
        section=FILES,
    )
