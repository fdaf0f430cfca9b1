"""The rules of the full path, each with its section. They are stricter than h11 where servers
were attacked through leniency.

All functions raise ProtocolError; text is latin-1 `str` that the head reader has already found
free of control characters (RFC 9110 §5.5).
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from nogilserve.errors import ProtocolError
from nogilserve.messages import CHUNKED, Headers

__all__ = [
    "FORBIDDEN_TRAILERS",
    "Target",
    "body_framing",
    "field_line",
    "host",
    "list_items",
    "persistent",
    "request_line",
    "request_target",
    "the_host",
    "wants_continue",
]

_TOKEN: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_TARGET: Final = re.compile(r"[\x21-\x7e]+")
_VERSION: Final = re.compile(r"HTTP/([0-9])\.([0-9])")
# RFC 3986 §3.2.2: reg-name, and the bracketed literals (IPv6 is judged by ipaddress).
_REG_NAME: Final = re.compile(r"(?:[-._~A-Za-z0-9!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_LITERAL: Final = re.compile(r"\[([0-9A-Fa-f:.]+|[vV][0-9A-Fa-f]+\.[-._~A-Za-z0-9!$&'()*+,;=:]+)\]")
_PORT: Final = re.compile(r"[0-9]{0,5}")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")

FORBIDDEN_TRAILERS: Final = frozenset(
    {
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "keep-alive",
        "max-forwards",
        "pragma",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""RFC 9110 §6.5.1: fields for framing, routing, authentication, request modifiers, and content
format have no place behind the content; they must be known before it."""


class Target(NamedTuple):
    """A request-target taken apart."""

    path: str
    query: str
    authority: str
    """Of an absolute-form target, else ""."""


def request_line(line: str) -> tuple[str, str, int]:
    """Method, target and minor version of a request line (RFC 9112 §3).

    Exactly one space between the parts: the lenient reading of §3 is what smuggling needs.
    """
    words = line.split(" ")
    if len(words) != 3:
        raise ProtocolError(400, "malformed request line", "RFC 9112 §3")
    method, target, version = words
    if not _TOKEN.fullmatch(method):
        raise ProtocolError(400, "malformed method", "RFC 9110 §9.1")
    if not _TARGET.fullmatch(target):
        raise ProtocolError(400, "malformed request target", "RFC 9112 §3.2")
    match = _VERSION.fullmatch(version)
    if match is None:
        raise ProtocolError(400, "malformed protocol version", "RFC 9112 §2.3")
    major, minor = match.groups()
    if major != "1":
        raise ProtocolError(505, "only HTTP/1.0 and HTTP/1.1 are spoken here", "RFC 9110 §15.6.6")
    # RFC 9110 §6.2: a higher minor version is served as the highest one that we know.
    return method, target, min(int(minor), 1)


def request_target(method: str, target: str) -> Target:
    """Take a target apart by its form (RFC 9112 §3.2)."""
    if method == "CONNECT":
        raise ProtocolError(501, "CONNECT is not supported", "RFC 9110 §9.3.6")
    if "#" in target:
        # A fragment is no part of any form of request-target.
        raise ProtocolError(400, "fragment in the request target", "RFC 9112 §3.2")
    if target == "*":
        if method != "OPTIONS":
            raise ProtocolError(400, "target * is for OPTIONS only", "RFC 9112 §3.2.4")
        return Target("*", "", "")
    if target.startswith("/"):
        path, _, query = target.partition("?")
        return Target(path, query, "")
    return _absolute(method, target)


def _absolute(method: str, target: str) -> Target:
    """Take an absolute-form target apart (RFC 9112 §3.2.2)."""
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in {"http", "https"}:
        raise ProtocolError(400, "malformed request target", "RFC 9112 §3.2")
    rest, question, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        raise ProtocolError(400, "user information in the request target", "RFC 9110 §4.2.4")
    host(authority)
    if slash:
        return Target("/" + path, query, authority)
    # An empty path means "/", but for OPTIONS the server as a whole (RFC 9112 §3.2.4).
    whole = method == "OPTIONS" and not question
    return Target("*" if whole else "/", query, authority)


