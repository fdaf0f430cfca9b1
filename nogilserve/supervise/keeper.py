"""The keeper process, as the one that starts it sees it: the master, or a server without one.

Imports nothing of it: the ACME client, cryptography and Redis are in that process only. It has
nothing that others need while it is away, so it is simply started again when it ends.
"""

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path
from time import monotonic, time
from typing import Any, Final

from nogilserve.config import Config
from nogilserve.config.options.https import AutomaticHttps
from nogilserve.errors import ConfigError
from nogilserve.supervise.identity import Identity
from nogilserve.supervise.plainlog import log
from nogilserve.supervise.spec import plain
from nogilserve.tls.inquiry import ENVIRONMENT

__all__ = ["KeeperProcess", "check_keeper"]

_ROOT: Final = str(Path(__file__).resolve().parents[2])
_CODE: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); import nogilserve; del sys.path[0]; "
    "from nogilserve.supervise.keeping import main; sys.exit(main())"
)
_FOLLOWED: Final = frozenset({"domains", "log_level"})
"""Settings that a keeper at work follows; for others another one is started."""
_PREFIX: Final = "nogilserve-keeper-"
_YOUNG: Final = 60.0
"""Seconds for which a folder may belong to a server that is just starting."""
_FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 30.0
_LONG: Final = 60.0
"""Seconds after which a process that ends had been well."""
_ENDING: Final = 4.0
"""Seconds for it to end when it is told to."""


def check_keeper(config: Config) -> None:
    """Raise ConfigError where automatic HTTPS cannot work here."""
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigError("option --domain: automatic HTTPS needs unix sockets, which are not here")
    bundle = config.acme_ca_bundle
    if bundle and not os.access(bundle, os.R_OK):
        raise ConfigError(f"option --acme-ca-bundle: {bundle!r} cannot be read")
    needed = {"acme": "acme", "cryptography": "acme"}
    if "://" in config.storage:
        needed["redis"] = "redis"
    for module, extra in needed.items():
        if importlib.util.find_spec(module) is None:
            what = "--storage" if extra == "redis" else "--domain"
            raise ConfigError(f"option {what} needs {module}: pip install 'nogilserve[{extra}]'")


class KeeperProcess:
    """Owner: the main thread. A thread of its own starts the process, waits for its end and starts
    it again; `_process` and `_config` belong to the lock."""

    def __init__(self, config: Config, identity: Identity) -> None:
        """Open the socket, and name it to processes started from now on. Raises ConfigError,
        OSError."""
        check_keeper(config)
        self._config = config
        place = _place(identity)
        _sweep(place)
        self._folder = os.path.join(place, f"{_PREFIX}{os.urandom(6).hex()}")
        os.mkdir(self._folder, 0o700)
        path = os.path.join(self._folder, "socket")
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            self._listener.bind(path)
            os.chmod(path, 0o600)
            self._listener.listen(128)
            for file in (path, self._folder):
                identity.give(file)
        except BaseException:
            self._remove()
            raise
        os.environ[ENVIRONMENT] = path
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._begun_anew = False
        """It was told to end because another is to follow at once. Under the lock."""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the process, now that challenges can be answered. Once."""
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def follow(self, config: Config) -> None:
        """Go on with another configuration, if it says something else for the keeper. Raises
        ConfigError, which leaves all as it is."""
        before, after = _concerning(self._config), _concerning(config)
        changed = {name for name, value in after.items() if value != before[name]}
        if not changed:
            return
        if config.automatic_https:
            check_keeper(config)
        with self._lock:
            self._config = config
            if changed <= _FOLLOWED and self._process is not None and _tell(self._process, config):
                return
            self._begun_anew = True
            if self._process is not None:
                _hang_up(self._process)

    def close(self) -> None:
        """End it and leave nothing behind; may be repeated."""
        self._ended.set()
        with self._lock:
            if self._process is not None:
                _hang_up(self._process)
        if self._thread is not None:
            self._thread.join(_ENDING)
            with self._lock:
                if self._process is not None:
                    self._process.kill()
            self._thread.join()
            self._thread = None
        self._remove()
        os.environ.pop(ENVIRONMENT, None)

    def _remove(self) -> None:
        self._listener.close()
        _remove_folder(self._folder)

    def _run(self) -> None:
        delay = _FIRST_DELAY
        while not self._ended.is_set():
            started = monotonic()
            try:
                status = self._once()
            except OSError as error:
                log.error("The keeper of certificates cannot be started: %s", error)
                status = 1
            with self._lock:
                anew, self._begun_anew = self._begun_anew, False
            if self._ended.is_set():
                return
            if anew:
                continue
            delay = _FIRST_DELAY if monotonic() - started > _LONG else delay
            log.error(
                "The keeper of certificates has ended (%s); starting it again in %g s",
                f"status {status}" if status >= 0 else f"signal {-status}",
                delay,
            )
            self._ended.wait(delay)
            delay = min(delay * 2, _LONGEST_DELAY)

    def _once(self) -> int:
        """Run the process to its end; its status."""
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
        safe = [] if "-P" in flags or "-I" in flags else ["-P"]
        descriptor = self._listener.fileno()
        with self._lock:
            config = self._config
            self._begun_anew = False
        process = subprocess.Popen(
            [sys.executable, *flags, *safe, "-c", _CODE, _ROOT, str(descriptor), "keeper"],
            stdin=subprocess.PIPE,
            pass_fds=(descriptor,),
        )
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.write(_line(config))
            process.stdin.flush()
        os.set_blocking(process.stdin.fileno(), False)
        with self._lock:
            self._process = process
            if self._ended.is_set() or self._begun_anew:
                _hang_up(process)
        try:
            return process.wait()
        finally:
            with self._lock:
                self._process = None
            _hang_up(process)


def _concerning(config: Config) -> dict[str, Any]:
    """The settings that the keeper goes by."""
    names = [*(f.name for f in fields(AutomaticHttps)), "log_level", "log_format"]
    return {name: getattr(config, name) for name in names}


def _line(config: Config) -> bytes:
    return json.dumps(plain(config)).encode() + b"\n"


def _tell(process: "subprocess.Popen[bytes]", config: Config) -> bool:
    """Have it go on with another configuration. False: it cannot take that, and is to end."""
    line = _line(config)
    try:
        return process.stdin is not None and os.write(process.stdin.fileno(), line) == len(line)
    except (OSError, ValueError):  # it has ended, or reads nothing
        return False


def _hang_up(process: "subprocess.Popen[bytes]") -> None:
    """It ends when its standard input does."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


def _place(identity: Identity) -> str:
    """Where to make the folder of the socket: a path of a socket has to be short."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # That of another user is of no use to who we become.
    usable = os.path.isabs(runtime) and os.access(runtime, os.W_OK | os.X_OK) and len(runtime) < 50
    return runtime if usable and not identity.changes else "/tmp"


def _sweep(place: str) -> None:
    """Remove what servers of this user have left that were killed."""
    for name in os.listdir(place):
        if not name.startswith(_PREFIX):
            continue
        folder = os.path.join(place, name)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
            found = os.lstat(folder)
            if found.st_uid != os.geteuid() or time() - found.st_mtime < _YOUNG:
                continue
            try:
                sock.connect(os.path.join(folder, "socket"))
            except (ConnectionRefusedError, FileNotFoundError):
                _remove_folder(folder)


def _remove_folder(folder: str) -> None:
    for remove, path in ((os.unlink, os.path.join(folder, "socket")), (os.rmdir, folder)):
        with contextlib.suppress(OSError):
            remove(path)
