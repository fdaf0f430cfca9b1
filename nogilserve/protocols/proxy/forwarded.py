"""X-Forwarded-* and Forwarded (RFC 7239): whom a request came from, as trusted proxies tell.

Every proxy appends the address it was asked from. So the rightmost entry comes from the peer; the
one before it from the address that this entry names, and so on. Read from the right, the first
address that is not a proxy of ours is the client, and what stands left of it was written by
strangers: it is not even looked at.

Fields in force are X-Forwarded-For and X-Forwarded-Proto, and Forwarded only in a request
without those: a proxy that sets the one family passes the other on as the client wrote it.
X-Forwarded-Host and -Port count only where they are asked for, because many proxies that set the
first two pass these on as well, and whoever chooses the host chooses where links in mails lead.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from typing import Final, NamedTuple

from nogilserve.errors import ProtocolError
from nogilserve.messages import Headers, Request
from nogilserve.protocols.http1 import rules
from nogilserve.protocols.proxy.trust import Trust

__all__ = ["FIELDS", "Judged", "Origin", "OriginReader", "read_origin"]

FIELDS: Final = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-port",
)
"""Every field that can be believed."""

_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_NO_PORT: Final = "0"
"""Of a client whose port the proxy does not tell."""

_MOST_ENTRIES: Final = 128
"""Entries of one list that are looked at. A head of 64 KiB has room for more."""

_PORT: Final = re.compile(r"[0-9]{1,5}")
_V4: Final = re.compile(
    r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    r"(?:\.(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}"
)
_OBFUSCATED: Final = re.compile(r"_[A-Za-z0-9._-]+")
# RFC 7239 §4: pairs of token "=" value; no space round "=", some round ";" is put up with.
_PAIR: Final = re.compile(
    r"""[ \t]*([-!#$%&'*+.^_`|~0-9A-Za-z]+)=
    (?:([-!#$%&'*+.^_`|~0-9A-Za-z]+)|"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\xff])*)")
    [ \t]*""",
    re.VERBOSE,
)
_ESCAPED: Final = re.compile(r"\\(.)")

_CACHED: Final = 256
_CACHED_SIZE: Final = 512


class Origin(NamedTuple):
    """What trusted proxies tell of a request."""

    told: bool = False
    """Whether they name a client at all; False: it is the peer."""
    client: tuple[str, str] | None = None
    """Address and port as text ("0" if unknown). None: they keep it secret (RFC 7239 §6)."""
    scheme: str = ""
    """ "http" or "https"; "": not told."""
    host: str = ""
    """Name or address with or without a port; "": not told."""
    port: str = ""
    """Of X-Forwarded-Port; "": not told."""


_NOTHING: Final = Origin()


class Judged(NamedTuple):
    """A request as the client sent it to the outermost trusted proxy."""

    request: Request
    client: tuple[str, str] | None
    scheme: str
    server: tuple[str, str]


class OriginReader:
    """Judges requests that come from trusted peers. Owner: one core; it keeps what it has read."""

    __slots__ = ("_known", "_wanted", "trust")

    def __init__(self, trust: Trust, fields: Iterable[str] = FIELDS[:3]) -> None:
        self.trust = trust
        self._wanted = frozenset(fields)
        self._known: dict[tuple[tuple[str, str], ...], Origin] = {}

    def trusts(self, peer: tuple[str, str] | None) -> bool:
        """Whether requests of this peer are to be judged; None: on a unix socket."""
        return self.trust.peer(peer[0] if peer else None)

    def judge(
        self,
        request: Request,
        peer: tuple[str, str] | None,
        scheme: str,
        server: tuple[str, str],
    ) -> Judged:
        """What is known of `request`; the others are those of the connection.

        The caller has asked `trust.peer`. Without news the same objects come back. Raises
        ProtocolError where a trusted proxy tells what it cannot mean.
        """
        wanted = self._wanted
        told = [field for field in request.headers if field[0] in wanted]
        if not told:
            return Judged(request, peer, scheme, server)
        key = tuple(told)
        origin = self._known.get(key)
        if origin is None:
            origin = read_origin(told, self.trust)
            if len(self._known) >= _CACHED:
                self._known.clear()
            if sum(len(value) for _, value in told) <= _CACHED_SIZE:
                self._known[key] = origin
        client = origin.client if origin.told else peer
        scheme = origin.scheme or scheme
        if origin.host or origin.port:
            request, server = _moved(request, server, scheme, origin)
        return Judged(request, client, scheme, server)


def read_origin(headers: Headers, trust: Trust) -> Origin:
    """What a trusted peer tells in those of `FIELDS` that are among `headers`.

    Names are lower case. Raises ProtocolError.
    """
    lists: dict[str, list[str]] = {}
    for name, value in headers:
        if name in FIELDS:
            # Repeated fields are one list (RFC 9110 §5.3).
            lists.setdefault(name, []).append(value)
    if "forwarded" in lists and not {"x-forwarded-for", "x-forwarded-proto"} & lists.keys():
        origin = _forwarded(",".join(lists["forwarded"]), trust)
    else:
        origin = _x_forwarded(lists, trust)
    if "x-forwarded-port" in lists:
        port = _nearest(_entries(lists["x-forwarded-port"]), 1)
        if port and not (_PORT.fullmatch(port) and 0 < int(port) < 65536):
            raise _wrong("X-Forwarded-Port", port)
        origin = origin._replace(port=port)
    if "x-forwarded-host" in lists:
        host = _nearest(_entries(lists["x-forwarded-host"]), 1)
        origin = origin._replace(host=_host("X-Forwarded-Host", host) if host else "")
    return origin


# ---- X-Forwarded-For and -Proto: no standard, but everybody's practice -----------------------


def _x_forwarded(lists: dict[str, list[str]], trust: Trust) -> Origin:
    entries = _entries(lists.get("x-forwarded-for", []))
    client, hops = _walk("X-Forwarded-For", entries, trust)
    scheme = _nearest(_entries(lists.get("x-forwarded-proto", [])), hops)
    return Origin(bool(entries), client, _scheme("X-Forwarded-Proto", scheme))


def _entries(values: Sequence[str]) -> list[str]:
    """The last entries of a list that is spread over fields; empty ones do not count."""
    entries: list[str] = []
    for value in reversed(values):
        room = _MOST_ENTRIES - len(entries)
        pieces = value.rsplit(",", room)[-room:]
        entries[:0] = [entry for piece in pieces if (entry := piece.strip(" \t"))]
        if len(entries) >= _MOST_ENTRIES:
            break
    return entries


def _walk(field: str, entries: Sequence[str], trust: Trust) -> tuple[tuple[str, str] | None, int]:
    """The client that the entries name, and how many of them trusted proxies have written."""
    client: tuple[str, str] | None = None
    hops = 0
    for entry in reversed(entries):
        hops += 1
        if entry == "unix:":  # nginx, asked over a unix socket
            client = None
            if trust.unix:
                continue
            break
        client = _node(field, entry)
        if client is None or not trust.names(client[0]):
            break
    return client, max(hops, 1)


def _nearest(entries: Sequence[str], hops: int) -> str:
    """The entry written by the outermost of `hops` proxies, "" where there is none.

    A list may be shorter: proxies append addresses, but some replace the rest.
    """
    return entries[-min(hops, len(entries))] if entries else ""


def _scheme(field: str, value: str) -> str:
    if not value:
        return ""
    scheme = _SCHEMES.get(value.lower())
    if scheme is None:
        raise _wrong(field, value)
    return scheme


def _host(field: str, value: str) -> str:
    try:
        rules.host(value)
    except ProtocolError:
        raise _wrong(field, value) from None
    return value


def _node(field: str, text: str) -> tuple[str, str] | None:
    """A node (RFC 7239 §6), None for "unknown" and the like.

    Besides the standard's spellings those of proxies in the field: a bare IPv6 address.
    """
    if _V4.fullmatch(text):
        return text, _NO_PORT  # nearly always
    if text.lower() == "unknown" or _OBFUSCATED.fullmatch(text):
        return None
    name, colon, port = text.rpartition(":")
    if not colon or (":" in name and not name.endswith("]")):
        name, port = text, ""  # no port, or a bare IPv6 address
    elif not port:
        raise _wrong(field, text)
    try:
        if ":" not in name:
            address = str(IPv4Address(name))
        else:
            bracketed = name.startswith("[") and name.endswith("]")
            address = _ipv6(name[1:-1] if bracketed else name)
    except ValueError:
        if colon and (name.lower() == "unknown" or _OBFUSCATED.fullmatch(name)):
            _node_port(field, text, port)
            return None
        raise _wrong(field, text) from None
    return address, _node_port(field, text, port)


def _ipv6(text: str) -> str:
    if "%" in text:
        raise ValueError  # a zone means nothing outside its machine, and may hold any text
    parsed = IPv6Address(text)
    return str(parsed.ipv4_mapped or parsed)


def _node_port(field: str, text: str, port: str) -> str:
    if not port or _OBFUSCATED.fullmatch(port):
        return _NO_PORT
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise _wrong(field, text)
    return str(int(port))


# ---- Forwarded -------------------------------------------------------------------------------


def _forwarded(value: str, trust: Trust) -> Origin:
    """The list of RFC 7239 §4, parsed from its right end only as far as proxies are trusted."""
    origin = _NOTHING
    for text in islice(_elements(value), _MOST_ENTRIES):
        element = _element(text)
        told = "for" in element
        origin = Origin(
            told or origin.told,
            _node("Forwarded", element["for"]) if told else origin.client,
            _scheme("Forwarded", element.get("proto", "")) or origin.scheme,
            _host("Forwarded", element["host"]) if "host" in element else origin.host,
        )
        if not told or origin.client is None or not trust.names(origin.client[0]):
            break
    return origin


def _elements(value: str) -> Iterator[str]:
    """Split at the commas outside quoted strings; from the right, without empty elements.

    What a stranger wrote further left may have a quote that nobody closes. It must not change how
    the elements of our proxies are read, so quotes are paired from the right, too: an element
    of a proxy is well-formed, and a quoted string in it begins where it ends.
    """
    quoted = False
    end = len(value)
    for index in range(len(value) - 1, -1, -1):
        char = value[index]
        if char == '"' and not _is_escaped(value, index):
            quoted = not quoted
        elif char == "," and not quoted:
            if text := value[index + 1 : end].strip(" \t"):
                yield text
            end = index
    if text := value[:end].strip(" \t"):
        yield text


def _is_escaped(value: str, index: int) -> bool:
    """Whether an odd number of backslashes stands before `index`."""
    start = index
    while start and value[start - 1] == "\\":
        start -= 1
    return (index - start) % 2 == 1


def _element(text: str) -> dict[str, str]:
    """The pairs of one element, names in lower case. Raises ProtocolError."""
    pairs: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PAIR.match(text, at)
        # A parameter must not occur twice in an element (§4).
        if match is None or match[1].lower() in pairs:
            raise _wrong("Forwarded", text)
        token, quoted = match[2], match[3]
        pairs[match[1].lower()] = token if quoted is None else _ESCAPED.sub(r"\1", quoted)
        at = match.end()
        if at < len(text) and text[at] != ";":
            raise _wrong("Forwarded", text)
        at += 1
    return pairs


# ---- the request as the client sent it -------------------------------------------------------


def _moved(
    request: Request, server: tuple[str, str], scheme: str, origin: Origin
) -> tuple[Request, tuple[str, str]]:
    """The request for the host and port that the proxy was asked for, and that as the server."""
    host = origin.host or request.authority
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = host, ""
    default = _DEFAULT_PORTS[scheme]
    port = origin.port or port or default
    if origin.port:
        host = name if port == default else f"{name}:{port}"
    if not name:  # HTTP/1.0 without Host
        return request, (server[0], port)
    headers = [field for field in request.headers if field[0] != "host"]
    moved = Request(
        request.method,
        request.target,
        request.path,
        request.query,
        request.minor,
        [("host", host), *headers],
        host,
        request.body,
        request.keep_alive,
        request.expect_continue,
        request.upgrade,
    )
    return moved, (name, port)


def _wrong(field: str, value: str) -> ProtocolError:
    shown = value if len(value) <= 80 else f"{value[:80]}..."
    printable = "".join(char if " " <= char <= "~" else "?" for char in shown)
    section = "RFC 7239 §4" if field == "Forwarded" else ""
    return ProtocolError(400, f"malformed {field} from a proxy: {printable}", section)