def host(value: str) -> None:
    """Check `uri-host [":" port]` (RFC 9110 §7.2, RFC 3986 §3.2.2). Empty is refused: the
    "http" and "https" schemes have no URI without a host (RFC 9110 §4.2.1)."""
    name, colon, port = value.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = value, ""
    if not _PORT.fullmatch(port) or (port and int(port) > 65535):
        raise ProtocolError(400, "malformed port in the host", "RFC 3986 §3.2.3")
    literal = _LITERAL.fullmatch(name)
    if literal is None:
        if not _REG_NAME.fullmatch(name):
            raise ProtocolError(400, "malformed host", "RFC 9112 §3.2")
    elif literal[1][0] not in "vV":
        try:
            ipaddress.IPv6Address(literal[1])
        except ValueError:
            raise ProtocolError(400, "malformed host", "RFC 3986 §3.2.2") from None


def field_line(line: str) -> tuple[str, str]:
    """Name in lower case and value of a field line (RFC 9112 §5)."""
    if line[0] in " \t":
        raise ProtocolError(400, "folded or indented field line", "RFC 9112 §5.2")
    name, colon, value = line.partition(":")
    if not colon:
        raise ProtocolError(400, "field line without a colon", "RFC 9112 §5")
    if not _TOKEN.fullmatch(name):
        # White space before the colon falls under this too (RFC 9112 §5.1).
        raise ProtocolError(400, "malformed field name", "RFC 9110 §5.1")
    return name.lower(), value.strip(" \t")


def _values(headers: Headers, wanted: str) -> list[str]:
    return [value for name, value in headers if name == wanted]


def list_items(values: Iterable[str]) -> list[str]:
    """The elements of a comma-separated list over several lines, in lower case, without the
    empty ones (RFC 9110 §5.6.1)."""
    items = (item.strip(" \t").lower() for value in values for item in value.split(","))
    return [item for item in items if item]


def the_host(headers: Headers, minor: int) -> str:
    """The Host field: once and valid; only HTTP/1.0 may leave it out (RFC 9112 §3.2)."""
    values = _values(headers, "host")
    if len(values) > 1:
        raise ProtocolError(400, "more than one Host field", "RFC 9112 §3.2")
    if not values:
        if minor:
            raise ProtocolError(400, "Host field missing", "RFC 9112 §3.2")
        return ""
    host(values[0])
    return values[0]


def body_framing(headers: Headers, minor: int) -> int:
    """The length of the request body, or CHUNKED (RFC 9112 §6)."""
    lengths = _values(headers, "content-length")
    codings = _values(headers, "transfer-encoding")
    if codings:
        if lengths:
            raise ProtocolError(
                400, "Content-Length together with Transfer-Encoding", "RFC 9112 §6.1"
            )
        if not minor:
            raise ProtocolError(400, "Transfer-Encoding in an HTTP/1.0 request", "RFC 9112 §6.1")
        _transfer_coding(", ".join(codings))
        return CHUNKED
    if not lengths:
        return 0
    if len(lengths) > 1:
        raise ProtocolError(400, "more than one Content-Length field", "RFC 9112 §6.3")
    # Digits only: int() would take "+5", " 5", "0_5" and digits of other scripts.
    if not _LENGTH.fullmatch(lengths[0]):
        raise ProtocolError(400, "malformed Content-Length", "RFC 9110 §8.6")
    return int(lengths[0])


def _transfer_coding(value: str) -> None:
    """Only `chunked`, alone, is served (RFC 9112 §6.1, §7)."""
    codings = [coding.strip(" \t").lower() for coding in value.split(",")]
    if codings == ["chunked"]:
        return
    for coding in codings:
        name, _, parameters = coding.partition(";")
        if not _TOKEN.fullmatch(name.rstrip(" \t")) or (parameters and name == "chunked"):
            raise ProtocolError(400, "malformed Transfer-Encoding", "RFC 9112 §7")
    if "chunked" in codings[:-1]:
        raise ProtocolError(400, "chunked is not the last transfer coding", "RFC 9112 §6.3")
    raise ProtocolError(501, "unknown transfer coding", "RFC 9112 §6.1")


def persistent(headers: Headers, minor: int) -> tuple[bool, bool]:
    """Whether the connection may carry on (RFC 9112 §9.3), and whether Connection names
    Upgrade (RFC 9110 §7.8: to be ignored in HTTP/1.0)."""
    options = list_items(_values(headers, "connection"))
    if minor:
        return "close" not in options, "upgrade" in options
    return "keep-alive" in options and "close" not in options, False


def wants_continue(headers: Headers, minor: int) -> bool:
    """Whether the client waits for 100 before it sends the body (RFC 9110 §10.1.1)."""
    values = _values(headers, "expect")
    if not values:
        return False
    if set(list_items(values)) != {"100-continue"}:
        raise ProtocolError(417, "unknown expectation", "RFC 9110 §10.1.1")
    # "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore" it.
    return minor == 1
