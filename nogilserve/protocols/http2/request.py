"""From the fields of a HEADERS frame to a Request, by the rules of HTTP/2 (RFC 9113 §8.3) and, for
all that the versions have in common, by those of HTTP/1 (`http1.rules`)."""

import re
from typing import Final

from nogilserve.errors import ProtocolError
from nogilserve.messages import CHUNKED, Headers, Limits, Request
from nogilserve.protocols.http1 import rules

__all__ = ["Malformed", "build_request", "check_trailers", "most_of", "translated"]

_NAME: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9a-z]+")
_METHOD: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_PATH: Final = re.compile(r"[\x21-\x7e]+")
# RFC 9113 §8.2.1 and RFC 9110 §5.5; as in HTTP/1 no control character but the tab.
_VALUE: Final = re.compile(
    r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
)
_LENGTH: Final = re.compile(r"[0-9]{1,18}")

_CONNECTION: Final = frozenset(
    ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade")
)
_PSEUDO: Final = frozenset((":method", ":scheme", ":path", ":authority", ":protocol"))


class Malformed(Exception):
    """The request breaks a rule of HTTP/2: PROTOCOL_ERROR for its stream (RFC 9113 §8.1.1)."""


def build_request(
    fields: Headers, limits: Limits, *, ended: bool, websockets: bool, host: str = ""
) -> Request:
    """The request of a field section.

    `ended`: nothing follows it; `host`: one that was found valid before; `websockets`: extended
    CONNECT is spoken (RFC 8441). Raises Malformed, and ProtocolError for what is answered with a
    status, as in HTTP/1.
    """
    pseudo, headers = _separate(fields)
    method = pseudo.get(":method", "")
    if method not in {"GET", "POST", "HEAD", "PUT", "DELETE", "PATCH"} and not _METHOD.fullmatch(
        method
    ):
        raise Malformed(":method is missing or malformed")
    protocol = pseudo.get(":protocol")
    if protocol is not None:
        _check_extended_connect(method, pseudo, websockets=websockets)
    elif method == "CONNECT":
        if ":scheme" in pseudo or ":path" in pseudo or not pseudo.get(":authority"):
            raise Malformed("CONNECT takes :authority alone (RFC 9113 §8.5)")
        raise ProtocolError(501, "CONNECT is not supported", "RFC 9110 §9.3.6")
    target = pseudo.get(":path", "")
    if pseudo.get(":scheme") not in {"http", "https"}:
        raise Malformed(":scheme is missing, or neither http nor https")
    if not _PATH.fullmatch(target) or (target[0] != "/" and target != "*"):
        raise Malformed(":path is missing or malformed")
    authority, headers = _authority(pseudo, headers)
    _check_limits(method, target, headers, limits)
    if authority != host:
        rules.host(authority)
    path, query, _ = rules.request_target("GET" if protocol else method, target)
    body = _body(headers, ended=ended)
    if body > most_of(authority, path, limits) > 0:
        raise ProtocolError(413, "request body too large", "RFC 9110 §15.5.14")
    expects = rules.wants_continue(headers, 1)
    return Request(
        method,
        target,
        path,
        query,
        2,
        headers,
        authority,
        0 if protocol else body,
        True,
        expects and body != 0,
        protocol or "",
    )


def _separate(fields: Headers) -> tuple[dict[str, str], Headers]:
    """The pseudo-header fields, and the others, each known to be well-formed."""
    pseudo: dict[str, str] = {}
    headers: Headers = []
    cookies: list[str] = []
    for name, value in fields:
        # What nearly all values and names are like is seen without a regular expression.
        if not (
            value.isascii() and value.isprintable() and value.strip(" ") == value
        ) and not _VALUE.fullmatch(value):
            raise Malformed(f"malformed value of {name!r}")
        if name[:1] == ":":
            if headers or cookies:
                raise Malformed("pseudo-header field behind a regular one (RFC 9113 §8.3)")
            if name not in _PSEUDO or name in pseudo:
                raise Malformed(f"unknown or repeated pseudo-header field {name!r}")
            pseudo[name] = value
            continue
        if not (
            name.isascii() and name.islower() and name.replace("-", "a").isalnum()
        ) and not _NAME.fullmatch(name):
            raise Malformed(f"malformed field name {name!r} (RFC 9113 §8.2.1)")
        if name in _CONNECTION or (name == "te" and value.lower() != "trailers"):
            raise Malformed(f"connection-specific field {name!r} (RFC 9113 §8.2.2)")
        if name == "cookie":
            cookies.append(value)
        else:
            headers.append((name, value))
    if cookies:
        # Compression may have split it up (RFC 9113 §8.2.3).
        headers.append(("cookie", "; ".join(cookies)))
    return pseudo, headers


