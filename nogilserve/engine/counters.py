"""What a core counts. Plain integers and floats, added to by the thread that holds the core."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["Counters", "total"]


@dataclass(slots=True)
class Counters:
    """Owner: the thread that holds the core. Any thread may read slightly old values."""

    accepted: int = 0
    """Connections taken from the listening sockets for this core."""
    closed: int = 0
    """Connections ended."""
    requests: int = 0
    """Requests given to the application and finished."""
    received: int = 0
    """Bytes read from clients."""
    sent: int = 0
    """Bytes handed to the system for clients."""
    hand_offs: int = 0
    """Times another thread took the core over while its driver was in the application."""
    steals: int = 0
    """Turns driven by the thread of an idle core."""
    websockets: int = 0
    """WebSocket connections opened."""
    tls_handshakes: int = 0
    """TLS handshakes completed."""
    tls_resumed: int = 0
    """Of these, those that resumed a session."""
    tls_failed: int = 0
    """TLS handshakes that did not succeed, or took too long."""
    turns_waited: float = 0.0
    """Seconds from taking a batch of events to looking at its last one, summed over batches."""
    longest_wait: float = 0.0
    """The longest such time, in seconds."""
    refused: dict[str, int] = field(default_factory=dict)
    """Requests and connections refused or given up, by reason."""

    def refuse(self, reason: str) -> None:
        """Count one refusal."""
        self.refused[reason] = self.refused.get(reason, 0) + 1


def total(blocks: Iterable[Counters]) -> dict[str, Any]:
    """The sum over cores (the maximum for `longest_wait`), as plain data. Any thread."""
    names = [f.name for f in fields(Counters) if f.name not in ("refused", "longest_wait")]
    result: dict[str, Any] = dict.fromkeys(names, 0)
    longest = 0.0
    refused: dict[str, int] = {}
    for block in blocks:
        for name in names:
            result[name] += getattr(block, name)
        longest = max(longest, block.longest_wait)
        for reason, count in block.refused.copy().items():
            refused[reason] = refused.get(reason, 0) + count
    return result | {"longest_wait": longest, "refused": refused}
