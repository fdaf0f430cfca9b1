"""What is fuzzed: each target takes any bytes, and raises AssertionError where a rule is broken.

Anything else that a target raises is a finding as well. The first byte chooses among variants, so
that one input file is enough for each.
"""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from nogilserve.errors import ProtocolError
from nogilserve.messages import Limits
from nogilserve.protocols.http1 import Http1Connection
from nogilserve.protocols.http2 import Http2Connection
from nogilserve.protocols.proxy import Origin, Preamble, Trust, read_origin
from nogilserve.protocols.websocket import Closed, Handshake, wants_websocket
from tests import corpus
from tests.corpus import proxies, websockets
from tests.protocols.http1.replay import Outcome, fields, replay
from tests.protocols.http1.test_agreement import check_agreement, decode_by_h11, up_to_its_end
from tests.protocols.http2.peer import Peer
from tests.protocols.websocket import peer
from tests.support import http2 as h2
from tests.support.http2 import Frame

__all__ = ["TARGETS", "seeds"]

LONGEST: Final = 4096
"""Bytes of an input beyond which nothing new comes."""
_TIGHT: Final = Limits(request_line=40, fields=4, field_size=40, head=120, body=40)
_GOAWAY: Final = 7
_MOST_STREAMS: Final = 100
_NO_CODE: Final = 1005
_POST: Final = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
_FIELDS: Final = (
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
)
_TRUST: Final = Trust(["127.0.0.1", "10.0.0.0/8", "::1"])


def _bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def http1(data: bytes) -> None:
    """Requests: cuts change nothing, fast and full path and h11 agree, a mistake is for good."""
    variant, data = data[:1], data[1:LONGEST]
    limits = _TIGHT if variant and variant[0] & 1 else Limits()
    if variant and variant[0] & 2:
        data = _POST + data
    if not data:
        return
    whole = replay([data], limits=limits)
    assert whole.summary() == replay(_bytewise(data), limits=limits).summary()
    half = len(data) // 2
    assert whole.summary() == replay([data[:half], data[half:]], limits=limits).summary()
    assert whole.status is None or 400 <= whole.status <= 505
    _check_requests(data, whole)


def _check_requests(data: bytes, outcome: Outcome) -> None:
    rest = data
    while (head := up_to_its_end(rest)) is not None:
        check_agreement(head)
        rest = rest[len(head) :]
    for received in outcome.received:
        request = received.request
        assert request.method.isascii()
        assert not set(request.target) & set("\r\n \0")
        for name, value in [*request.headers, *received.trailers]:
            assert name == name.lower()
            assert not set(name + value) & set("\r\n\0")
    if data.startswith(_POST) and outcome.received:
        first = outcome.received[0]
        judged = decode_by_h11(data[len(_POST) :])
        assert judged is not None, "h11 refuses this body"
        assert judged[:2] == (first.body, first.trailers)


def websocket(data: bytes) -> None:
    """Frames: cuts change nothing, no message is too long, a mistake is told by a Close frame."""
    variant, data = data[:1], data[1:LONGEST]
    offer = "permessage-deflate" if variant and variant[0] & 1 else ""
    size = 300
    got, sent = peer.replay(peer.opened(size, offer), [data] if data else [])
    again, sent_again = peer.replay(peer.opened(size, offer), _bytewise(data))
    # Of two mistakes in one compressed frame, the one that is seen first is named.
    assert _codes(got) == _codes(again)
    assert sent.split(b"\x88")[0] == sent_again.split(b"\x88")[0], "other pongs"
    for message in got:
        if isinstance(message, Closed):
            assert message is got[-1]
            assert 1000 <= message.code < 5000
            if message.code != _NO_CODE:
                assert b"\x88" in sent
                assert message.code.to_bytes(2) in sent
        else:
            assert len(peer_bytes(message)) <= size


def _codes(got: list[peer.Message]) -> list[str | bytes | int]:
    return [message.code if isinstance(message, Closed) else message for message in got]


def peer_bytes(message: str | bytes) -> bytes:
    """The content of a message as it is sent."""
    return message.encode() if isinstance(message, str) else message


def handshake(data: bytes) -> None:
    """Upgrades: accepted or refused; what is offered is made of tokens; any offer is survived."""
    connection = Http1Connection(Limits())
    connection.receive_data(data[:LONGEST] or b"\r\n")
    try:
        request = connection.next_request()
        if request is None or not wants_websocket(request):
            return
        made = Handshake(request)
    except ProtocolError:
        return
    assert all(name.isascii() and name.isprintable() for name in made.subprotocols)
    fields, _ = made.accept(None, [], deflate=True, max_size=1000)
    assert not any(set("\r\n\0") & set(value) for _, value in fields)


def proxy_protocol(data: bytes) -> None:
    """PROXY headers: cuts change nothing, and what is announced is an address."""
    variant, data = data[:1], data[1:LONGEST]
    required = bool(variant and variant[0] & 1)
    whole = _preamble([data] if data else [], required)
    assert whole == _preamble(_bytewise(data), required)


