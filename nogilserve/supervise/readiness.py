"""Asking the application whether it is ready, before anybody else can ask it anything.

The request comes over a private socket that only this process can reach: the runtime serves it like
any other, with everything that requests go through, while the real sockets are not accepted from.
"""

import http.client
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from time import monotonic
from typing import Final

from nogilserve.errors import AppImportError
from nogilserve.runtimes.contract import Runtime
from nogilserve.sockets import Listener

__all__ = ["start_and_ask"]

_ENDING: Final = 5.0
"""Seconds for a runtime to end that was started in vain."""


def start_and_ask(
    runtime: Runtime, path: str, timeout: float, host: str = "localhost"
) -> Callable[[], None]:
    """Start the runtime and have it answer GET `path` within `timeout` seconds (0: for ever).
    `host`: whose path it is, where there are several sites.

    Raises AppImportError for a status of 400 or more, or no answer; then the runtime has ended.
    The result is to be called when the runtime has stopped accepting.
    """
    folder = ""
    if hasattr(socket, "AF_UNIX"):
        folder = tempfile.mkdtemp(prefix="nogilserve-")  # mode 0700
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(os.path.join(folder, "s"))
        server = ("localhost", "80")
    else:
        sock = socket.create_server(("127.0.0.1", 0))
        server = ("127.0.0.1", str(sock.getsockname()[1]))
    sock.listen(1)
    sock.setblocking(False)
    started = False
    try:
        runtime.start([Listener(sock, "the readiness check", server, role="plain")])
        started = True
        _ask(sock, host, path, timeout)
    except BaseException:
        if started:
            runtime.drain()
            runtime.join(monotonic() + _ENDING)
        sock.close()
        raise
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)  # nobody can connect any more
    return sock.close


def _ask(listening: socket.socket, host: str, path: str, timeout: float) -> None:
    connection = http.client.HTTPConnection(host, timeout=timeout or None)
    connection.sock = socket.socket(listening.family, socket.SOCK_STREAM)
    with connection.sock:
        connection.sock.settimeout(timeout or None)
        try:
            connection.sock.connect(listening.getsockname())
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            response.read()
        except TimeoutError:
            raise AppImportError(
                f"GET {path} was not answered within {timeout:g} s (--ready-path)"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise AppImportError(f"GET {path} was not answered: {error!r} (--ready-path)") from None
    if response.status >= 400:
        raise AppImportError(
            f"GET {path} was answered with {response.status} {response.reason} (--ready-path)"
        )
