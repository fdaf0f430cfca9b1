"""Who may see and do what at the admin address.

- A page of a stranger must not reach it through a visitor's browser under a name of its own (DNS
  rebinding): on a loopback address the Host field has to be an address or localhost.
- Whoever has the token may do everything. Others may read at a loopback address, but neither
  queries of requests nor messages of errors, which may hold secrets; at other addresses only
  metrics and probes.
- No field allows other origins anything, and what changes something needs a field that browsers
  do not send across origins.
"""

import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["OPEN_PATHS", "Access", "make_token", "redacted"]

OPEN_PATHS: Final = frozenset({"/metrics", "/healthz", "/readyz"})
_SCHEME: Final = "bearer "


def make_token() -> str:
    """A new one."""
    return secrets.token_urlsafe(24)


class Access:
    """Immutable."""

    def __init__(self, token: str, *, loopback: bool) -> None:
        """`loopback`: only this machine reaches the address."""
        self._token = token.encode()
        self._loopback = loopback

    def knows_token(self, environ: Mapping[str, Any]) -> bool:
        """Whether the request has the token, in an Authorization field (RFC 6750 §2.1)."""
        given = str(environ.get("HTTP_AUTHORIZATION", ""))
        if given[: len(_SCHEME)].lower() != _SCHEME:
            return False
        return hmac.compare_digest(given[len(_SCHEME) :].strip().encode("latin-1"), self._token)

    def may_read(self, environ: Mapping[str, Any]) -> bool:
        """Whether the request may see what is not changed by seeing it."""
        return self._loopback or self.knows_token(environ)

    def is_called_right(self, environ: Mapping[str, Any]) -> bool:
        """Whether the Host field names this machine, not a name that a stranger made up."""
        if not self._loopback:
            return True  # the token is what counts; a stranger's page does not know it
        host = str(environ.get("HTTP_HOST", ""))
        name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
        if name == "" or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def redacted(data: Any) -> Any:
    """The same without what may hold secrets: queries, clients, messages of errors."""
    if isinstance(data, Mapping):
        return {
            key: _HIDDEN[key]
            if key in _HIDDEN and isinstance(value, str | list)
            else redacted(value)
            for key, value in data.items()
        }
    if isinstance(data, list):
        return [redacted(item) for item in data]
    return data


_HIDDEN: Final[dict[str, Any]] = {
    "query": "",
    "client": "",
    "failures": [],
    "running": [],
    "admin_token": "",
}
