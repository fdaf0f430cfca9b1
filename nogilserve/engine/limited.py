"""Connections whose number is limited: `--limit-connections` and the limit for one address."""

from nogilserve.engine.admission import Admission
from nogilserve.engine.connection import CLOSED, Connection
from nogilserve.engine.core import Core
from nogilserve.errors import ProtocolError

__all__ = ["LimitedConnection"]


class LimitedConnection(Connection):
    """Counted while it is open. Owner: as of Connection."""

    __slots__ = ()

    def start(self, core: Core) -> None:
        """Become part of `core`, if only to be refused."""
        Connection.start(self, core)
        refusal = _admission(core).admit(self, self.client)
        if refusal is not None:
            self._turn_down(core, refusal)

    def is_welcome(self, core: Core) -> bool:
        """A load balancer has said whose connection it is."""
        refusal = _admission(core).announced(self, self.client)
        if refusal is not None:
            self._turn_down(core, refusal)
        return refusal is None

    def _turn_down(self, core: Core, refusal: ProtocolError) -> None:
        admission = _admission(core)
        admission.release(self)
        if admission.linger(self):
            self.refuse(core, refusal)
        else:
            core.counters.refuse(f"{refusal.status} {refusal.message}")
            self.close(core)

    def close(self, core: Core) -> None:
        """End the connection."""
        if self.state != CLOSED:
            _admission(core).release(self)
        Connection.close(self, core)


def _admission(core: Core) -> Admission:
    admission = core.admission
    assert admission is not None
    return admission
