"""An application that tells which copy of it answers, and can die, wait, or refuse to start."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

from tests.apps import asgi_members

COPY = f"{os.getpid()}-{id(threading.current_thread())}-{os.urandom(4).hex()}"
"""Of this copy of the application alone."""

if os.environ.get("MEMBERS_BROKEN"):
    raise RuntimeError(f"broken on purpose: {os.environ['MEMBERS_BROKEN']}")
if os.environ.get("MEMBERS_DIE"):
    os.kill(os.getpid(), signal.SIGSEGV)


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """/copy, /pid, /sleep, /spin, /kill, /exit, /multiprocess, /threads, /path."""
    what = environ["PATH_INFO"].lstrip("/")
    body = COPY
    if what == "pid":
        body = str(os.getpid())
    elif what == "sleep":
        time.sleep(float(environ["QUERY_STRING"] or 1))
    elif what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "exit":
        os._exit(7)
    elif what == "multiprocess":
        body = str(environ["wsgi.multiprocess"])
    elif what == "path":
        body = f"{os.getcwd()} {sys.path[0]}"
    elif what == "addresses":
        body = f"{environ['SERVER_NAME']} {environ['SERVER_PORT']} {environ['REMOTE_ADDR']}"
    data = body.encode()
    start_response("200 OK", [("Content-Length", str(len(data)))])
    return [data]


asgi = asgi_members.make(COPY)
