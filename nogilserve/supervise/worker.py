"""The body of a member: what a child process or a subinterpreter does that serves for another.

It is told everything over its channel and does it with a runtime of its own. Its owner is
one thread, which reads the channel; `runtimes/crew.py` is the other end.
"""

import contextlib
import logging
import os
import queue  # noqa: F401 - what is imported later needs it; see `serve_member`
import socket
import sys
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Final

from nogilserve.engine.poller import READ, wait_for
from nogilserve.errors import AppImportError, ConfigError
from nogilserve.observe.accesslog import AccessLog
from nogilserve.runtimes.build import load_here
from nogilserve.runtimes.channel import Channel, unshare
from nogilserve.runtimes.contract import Runtime
from nogilserve.runtimes.daemon import daemon
from nogilserve.runtimes.intake import Intake
from nogilserve.runtimes.ledger import Ledger
from nogilserve.runtimes.spec import Spec
from nogilserve.runtimes.tenants import WAY_BACK
from nogilserve.supervise.interrupts import MASTERS, STOPPING, leave_to_master
from nogilserve.supervise.observer import Observer
from nogilserve.supervise.serving import leave, open_access_log, write_files_at_exit
from nogilserve.supervise.words import configure_logging, form_others

__all__ = ["main", "serve_member"]

_log = logging.getLogger("nogilserve")

_SLICE: Final = 0.05
"""Seconds between looks at the channel while requests finish."""


def main(reference: int | None) -> int:
    """Be a child process; the exit status. `reference`: the descriptor of the channel, None where
    it comes over standard input (Windows)."""
    if reference is None:
        sock = unshare(sys.stdin.buffer.read())
    else:
        sock = socket.socket(fileno=reference)
        sock.set_inheritable(False)
    # A terminal or a service manager sends them to all processes: the parent decides.
    leave_to_master(*STOPPING, *MASTERS)
    write_files_at_exit()
    return serve_member(sock, process=True)


def serve_member(sock: socket.socket, *, process: bool) -> int:
    """Do what the channel says until it says stop; the exit status. `process`: there is a process
    for this member alone."""
    channel = Channel(sock)
    try:
        _, spec, _ = channel.receive()
    except EOFError:
        return 0
    if process:
        # The application's folder may come first: a file there that is named like a standard
        # module takes the place of one that is not imported by now.
        sys.path[:] = spec.path
        if spec.directory:
            os.chdir(spec.directory)
    tenant = spec.config.tenant
    configure_logging(
        spec.config.log_level, tenant.name if tenant else "", form=spec.config.log_format
    )
    if isinstance(spec.ledger, int) and process:
        os.set_inheritable(spec.ledger, False)
    member = _Member(channel, spec, process=process)
    return member.run()


class _Member:
    """Owner: the thread that runs it."""

    def __init__(self, channel: Channel, spec: Spec, *, process: bool) -> None:
        self._channel = channel
        self._spec = spec
        self._process = process
        self._row = Ledger(spec.members, spec.ledger).row(spec.index)
        self._log: AccessLog | None = None

    def run(self) -> int:
        """Import, start, serve, finish."""
        try:
            self._log = open_access_log(self._spec.config)
            runtime = load_here(self._spec.config, self._log.put if self._log else None, self._row)
            self._say("loaded", (runtime.served.name, runtime.served.interface))
            form_others()
            if self._may_start():
                self._serve(runtime)
        except (AppImportError, ConfigError, OSError) as exc:
            kind = "app" if isinstance(exc, AppImportError) else "os"
            kind = "config" if isinstance(exc, ConfigError) else kind
            self._say("failed", (kind, str(exc), getattr(exc, "detail", "")))
            return 3
        finally:
            if self._log is not None:
                self._log.close()
        return 0

    def _say(self, name: str, data: object = None) -> None:
        with contextlib.suppress(OSError):  # nobody is there any more; `receive` says so, too
            self._channel.send(name, data)

    def _may_start(self) -> bool:
        """Wait for the word to start. False: it will not come."""
        try:
            name, _, _ = self._channel.receive()
        except EOFError:
            return False
        return name == "start"

    def _answer(self, observer: Observer, asked: tuple[str, str, dict[str, Any]]) -> None:
        """Answer a question about this member. Any thread."""
        token, question, arguments = asked
        self._say("answer", (token, observer.answer(question, arguments)))

    def _serve(self, runtime: Runtime) -> None:
        """Start and obey, until everything is finished."""
        observer = Observer(runtime, self._spec.config, member=True)
        observer.start()
        try:
            runtime.start([])
            self._say("started")
            self._obey(runtime, observer)
            self._say("stopped", observer.snapshot())
        finally:
            observer.stop()

    def _obey(self, runtime: Runtime, observer: Observer) -> None:
        questions: dict[str, Callable[[], Any]] = {
            "snapshot": observer.snapshot,
            "running": runtime.running,
            "dump_stacks": runtime.dump_stacks,
            "reopen_log": self._log.reopen if self._log else lambda: None,
        }
        draining = False
        while True:
            if draining:
                if runtime.join(monotonic() + _SLICE):
                    return
                if not wait_for(self._channel.fileno(), READ, 0):
                    continue
            try:
                name, data, sockets = self._channel.receive()
            except EOFError:
                self._finish_alone(runtime, draining=draining)
                return
            if name == "ask":
                self._say("answer", (data, questions[data]()))
            elif name == "inquire":
                daemon(partial(self._answer, observer, data), "observer").start()
            elif name == "accept":
                family, server, role, servers = data
                if len(sockets) > 1:  # the process of a tenant
                    WAY_BACK.lead(sockets[1], servers)
                returning = len(sockets) > 1
                intake = Intake(sockets[0], family, server, self._row, role, returning=returning)
                runtime.accept([intake])
            elif name == "drain":
                draining = True
                runtime.drain(patient=data)

    def _finish_alone(self, runtime: Runtime, *, draining: bool) -> None:
        """Whoever accepted for this member is gone: finish what is here. Does not return
        if that takes too long, or if it was being waited for already."""
        if not draining:
            _log.warning("The process that accepts connections is gone; finishing")
            runtime.drain()
            if runtime.join(monotonic() + self._spec.config.graceful_timeout):
                return
        if self._process:
            leave(self._log)