def _preamble(pieces: list[bytes], required: bool) -> tuple[object, ...]:
    preamble, rest = Preamble(required=required), b""
    done = False
    for piece in pieces:
        if done:
            rest += piece
            continue
        try:
            done = preamble.receive(piece)
        except ProtocolError as error:
            return (error.status, error.message)
    announced = preamble.announced
    if announced is not None and announced.client is not None:
        ip_address(announced.client[0])
        assert 0 <= int(announced.client[1]) < 65536
    return done, announced, preamble.rest + rest


def forwarded(data: bytes) -> None:
    """What proxies tell: an address, a known scheme, a host fit for a URL; or it is refused."""
    variant = data[0] if data else 0
    headers = []
    for number, line in enumerate(data[1:LONGEST].split(b"\n")):
        value = line.replace(b"\r", b"").replace(b"\0", b"").decode("latin-1").strip(" \t")
        headers.append((_FIELDS[(variant >> number % 3) % len(_FIELDS)], value))
    try:
        origin = read_origin(headers, _TRUST)
    except ProtocolError:
        return
    assert isinstance(origin, Origin)
    if origin.client is not None:
        assert not _TRUST.names(ip_address(origin.client[0]).compressed) or origin.told
        assert 0 <= int(origin.client[1]) < 65536
    assert origin.scheme in ("", "http", "https")
    assert origin.host.isascii()
    assert not set(origin.host) & set(' \t/?#@\\"<>')
    assert not origin.port or 0 < int(origin.port) < 65536


class Silent(Peer):
    """Answers nothing, not even what is refused: when it answers decides what later frames mean."""

    def answer(self, *_: object, **__: object) -> None:
        """Not."""


def http2(data: bytes) -> None:
    """Frames: nothing is raised, what is sent is well-formed, and cuts change no verdict."""
    variant, data = data[:1], data[1:LONGEST]
    hold = bool(variant and variant[0] & 1)
    greet = not (variant and variant[0] & 2)
    if not greet and not data.startswith(h2.PREFACE):
        for pieces in ([data], _bytewise(data)):  # answered in HTTP/1.1, if at all
            refusing = Http2Connection(Limits())
            for piece in pieces:
                assert not refusing.receive(piece, 0.0)
        return
    answering = Peer(hold=hold, greet=greet)
    assert len([code for code in _goaways(answering.send(data)) if code]) <= 1
    assert len(answering.protocol.streams) <= _MOST_STREAMS
    whole, bytewise = Silent(hold=True, greet=greet), Silent(hold=True, greet=greet)
    expected = _goaways(whole.send(data))
    assert expected == [
        code for piece in _bytewise(data) for code in _goaways(bytewise.send(piece))
    ]
    told = [(stream.id, stream.request) for stream in whole.requests]
    again = [(stream.id, stream.request) for stream in bytewise.requests]
    assert [number for number, _ in told] == [number for number, _ in again]
    for (_, one), (_, other) in zip(told, again, strict=True):
        assert one is not None
        assert other is not None
        assert fields(one) == fields(other)
        for name, value in one.headers:
            assert name == name.lower()
            assert not set(name + value) & set("\r\n\0")


def _goaways(frames: list[Frame]) -> list[int]:
    return [frame.code for frame in frames if frame.kind == _GOAWAY]


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "http1": http1,
    "http2": http2,
    "websocket": websocket,
    "handshake": handshake,
    "proxy_protocol": proxy_protocol,
    "forwarded": forwarded,
}


def seeds(name: str) -> list[bytes]:
    """Inputs to begin with: the corpus."""
    if name == "http1":
        found = [b"\0" + case.sent for case in corpus.load("http1")]
        chunked = [case.sent.partition(b"\r\n\r\n")[2] for case in corpus.load("http1")]
        return found + [b"\2" + body for body in chunked if body]
    if name == "http2":
        return _frames()
    if name == "websocket":
        return [bytes([case.deflate]) + case.sent for case in websockets.load_frames()]
    if name == "handshake":
        return [case.sent for case in websockets.load_handshakes()]
    if name == "proxy_protocol":
        return [b"\1" + proxies.sent(case) for case in proxies.load("proxy_protocol")]
    return [
        b"\0" + "\n".join(value for _, value in case["headers"]).encode("latin-1")
        for case in proxies.load("forwarded")
    ]


def _frames() -> list[bytes]:
    """Streams of frames to begin with."""
    get, post = h2.headers(1, h2.GET, 5), h2.headers(1, h2.POST, 4)
    body = h2.frame(0, 1, 1, b"hello")
    fragments = h2.frame(1, 1, 1, h2.block(h2.GET)[:4]) + h2.frame(9, 4, 1, h2.block(h2.GET)[4:])
    return [
        b"\0" + get,
        b"\1" + get + h2.headers(3, h2.GET, 5) + h2.window_update(0, 1000),
        b"\0" + post + body + h2.settings((4, 70000)) + h2.headers(3, h2.POST, 4),
        b"\1" + fragments + h2.frame(3, 0, 1, bytes(4)) + h2.frame(6, 0, 0, bytes(8)),
        b"\2" + h2.PREFACE + h2.settings() + get,
        b"\0" + post + h2.frame(0, 8, 1, b"\2hello") + h2.frame(7, 0, 0, bytes(8)),
    ]
