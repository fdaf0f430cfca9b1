"""How many connections there may be, in all and of one address; what one too many is told."""

import threading
from ipaddress import IPv6Address, ip_address
from typing import Final

from nogilserve.errors import ProtocolError
from nogilserve.messages import Headers
from nogilserve.protocols.proxy import ProxyRules

__all__ = [
    "OVERLOADED",
    "OVERLOADED_BODY",
    "OVERLOADED_FIELDS",
    "OVERLOADED_STATUS",
    "Admission",
    "address_key",
    "overloaded",
]

_RETRY: Final = "1"
"""Seconds after which to ask again. Overload of a server is over quickly, or for long."""
_GUESTS: Final = 128
"""Refused connections that are given the time to read why; further ones are closed at once."""
_GUEST: Final = "guest"
_NET: Final = 64
"""Bits of an IPv6 address that name a client: each gets a network of that size (RFC 6177)."""

_BUSY: Final = "too many requests at once"

OVERLOADED: Final = f"503 {_BUSY}"
"""Under this reason such requests are counted."""
OVERLOADED_STATUS: Final = "503 Service Unavailable"
OVERLOADED_FIELDS: Final[Headers] = [
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Retry-After", _RETRY),
]
OVERLOADED_BODY: Final = f"{_BUSY}\n".encode()


def overloaded() -> ProtocolError:
    """The answer to a request that exceeds `--limit-concurrency`."""
    return _refusal(_BUSY)


def _refusal(message: str) -> ProtocolError:
    return ProtocolError(503, message, "", (("Retry-After", _RETRY),))


def address_key(address: str) -> str:
    """What connections of an address are counted under: an IPv4 address itself, of an IPv6 one its
    /64, because that is what one client has."""
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{int(parsed) >> (128 - _NET):x}/{_NET}"


class Admission:
    """The open connections of the process. Any thread: the lock guards the numbers.

    Touched when a connection begins and ends, never by a request. Exact: no more than the limits
    are ever admitted. An address costs memory only while it has a connection.
    """

    def __init__(self, connections: int, per_address: int, rules: ProxyRules) -> None:
        """0 means no limit. `rules`: who is a proxy, whose address is that of many clients."""
        self._lock = threading.Lock()
        self._most = connections
        self._per_address = per_address
        self._rules = rules
        self._keys: dict[object, str] = {}
        """Admitted connections and refused ones that linger, with what they are counted under."""
        self._by_address: dict[str, int] = {}
        self._guests = 0

    def admit(self, connection: object, client: tuple[str, str] | None) -> ProtocolError | None:
        """Count a new connection; why it is refused, None if it is not."""
        key = self._key(client, announced=False)
        with self._lock:
            if self._most and len(self._keys) - self._guests >= self._most:
                return _refusal("too many connections")
            if not self._count(key):
                return _refusal("too many connections from this address")
            self._keys[connection] = key
        return None

    def announced(self, connection: object, client: tuple[str, str] | None) -> ProtocolError | None:
        """A load balancer says whose connection it is: from now on it counts for that client."""
        key = self._key(client, announced=True)
        with self._lock:
            if not self._count(key):
                return _refusal("too many connections from this address")
            self._uncount(self._keys.get(connection, ""))
            self._keys[connection] = key
        return None

    def linger(self, connection: object) -> bool:
        """Whether a refused connection may stay until it has read its answer; `release` it then."""
        with self._lock:
            if self._guests >= _GUESTS:
                return False
            self._guests += 1
            self._keys[connection] = _GUEST
        return True

    def release(self, connection: object) -> None:
        """The connection is closed."""
        with self._lock:
            key = self._keys.pop(connection, "")
            if key == _GUEST:
                self._guests -= 1
            else:
                self._uncount(key)

    def counts(self) -> tuple[int, int]:
        """Connections admitted, and addresses they are counted under. Any thread."""
        with self._lock:
            return len(self._keys) - self._guests, len(self._by_address)

    def _key(self, client: tuple[str, str] | None, *, announced: bool) -> str:
        """Under what to count, "" for nothing: unix sockets and proxies."""
        if not self._per_address or client is None:
            return ""
        if self._rules.is_proxy(client[0], announced=announced):
            return ""
        return address_key(client[0])

    def _count(self, key: str) -> bool:
        """Count, unless there are too many. The caller holds the lock."""
        if key:
            count = self._by_address.get(key, 0)
            if count >= self._per_address:
                return False
            self._by_address[key] = count + 1
        return True

    def _uncount(self, key: str) -> None:
        if key:
            count = self._by_address[key] - 1
            if count:
                self._by_address[key] = count
            else:
                del self._by_address[key]
