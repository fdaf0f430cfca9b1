"""The full path: any request head, on h11 and our stricter rules.

The rules come first, because they say precisely what is wrong; h11 is the last judge, and what
it read is what the application gets.
"""

from typing import TYPE_CHECKING

from nogilserve.errors import ProtocolError
from nogilserve.messages import Headers, Limits, Request
from nogilserve.protocols.http1 import rules
from nogilserve.protocols.http1.reader import HeadReader

if TYPE_CHECKING:
    import h11

__all__ = ["build", "parse", "parse_trailers"]

_EMPTY_CHUNKED_REQUEST = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"


def parse(head: bytes, limits: Limits) -> Request:
    """Parse a complete head with the empty line that ends it. Raises ProtocolError."""
    reader = HeadReader(limits)
    if reader.advance(head, 0) != len(head):
        raise ProtocolError(400, "incomplete or overlong request head", "RFC 9112 §2.1")
    return build(reader, head)


def build(reader: HeadReader, head: bytes) -> Request:
    """Make the Request of a head whose lines `reader` has read. Raises ProtocolError."""
    minor = reader.minor
    target = reader.target
    if target is None:
        raise ProtocolError(400, "request line missing", "RFC 9112 §3")
    host = rules.the_host(reader.fields, minor)
    body = rules.body_framing(reader.fields, minor)
    expect_continue = rules.wants_continue(reader.fields, minor)
    keep_alive, upgradable = rules.persistent(reader.fields, minor)
    judged = _judge(head)
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in judged.headers]
    if target.authority:
        host = target.authority
        headers = _with_host(headers, host)
    upgrade = ", ".join(value for name, value in headers if name == "upgrade") if upgradable else ""
    return Request(
        judged.method.decode("latin-1"),
        judged.target.decode("latin-1"),
        target.path,
        target.query,
        minor,
        headers,
        host,
        body,
        keep_alive,
        # Without content there is nothing to wait for (RFC 9110 §10.1.1).
        expect_continue and body != 0,
        upgrade,
    )


def _judge(head: bytes) -> "h11.Request":
    import h11  # for whoever meets such a head: few servers do

    # The reader has bounded the head; h11's own bound is for heads that are not complete.
    judge = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + 1)
    judge.receive_data(head)
    try:
        event = judge.next_event()
    except h11.RemoteProtocolError as error:
        raise ProtocolError(400, f"malformed request: {error}", "RFC 9112 §2.2") from None
    if not isinstance(event, h11.Request):
        raise ProtocolError(400, "malformed request", "RFC 9112 §2.2")
    return event


def _with_host(headers: Headers, host: str) -> Headers:
    """The authority of an absolute-form target replaces Host (RFC 9112 §3.2.2)."""
    if any(name == "host" for name, _ in headers):
        return [("host", host) if name == "host" else (name, value) for name, value in headers]
    return [("host", host), *headers]


def parse_trailers(section: bytes) -> Headers:
    """Parse a checked trailer section with the empty line that ends it (RFC 9112 §7.1.2)."""
    import h11

    judge = h11.Connection(h11.SERVER, max_incomplete_event_size=len(section) + 1024)
    judge.receive_data(_EMPTY_CHUNKED_REQUEST + section)
    try:
        judge.next_event()
        event = judge.next_event()
    except h11.RemoteProtocolError as error:
        raise ProtocolError(400, f"malformed trailers: {error}", "RFC 9112 §7.1.2") from None
    if not isinstance(event, h11.EndOfMessage):
        raise ProtocolError(400, "malformed trailers", "RFC 9112 §7.1.2")
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
