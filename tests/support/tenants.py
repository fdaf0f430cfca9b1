"""Tenants on disk: a folder each, with a virtual environment that has a package of its own."""

import venv
from pathlib import Path

__all__ = ["APP", "WORKING", "environment", "make_tenants", "tenant"]

APP = """
import json, os, sys, threading

import gadget

NAMES = ("VIRTUAL_ENV", "GREETING", "NOGILSERVE_TENANT", "OWN", "NOGILSERVE_ADMIN_TOKEN")

def about(environ):
    return {
        "gadget": gadget.VERSION,
        "prefix": sys.prefix,
        "cwd": os.getcwd(),
        "pid": os.getpid(),
        "environ": {name: os.environ.get(name) for name in NAMES},
        "script": environ["SCRIPT_NAME"],
        "client": environ.get("REMOTE_ADDR"),
        "host": environ.get("HTTP_HOST"),
    }

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/crash":
        os._exit(3)
    if path == "/slow":
        threading.Event().wait(0.3)
    if path == "/echo":
        body = environ["wsgi.input"].read()
    elif path == "/limits":
        import resource
        body = json.dumps([resource.getrlimit(resource.RLIMIT_DATA)[0],
            sorted(os.sched_getaffinity(0)), os.getuid(),
            resource.getrlimit(resource.RLIMIT_NOFILE)[0]]).encode()
    else:
        body = json.dumps(about(environ)).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""
"""Serves what it sees of its surroundings."""

WORKING = ("shop", "blog")


def environment(folder: Path, version: str) -> Path:
    """A virtual environment in which the package `gadget` has this version."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "gadget.py").write_text(f"VERSION = {version!r}\n")
    return folder


def tenant(folder: Path, version: str, source: str = APP) -> Path:
    """A tenant: main.py and .venv."""
    folder.mkdir(parents=True)
    (folder / "main.py").write_text(source)
    environment(folder / ".venv", version)
    return folder


def make_tenants(root: Path) -> Path:
    """shop and blog, which need different versions of a package, and one that cannot start."""
    for number, name in enumerate(WORKING, 1):
        tenant(root / name, f"{number}.0")
    (root / "broken").mkdir()
    (root / "broken" / "main.py").write_text("import no_such_thing\n")
    environment(root / "broken" / ".venv", "3.0")
    return root
