"""What the hot path looks up: spellings of field names, status lines.

A dictionary that two cores read costs each of them an atomic operation per look-up, because of
its reference count. So each core makes its own `Tables`. The keys and values are literals, which
free-threaded CPython makes immortal: they cost nothing to share.
"""

from typing import Final

from nogilserve.messages import Headers, HeaderSection, Request

__all__ = ["DATE", "FRAMING", "HOP_BY_HOP", "LENGTH", "PHRASES", "PLAIN", "SERVER", "Tables"]

# Kinds of a response field, by how it is treated.
PLAIN: Final = 0
LENGTH: Final = 1
DATE: Final = 2
SERVER: Final = 3
HOP_BY_HOP: Final = 4

_REQUEST_NAMES: Final = (
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "access-control-request-headers",
    "access-control-request-method",
    "authorization",
    "cache-control",
    "cdn-loop",
    "cf-connecting-ip",
    "cf-ipcountry",
    "cf-ray",
    "cf-visitor",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "dnt",
    "expect",
    "forwarded",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "origin",
    "pragma",
    "priority",
    "proxy-connection",
    "range",
    "referer",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "sec-gpc",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "x-amzn-trace-id",
    "x-api-key",
    "x-correlation-id",
    "x-csrf-token",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
    "x-scheme",
)

_ODD_SPELLINGS: Final = {
    "DNT": "dnt",
    "TE": "te",
    "CF-IPCountry": "cf-ipcountry",
    "CF-RAY": "cf-ray",
    "CDN-Loop": "cdn-loop",
    "Sec-CH-UA": "sec-ch-ua",
    "Sec-CH-UA-Mobile": "sec-ch-ua-mobile",
    "Sec-CH-UA-Platform": "sec-ch-ua-platform",
    "Sec-GPC": "sec-gpc",
    "Sec-WebSocket-Extensions": "sec-websocket-extensions",
    "Sec-WebSocket-Key": "sec-websocket-key",
    "Sec-WebSocket-Protocol": "sec-websocket-protocol",
    "Sec-WebSocket-Version": "sec-websocket-version",
    "X-CSRF-Token": "x-csrf-token",
    "X-CSRFToken": "x-csrftoken",
    "X-Real-IP": "x-real-ip",
    "X-Request-ID": "x-request-id",
    "X-API-Key": "x-api-key",
}

_RESPONSE_NAMES: Final = (
    "accept-ranges",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "allow",
    "alt-svc",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "cross-origin-opener-policy",
    "etag",
    "expires",
    "last-modified",
    "link",
    "location",
    "permissions-policy",
    "pragma",
    "referrer-policy",
    "retry-after",
    "server-timing",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "via",
    "www-authenticate",
    "x-content-type-options",
    "x-frame-options",
    "x-powered-by",
    "x-request-id",
    "x-xss-protection",
)

FRAMING: Final = {
    "content-length": LENGTH,
    "date": DATE,
    "server": SERVER,
    # RFC 9110 §7.6.1: about this connection only, so the server's to send and nobody else's.
    "connection": HOP_BY_HOP,
    "keep-alive": HOP_BY_HOP,
    "proxy-connection": HOP_BY_HOP,
    "te": HOP_BY_HOP,
    "trailers": HOP_BY_HOP,
    "transfer-encoding": HOP_BY_HOP,
    "upgrade": HOP_BY_HOP,
}
"""Response fields that are not merely passed on, in lower case, with their kind."""

PHRASES: Final = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No Content",
    206: "Partial Content",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    417: "Expectation Failed",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    426: "Upgrade Required",
    428: "Precondition Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}
"""Reason phrases (RFC 9110 §15) of the statuses that servers and applications send."""


def _spellings(names: tuple[str, ...]) -> dict[str, str]:
    """Every name as itself and in the usual capitals, to its lower-case form."""
    known = {}
    for name in names:
        known[name] = name
        known[name.title()] = name
    return known


_MOST_RECENT: Final = 64
_LONGEST_RECENT: Final = 2048
"""Bytes; together at most 128 KiB of heads per core."""


_LONGEST_ANSWER: Final = 512
"""Characters of a response head that is kept."""


_MOST_NAMES: Final = 512
"""Names of response fields that are known, …"""
_LONGEST_NAME: Final = 64
"""… and characters of one that an application has brought."""


