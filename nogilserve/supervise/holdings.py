"""What the master holds for all generations: listening sockets, pid file, control socket, and the
process that keeps certificates.

They are taken when the first generation is ready for them, with whatever rights the process was
started with; then these are given up.
"""

import contextlib
import os
import queue
from copy import replace
from typing import TYPE_CHECKING, Any, Final

from nogilserve.config import Config
from nogilserve.config.addresses import parse_bind
from nogilserve.errors import BindError
from nogilserve.sockets import Listener, open_listeners
from nogilserve.supervise.control import Control, default_path, refuse_live
from nogilserve.supervise.handover import Estate, Held, Inheritance
from nogilserve.supervise.identity import Identity
from nogilserve.supervise.pidfile import PidFile
from nogilserve.supervise.plainlog import log

if TYPE_CHECKING:
    from nogilserve.supervise.admin.process import Admin
    from nogilserve.supervise.keeper import KeeperProcess

__all__ = ["Holdings"]

_ADMIN_BACKLOG: Final = 64


class Holdings:
    """Owner: the main thread of the master."""

    def __init__(self, config: Config, handover: str) -> None:
        """Nothing is taken yet. Raises ConfigError for an unknown user, OSError."""
        self.held: Held = []
        """The listeners, each with the address it was opened for."""
        self.inheritance = Inheritance(handover)
        self.identity = Identity.of(config.user, config.group)
        self._config = config
        self._pid_file = PidFile(config.pid_file)
        self._control: Control | None = None
        self._admin_held: Held = []
        self.admin: Admin | None = None
        """What serves the admin address, where there is one."""
        self._keeper = _keeper(config, self.identity)

    @property
    def listeners(self) -> list[Listener]:
        """All of them, in order."""
        return [listener for _, listener in self.held]

    @property
    def passed_on(self) -> Estate:
        """What a next master takes over: all listeners, that of the admin address too."""
        path = self._control.path if self._control is not None else ""
        return Estate(self.held + self._admin_held, path)

    @property
    def labels(self) -> list[str]:
        """The addresses, for people."""
        return [listener.label for _, listener in self.held]

    def keep_from_children(self) -> None:
        """Inherited sockets are for generations that are ready for them, not for the import."""
        for bind in self._config.all_binds:
            if bind.kind == "fd":
                with contextlib.suppress(OSError):  # said when it is to be used
                    os.set_inheritable(bind.fd, False)

    def take(self, events: "queue.SimpleQueue[tuple[str, int, Any]]") -> None:
        """Listen, write the pid file, give up rights, open the control socket, keep certificates.

        Raises BindError, ConfigError.
        """
        given = self._config.control_socket and os.path.abspath(self._config.control_socket)
        if given and given != self.inheritance.control:
            refuse_live(given)
        try:
            self._listen()
            self._listen_for_admin()
        except BindError:
            self.close_listeners()
            raise
        self._pid_file.write(self.identity)
        self.identity.become()
        try:
            self._control = Control(given or self._default_path(), events)
        except OSError as error:
            log.say(
                "warning" if given else "info",
                "No control socket (%s): signals work, `nogilserve reload` does not",
                error,
            )

        if self._keeper is not None:
            self._keeper.start()
        if self._admin_held:
            from nogilserve.supervise.admin.process import Admin

            listeners = [listener for _, listener in self._admin_held]
            self.admin = Admin(self._config, listeners, self.identity, events)

    def _default_path(self) -> str:
        path, taken = default_path(self.labels, self.inheritance.control)
        if taken:
            log.warning(
                "Another server has the control socket %s: give commands for this one with "
                "--control-socket %s",
                taken,
                path,
            )
        return path

    def _listen_for_admin(self) -> None:
        """Open the admin address, or take it over from the master before this one."""
        address = self._config.admin
        if not address:
            return
        name = f"admin {address}"
        found = self.inheritance.take(name) or open_listeners(
            [replace(parse_bind(address), role="plain")], _ADMIN_BACKLOG
        )
        self._admin_held = [(name, listener) for listener in found]

    def _listen(self) -> None:
        config = self._config
        for bind in config.all_binds:
            found = self.inheritance.take(str(bind)) or open_listeners(
                [bind],
                config.backlog,
                uds_permissions=config.uds_permissions,
                encrypted=config.encrypted,
            )
            self.held += [(str(bind), listener) for listener in found]
            for listener in found:
                listener.role = bind.role
                if listener.file is not None:
                    self.identity.give(listener.file[0])

    def follow(self, config: Config) -> None:
        """Go on with another configuration, as far as it can be followed. Raises ConfigError."""
        if self._keeper is not None:
            self._keeper.follow(config)
        elif config.automatic_https:
            self._keeper = _keeper(config, self.identity)
            if self._keeper is not None and self.held:
                self._keeper.start()

    def refuse(self) -> None:
        """All is to end: clients are turned away, whoever still holds the sockets."""
        for listener in self.listeners:
            listener.refuse()
        self.close_listeners()

    def disown(self) -> None:
        """Another master has them too, and goes on."""
        for listener in self.listeners:
            listener.disown()
        self.close_listeners()
        self._close_admin()

    def close_listeners(self) -> None:
        """Stop listening; files of unix sockets are removed."""
        for listener in self.listeners:
            listener.close()
        self.held.clear()

    def _close_admin(self) -> None:
        if self.admin is not None:
            self.admin.close()
            self.admin = None
        for _, listener in self._admin_held:
            listener.close()
        self._admin_held.clear()

    def close(self) -> None:
        """Leave nothing behind; may be repeated."""
        self.close_listeners()
        self._close_admin()
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None
        self.inheritance.close()
        if self._control is not None:
            self._control.close()
            self._control = None
        self._pid_file.remove()


def _keeper(config: Config, identity: Identity) -> "KeeperProcess | None":
    """The process that keeps certificates, not started yet: generations are told where it is."""
    if not config.automatic_https:
        return None
    from nogilserve.supervise.keeper import KeeperProcess

    return KeeperProcess(config, identity)
