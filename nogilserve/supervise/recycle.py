"""When a generation has served for long enough: requests, memory, age, stuck threads."""

import logging
import os
import random
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final

from nogilserve.config import Config
from nogilserve.errors import ConfigError

__all__ = ["Limits", "resident"]

_log = logging.getLogger("nogilserve")

_AGAIN: Final = 30.0
"""Seconds after which a successor is asked for again, should it not have come."""


class Limits:
    """Owner: the main thread of a generation."""

    def __init__(self, config: Config) -> None:
        more = random.randint(0, config.max_requests_jitter) if config.max_requests_jitter else 0
        self.requests = config.max_requests + more if config.max_requests else 0
        self.memory = config.max_rss
        self.lifetime = config.generation_lifetime
        every = (config, *(site.config(config) for site in config.sites))
        limited = any(one.timeout or one.timeout_routes for one in every)
        self.stuck = config.stuck_threads if limited else 0
        self.any = bool(self.requests or self.memory or self.lifetime or self.stuck)
        """Whether there is one."""
        self._since = monotonic()
        self._quiet_until = 0.0
        self._base = 0
        """Memory when it was looked at first: what the application needs anyway."""
        if self.memory:
            resident()  # refuse at the start what cannot be measured

    def exceeded(self, counters: Mapping[str, Any], now: float) -> str:
        """Why the next generation should take over, "" as long as it should not."""
        if now < self._quiet_until:
            return ""
        reason = ""
        requests, stuck = counters["requests"], counters.get("stuck", 0)
        if self.stuck and stuck >= self.stuck:
            reason = f"{stuck} threads are stuck (--stuck-threads)"
        elif self.requests and requests >= self.requests:
            reason = f"it has served {requests} requests (--max-requests)"
        elif self.lifetime and now - self._since >= self.lifetime:
            reason = f"it has served for {now - self._since:.0f} s (--generation-lifetime)"
        elif self.memory and (used := self._memory_used()) > self.memory:
            reason = f"it uses {used >> 20} MiB of memory (--max-rss)"
        if reason:
            self._quiet_until = now + _AGAIN
        return reason

    def _memory_used(self) -> int:
        """Bytes in use. A limit below what the application needs to start is lifted: every
        generation would exceed it at once."""
        used = resident()
        if not self._base:
            self._base = used
            if used > self.memory:
                _log.warning(
                    "--max-rss %d MiB is less than the %d MiB that the application needs to "
                    "start: it has no effect",
                    self.memory >> 20,
                    used >> 20,
                )
                self.memory = 0
                return 0
        return used


def resident() -> int:
    """Bytes of memory this process occupies. ConfigError where the system does not tell."""
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        import psutil
    except ImportError:
        raise ConfigError("option --max-rss needs psutil here: pip install psutil") from None
    return int(psutil.Process().memory_info().rss)
