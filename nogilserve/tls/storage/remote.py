"""The storage in Redis: for replicas on any number of machines.

The one module that imports `redis`. A lock is a key with a random value and an end, renewed and
released by scripts that compare the value first (the pattern the Redis documentation gives).
"""

import contextlib
import secrets
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from nogilserve.errors import ConfigError, StorageError
from nogilserve.tls.storage.contract import check_key

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError:  # said by RedisStorage
    redis = None  # type: ignore[assignment]

__all__ = ["RedisLease", "RedisStorage"]

_TIMEOUT: Final = 5.0
"""Seconds for connecting, and for each answer."""
_RENEW: Final = """
if redis.call("get", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("pexpire", KEYS[1], ARGV[2])
"""
_RELEASE: Final = """
if redis.call("get", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("del", KEYS[1])
"""


class RedisStorage:
    """Any thread: the client keeps a pool of connections; nothing else changes."""

    def __init__(self, url: str) -> None:
        """Connects when first used. `url`: redis://[user:password@]host[:port][/database], rediss://
        for TLS, unix://PATH; `?prefix=…` replaces "nogilserve" in front of the keys. Raises
        ConfigError."""
        if redis is None:
            raise ConfigError(
                "option --storage: Redis needs the client for it; pip install 'nogilserve[redis]'"
            )
        base, _, rest = url.partition("?")
        query = dict(parse_qsl(rest))
        self._prefix = query.pop("prefix", "nogilserve")
        try:
            self._client: Any = redis.Redis.from_url(
                f"{base}?{urlencode(query)}" if query else base,
                socket_timeout=_TIMEOUT,
                socket_connect_timeout=_TIMEOUT,
                # A connection that has died meanwhile is noticed, and replaced once.
                retry=Retry(NoBackoff(), 1),
                protocol=2,
            )
        except (ValueError, TypeError) as error:
            raise ConfigError(f"option --storage: {_shown(url)} is not valid: {error}") from None
        self._where = _shown(url)

    @property
    def where(self) -> str:
        """The URL without the password."""
        return self._where

    def _name(self, key: str, kind: str = "value") -> str:
        return f"{self._prefix}:{kind}:{check_key(key)}"

    def _ask[T](self, what: str, question: Callable[[], T]) -> T:
        try:
            return question()
        except redis.RedisError as error:
            raise StorageError(f"cannot {what} in {self._where}: {error}") from error

    def read(self, key: str) -> bytes | None:
        """As of Storage."""
        name = self._name(key)
        value: bytes | None = self._ask(f"read {key}", lambda: self._client.get(name))
        return value

    def write(self, key: str, value: bytes, ttl: float = 0.0) -> None:
        """As of Storage."""
        name = self._name(key)
        end = max(1, round(ttl * 1000)) if ttl else None
        self._ask(f"write {key}", lambda: self._client.set(name, value, px=end))

    def remove(self, key: str) -> None:
        """As of Storage."""
        name = self._name(key)
        self._ask(f"remove {key}", lambda: self._client.delete(name))

    def keys(self, prefix: str) -> list[str]:
        """As of Storage."""
        start = f"{self._prefix}:value:"
        pattern = _literal(f"{start}{check_key(prefix)}/") + "*"
        found: list[bytes] = self._ask(
            f"list {prefix}", lambda: list(self._client.scan_iter(pattern, count=1000))
        )
        return sorted({name.decode()[len(start) :] for name in found})

    def lock(self, name: str, term: float) -> "RedisLease | None":
        """As of Storage."""
        key, mark = self._name(name, "lock"), secrets.token_hex(16)
        milliseconds = max(1, round(term * 1000))
        taken = self._ask(
            f"lock {name}", lambda: self._client.set(key, mark, px=milliseconds, nx=True)
        )
        return RedisLease(self, key, mark, milliseconds) if taken else None

    def run_script(self, script: str, key: str, *arguments: str | int) -> bool:
        """Run a script of this module on a lock; whether it did something."""
        return bool(
            self._ask(f"change {key}", lambda: self._client.eval(script, 1, key, *arguments))
        )

    def close(self) -> None:
        """As of Storage."""
        with contextlib.suppress(redis.RedisError):
            self._client.close()


class RedisLease:
    """Immutable: that it is still held is known by Redis alone."""

    def __init__(self, storage: RedisStorage, key: str, mark: str, milliseconds: int) -> None:
        """Just obtained."""
        self._storage = storage
        self._key = key
        self._mark = mark
        self._milliseconds = milliseconds

    def renew(self) -> bool:
        """As of Lease."""
        return self._storage.run_script(_RENEW, self._key, self._mark, self._milliseconds)

    def release(self) -> None:
        """As of Lease."""
        with contextlib.suppress(StorageError):
            self._storage.run_script(_RELEASE, self._key, self._mark)


def _literal(text: str) -> str:
    """For a pattern of Redis: only the prefix may hold characters that mean something."""
    return "".join(f"\\{c}" if c in "*?[]^-\\" else c for c in text)


def _shown(url: str) -> str:
    """Without the password."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
