"""What the admin application asks, whoever answers."""

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["Answer", "Backend"]

Answer = dict[str, Any]
"""{"ok": …, "text": …} and more; to a question "answers" by generation."""


class Backend(Protocol):
    """The master, or the process itself. Any thread."""

    def ask(
        self, command: str, arguments: Mapping[str, Any] | None = None, seconds: float = 10.0
    ) -> Answer:
        """Give a command, and wait for the answer so long at most; never raises."""