def _check_extended_connect(method: str, pseudo: dict[str, str], *, websockets: bool) -> None:
    if method != "CONNECT" or not websockets:
        raise Malformed(":protocol without need (RFC 8441 §4)")
    if not pseudo.get(":authority"):
        raise Malformed("extended CONNECT without :authority (RFC 8441 §4)")
    if pseudo[":protocol"] != "websocket":
        raise ProtocolError(501, "only websocket is spoken in a CONNECT", "RFC 9220 §3")


def _authority(pseudo: dict[str, str], headers: Headers) -> tuple[str, Headers]:
    """Host and port in force, and the fields with them as Host (RFC 9113 §8.3.1)."""
    hosts = [value for name, value in headers if name == "host"]
    authority = pseudo.get(":authority")
    if len(hosts) > 1 or (hosts and authority is not None and hosts[0] != authority):
        raise Malformed("more than one host")
    if authority is None:
        if not hosts:
            raise Malformed("neither :authority nor host")
        return hosts[0], headers
    if "@" in authority or not authority:
        raise Malformed(":authority is empty or has user information")
    return authority, headers if hosts else [("host", authority), *headers]


def _check_limits(method: str, target: str, headers: Headers, limits: Limits) -> None:
    if len(method) + len(target) + 10 > limits.request_line:
        raise ProtocolError(414, "request target too long", "RFC 9110 §15.5.15")
    if len(headers) > limits.fields:
        raise ProtocolError(431, "too many header fields", "RFC 6585 §5")
    total = len(method) + len(target)
    for name, value in headers:
        size = len(name) + len(value) + 2
        total += size + 2
        if size > limits.field_size:
            raise ProtocolError(431, "header field too large", "RFC 6585 §5")
    if total > limits.head:
        raise ProtocolError(431, "request head too large", "RFC 6585 §5")


def _body(headers: Headers, *, ended: bool) -> int:
    """The length of the body, CHUNKED where it is not known."""
    lengths = [value for name, value in headers if name == "content-length"]
    if not lengths:
        return 0 if ended else CHUNKED
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Malformed("malformed or repeated content-length")
    length = int(lengths[0])
    if ended and length:
        raise Malformed("content-length without content (RFC 9113 §8.1.1)")
    return length


def most_of(authority: str, path: str, limits: Limits) -> int:
    """Bytes that the body of a request may have; 0: no limit."""
    return limits.body if limits.body_of is None else limits.body_of(authority, path)


def translated(request: Request) -> Request:
    """A request of HTTP/1 as one of HTTP/2, without what was about its connection."""
    gone = {*_CONNECTION, "http2-settings", "te"}
    headers = [field for field in request.headers if field[0] not in gone]
    return Request(
        request.method,
        request.target,
        request.path,
        request.query,
        2,
        headers,
        request.authority,
        0,
        True,
        False,
        "",
    )


def check_trailers(fields: Headers, limits: Limits) -> None:
    """Raise Malformed for trailers that HTTP/1 refuses, too: fields that would have to be known
    before the body (RFC 9110 §6.5.1), too many, too large."""
    pseudo, trailers = _separate(fields)
    if pseudo:
        raise Malformed("pseudo-header field in trailers (RFC 9113 §8.1)")
    sizes = [len(name) + len(value) + 2 for name, value in trailers]
    if len(sizes) > limits.fields:
        raise Malformed("too many trailer fields")
    if any(size > limits.field_size for size in sizes) or sum(sizes) + 2 * len(sizes) > limits.head:
        raise Malformed("trailers are too large")
    for name, _ in trailers:
        if name in rules.FORBIDDEN_TRAILERS:
            raise Malformed(f"{name} is not allowed in trailers (RFC 9110 §6.5.1)")
