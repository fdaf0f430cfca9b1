"""What is served."""

from typing import Final

from nogilserve.config.declare import group, option
from nogilserve.config.kinds import FLAG, PREFIX_PATH, TEXT, VARIABLE, choice

__all__ = ["APPLICATION", "Application"]

APPLICATION: Final = "Application"


@group
class Application:
    """The part of Config about the application."""

    app: str = option(
        "",
        "--app",
        TEXT,
        """What to serve: module:attribute, a factory module:create_app(), a bare module (its `app`
        or `application`), or the path of a .py file.""",
        section=APPLICATION,
        metavar="APP",
        default_text="the first argument",
    )
    interface: str = option(
        "auto",
        "--interface --server-type",
        choice("auto", "wsgi", "asgi"),
        "How the application is called; auto looks at its signature.",
        section=APPLICATION,
        metavar="NAME",
    )
    factory: bool = option(
        False,
        "--factory",
        FLAG,
        "APP is a callable without arguments that returns the application.",
        section=APPLICATION,
    )
    root_path: str = option(
        "",
        "--root-path",
        PREFIX_PATH,
        """The path below which a proxy shows the application, such as /shop: SCRIPT_NAME for WSGI,
        root_path for ASGI. The proxy may pass paths on with or without it.""",
        section=APPLICATION,
        metavar="PREFIX",
    )
    chdir: str = option(
        "",
        "--chdir --working-dir",
        TEXT,
        """Change to this directory first. Configuration files are looked for in it, modules are
        imported from it, and relative paths start there. A file can say it only when --config
        names that file.""",
        section=APPLICATION,
        metavar="DIR",
        default_text="the current directory",
    )
    app_dir: str = option(
        "",
        "--app-dir",
        TEXT,
        "Import APP from this directory, without changing to it.",
        section=APPLICATION,
        metavar="DIR",
        default_text="the working directory",
    )
    venv: str = option(
        "",
        "--venv",
        TEXT,
        """Run APP with the Python and the packages of this virtual environment. nogilserve need not
        be installed in it.""",
        section=APPLICATION,
        metavar="DIR",
        default_text="the Python that runs nogilserve",
    )
    python: str = option(
        "",
        "--python --python-path",
        TEXT,
        """Run APP with this Python (CPython 3.13 or later); nogilserve need not be installed for
        it. Beside --venv, whose packages are then used.""",
        section=APPLICATION,
        metavar="FILE",
        default_text="that of --venv, else the one that runs nogilserve",
        scope="no env",
    )
    env_files: tuple[str, ...] = option(
        (),
        "--env-file",
        TEXT,
        """Set environment variables from a file of NAME=VALUE lines before APP is imported.
        Variables that exist already win. Repeatable, the last file wins. A file may not set what
        decides how programs are loaded, such as LD_PRELOAD and PYTHONHOME.""",
        section=APPLICATION,
        metavar="FILE",
        many=True,
    )
    env: tuple[tuple[str, str], ...] = option(
        (),
        "-e --env",
        VARIABLE,
        "Set an environment variable before APP is imported; wins over everything. Repeatable.",
        section=APPLICATION,
        metavar="NAME=VALUE",
        many=True,
        scope="no env",
    )
