"""The fast path: the ordinary request head in plain Python.

It recognises a strict subset of what the standard allows; for anything else it answers None
and the full path decides. It never raises because of what a peer sent. Whatever it accepts, the
full path accepts with the same result; the tests prove the two equal.

Written for free-threaded CPython: constants are literals (immortal), tables come in as
arguments, no regular expression, no call into another module.
"""

from collections.abc import Mapping

from nogilserve.messages import CHUNKED, HeaderSection, Request

__all__ = ["parse"]

# A literal, not bytes(range(...)): only literals are immortal.
_CONTROLS = (
    b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f"
    b"\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f"
)


# One function on purpose: a call for each field would cost as much as parsing it.
def parse(  # noqa: C901
    head: bytes | bytearray,
    names: Mapping[str, str],
    host: str,
    most_fields: int,
    section: HeaderSection | None = None,
) -> Request | None:
    """Parse a head, given without the empty line that ends it; with `section`, which was parsed
    before in a request of HTTP/1.1, only a request line of that version, without its CRLF.

    `names`: field names as spelled to lower case. `host`: a Host value that was found valid
    before, "" for none, so that a connection has it checked once. The caller has checked that
    the head is no longer than any limit on a line of it.
    """
    text = head.decode("latin-1")
    if not text.isascii():
        return None
    if section is None:
        lines = text.split("\r\n")
        count = len(lines) - 1
        # The CRLFs between the lines must be the only control characters, so that no line holds
        # a CR, LF, tab or NUL.
        if count > most_fields or len(head.translate(None, _CONTROLS)) != len(head) - count - count:
            return None
        text = lines[0]
        del lines[0]
    elif text.isprintable():
        lines = []
    else:
        return None
    words = text.split(" ")
    if len(words) != 3:
        return None
    method, target, version = words
    if version == "HTTP/1.1":
        minor = 1
    elif version == "HTTP/1.0":
        minor = 0
    else:
        return None
    if (
        method not in {"GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"}
        or target[:1] != "/"
        or "#" in target
    ):
        return None
    path, _, query = target.partition("?")
    if section is not None:
        if not minor:
            return None
        headers, authority = section.headers, section.authority
        body, keep_alive = section.body, section.keep_alive
        request = Request(
            method, target, path, query, 1, headers, authority, body, keep_alive, False, ""
        )
        request.section = section
        return request
    headers = []
    authority = ""
    body = 0
    framed = False
    keep_alive = minor == 1
    connection = False
    for line in lines:
        raw, colon, value = line.partition(":")
        if not colon:
            return None
        # All other white space was excluded above: strip() takes spaces only.
        value = value.strip()
        name = names.get(raw)
        if name is None:
            name = raw.lower()
            # "-" and "_" are the two marks that ordinary names have (RFC 9110 §5.6.2).
            if not raw.replace("-", "a").replace("_", "a").isalnum():
                return None
        if name in {"host", "content-length", "connection", "transfer-encoding", "expect"}:
            if name == "host":
                # An empty one is left to the full path: it is no reason to overlook a second.
                if authority or not value or (value != host and not _ordinary_host(value)):
                    return None
                authority = value
            elif name == "connection":
                if connection:
                    return None
                connection = True
                if value == "close":
                    keep_alive = False
                elif value in {"keep-alive", "Keep-Alive"}:
                    keep_alive = True
                else:
                    return None
            elif framed or name == "expect":
                return None
            elif name == "content-length":
                if not value.isdigit() or len(value) > 15:
                    return None
                body = int(value)
                framed = True
            elif value == "chunked" and minor:
                body = CHUNKED
                framed = True
            else:
                return None
        headers.append((name, value))
    if minor and not authority:
        return None
    return Request(
        method, target, path, query, minor, headers, authority, body, keep_alive, False, ""
    )


def _ordinary_host(value: str) -> bool:
    """Whether an ASCII `value` is letters, digits, "." and "-", with a port or without one."""
    name, colon, port = value.partition(":")
    if colon and not (port.isdigit() and (len(port) < 5 or (len(port) == 5 and port <= "65535"))):
        return False
    return name.replace(".", "0").replace("-", "0").isalnum()
