"""What a member is told before anything else: plain data that crosses every border."""

import os
import sys
from copy import replace
from dataclasses import dataclass

from nogilserve.config import Config

__all__ = ["Spec", "member_config", "specify"]


@dataclass(frozen=True, slots=True)
class Spec:
    """Immutable; is pickled. Made by `specify` before the application may change anything."""

    config: Config
    """That of a single member: its threads, one core."""
    path: tuple[str, ...]
    """Where modules are imported from."""
    directory: str
    """The working directory."""
    members: int
    index: int = 0
    ledger: int | str = 0
    """Reference of the ledger to join."""

    def for_member(self, index: int, ledger: int | str) -> "Spec":
        """The specification of member number `index`."""
        return replace(self, index=index, ledger=ledger)


def specify(config: Config, members: int) -> Spec:
    """The specification of `members` members that share the threads of `config`."""
    try:
        directory = os.getcwd()
    except OSError:
        directory = ""
    return Spec(member_config(config, members), tuple(sys.path), directory, members)


def member_config(config: Config, members: int) -> Config:
    """That of one of `members`: a core, and its share of the threads, of the event loops and of
    what is limited for all. Connections are spread evenly, and so is what they ask for."""
    return replace(
        config,
        runtime="threads",
        workers=1,
        threads=max(1, _share(config.threads, members)),
        loops=_share(config.loops, members),
        limit_concurrency=_share(config.limit_concurrency, members),
        limit_connections=_share(config.limit_connections, members),
    )


def _share(number: int, members: int) -> int:
    """An equal part, rounded up; of 0, which means no limit or "auto", 0."""
    return -(-number // members)
