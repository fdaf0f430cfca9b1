"""The admin address of a process that serves without a master: the process looks at itself."""

import contextlib
import os
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any, Final

from nogilserve import __version__
from nogilserve.config import Config
from nogilserve.config.observing import endpoint, is_loopback
from nogilserve.runtimes.contract import Runtime
from nogilserve.sockets import Listener
from nogilserve.supervise.admin.backend import Answer
from nogilserve.supervise.observer import Observer
from nogilserve.supervise.serving import set_threads
from nogilserve.supervise.words import log

__all__ = ["Commands", "watching"]

_QUESTIONS: Final = frozenset({"look", "stacks", "profile", "memory", "gc", "log-level"})
_NO_MASTER: Final = (
    "a process without a master cannot replace itself: start it without --no-master, or start it "
    "again"
)

type Commands = queue.SimpleQueue[str | Callable[[], None]]


class Alone:
    """Implements `backend.Backend`. Any thread: what has to be done by the main thread goes through
    its queue."""

    def __init__(
        self,
        config: Config,
        runtime: Runtime,
        observer: Observer,
        labels: Sequence[str],
        commands: "Commands",
    ) -> None:
        """`labels`: where the application is served; `commands`: the queue of the main thread."""
        self._config = config
        self._runtime = runtime
        self._observer = observer
        self._labels = list(labels)
        self._commands = commands
        self._since = monotonic()
        self._drained = False
        """The last word of whoever drained counts."""

    def ask(
        self, command: str, arguments: Mapping[str, Any] | None = None, seconds: float = 10.0
    ) -> Answer:
        """Do or answer it."""
        given = arguments or {}
        if command in _QUESTIONS:
            found = self._observer.answer(command, given)
            if "error" in found:
                return {"ok": False, "text": found["error"]}
            return {"ok": True, "text": "", "answers": {"1": found}, "past": {}}
        if command == "status":
            return self._status()
        if command == "threads":
            return self._threads(given, seconds)
        if command == "drain":
            self._drained = not given.get("off")
            self._observer.answer("readiness", {"ready": not self._drained})
            text = "Not ready for new clients from now on; what comes is served"
            return {"ok": True, "text": text if self._drained else "Ready for new clients again"}
        if command == "stop":
            self._commands.put("stop")
            return {"ok": True, "text": "Stopping: finishing what was accepted"}
        return {"ok": False, "text": _NO_MASTER}

    def _status(self) -> Answer:
        draining = not self._runtime.accepting
        generation = {
            "number": 1,
            "state": "draining" if draining else "serving",
            "seconds": monotonic() - self._since,
            "pid": os.getpid(),
        }
        return {
            "ok": True,
            "text": f"nogilserve {__version__}, pid {os.getpid()}, {self._config.app}",
            "version": __version__,
            "app": self._config.app,
            "addresses": self._labels,
            "ready": not draining and not self._drained,
            "drained": self._drained,
            "stopping": draining,
            "generations": [generation],
        }

    def _threads(self, given: Mapping[str, Any], seconds: float) -> Answer:
        answer: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._commands.put(lambda: answer.put(set_threads(self._runtime, given)))
        try:
            found = answer.get(timeout=seconds)
        except queue.Empty:
            return {"ok": False, "text": f"no answer within {seconds:g} s"}
        if "error" in found:
            return {"ok": False, "text": found["error"]}
        return {"ok": True, "text": "", "answers": {"1": found}}


@contextlib.contextmanager
def watching(
    config: Config,
    runtime: Runtime,
    labels: Sequence[str],
    listeners: Sequence[Listener],
    commands: "Commands",
) -> Iterator[None]:
    """Watch the process, and serve the admin address on `listeners`, if there are any."""
    observer = Observer(runtime, config)
    observer.start()
    serving = None
    try:
        if listeners:
            from nogilserve.supervise.admin.access import make_token
            from nogilserve.supervise.admin.serving import Serving

            token = config.admin_token or make_token()
            backend = Alone(config, runtime, observer, labels, commands)
            loopback = is_loopback(endpoint(config.admin)[0])
            serving = Serving(backend, token, listeners, loopback=loopback)
            for listener in listeners:
                # There is no control socket that could tell it.
                known = "" if config.admin_token else f"#token={token}"
                log.info("Status page at %s/%s", listener.label, known)
        yield
    finally:
        if serving is not None:
            serving.close()
        for listener in listeners:
            listener.close()
        observer.stop()