class KnownHead:
    """An ordinary response head that an application has prepared before.

    Any thread that runs a request of the core. Only `last` is changed, and as a whole.
    """

    __slots__ = ("declared", "last", "text")

    def __init__(self, text: str, declared: int | None) -> None:
        self.text = text
        """Status line and field lines, without Content-Length."""
        self.declared = declared
        """Content-Length as the application gave it."""
        self.last: tuple[int, bytes] = (-1, b"")
        """The body's size, and the head for it as far as Content-Length, when it was sent last."""


class Tables:
    """The look-up tables of one core, about 20 KiB.

    Owner: the core that made it. A thread that finishes a request of that core (hand-off) reads
    `status_lines`, which is not written after it was made, and uses `kinds`, `heads`, `learn` and
    `remember_head`: single operations of a dictionary, and what it holds is right in any order.
    """

    __slots__ = (
        "_once",
        "heads",
        "hope",
        "kinds",
        "recent",
        "request_names",
        "sections",
        "status_lines",
    )

    def __init__(self) -> None:
        self.recent: dict[bytes, Request] = {}
        """Heads without a body that a connection has sent at least twice, as they came: clients
        that poll send the same bytes again and again. Only the core's driver comes here."""
        self.sections: dict[bytes, HeaderSection] = {}
        """The same of what stands behind the request line, for clients that ask for one thing after
        the other. With the first CRLF, without the empty line."""
        self.heads: dict[object, KnownHead] = {}
        """Status and fields of responses, when they came twice in a row → what was made of them:
        many applications say the same about each of their answers."""
        self.hope = 64
        """How often `heads` may fail before it is no longer asked: looking up costs as much as it
        saves. At most 64; more hits than misses keep it up. A hint, threads may miscount."""
        self._once: object = None
        """Status and fields of the response before."""
        self.request_names = _spellings(_REQUEST_NAMES) | _ODD_SPELLINGS
        """Field name as peers spell it → lower case."""
        self.kinds: dict[str, int] = dict.fromkeys(_spellings(_RESPONSE_NAMES), PLAIN)
        """Field name as applications spell it → kind. Any other name is looked at closely, once."""
        for name, kind in FRAMING.items():
            self.kinds[name] = self.kinds[name.title()] = kind
        self.kinds["ETag"] = self.kinds["WWW-Authenticate"] = PLAIN
        self.status_lines = {
            f"{code} {phrase}": f"HTTP/1.1 {code} {phrase}\r\n"
            for code, phrase in PHRASES.items()
            if code not in {204, 304}
        }
        """Status as applications give it → status line with its CRLF, for those with a body."""

    def remember(self, head: bytes, request: Request) -> None:
        """Keep what `head` was parsed to; a Request is not changed, so many may share it."""
        if len(head) <= _LONGEST_RECENT:
            if len(self.recent) >= _MOST_RECENT:
                self.recent.clear()
            request.kept = True
            self.recent[head] = request

    def remember_section(self, data: bytes, request: Request) -> None:
        """Keep what `data`, which stood behind the request line of HTTP/1.1, was parsed to."""
        if len(data) <= _LONGEST_RECENT:
            if len(self.sections) >= _MOST_RECENT:
                self.sections.clear()
            request.section = self.sections[data] = HeaderSection(request)

    def learn(self, headers: Headers) -> None:
        """Know from now on the names of response fields that were found right."""
        kinds = self.kinds
        for name, _ in headers:
            if (
                name not in kinds
                and type(name) is str
                and len(name) <= _LONGEST_NAME
                and len(kinds) < _MOST_NAMES
                and name.lower() not in FRAMING
            ):
                kinds[name] = PLAIN

    def try_again(self) -> None:
        """Once a second: the application may have changed its ways."""
        if self.hope < 8:
            self.hope = 8

    def remember_head(
        self, key: tuple[object, ...], text: str, declared: int | None
    ) -> KnownHead | None:
        """Keep an ordinary response head, if it is the same as that of the response before."""
        if key != self._once:
            self._once = key
            return None
        if len(text) > _LONGEST_ANSWER:
            return None
        if len(self.heads) >= _MOST_RECENT:
            self.heads.clear()
        known = self.heads[key] = KnownHead(text, declared)
        return known
