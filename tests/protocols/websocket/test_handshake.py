"""The opening handshake: who is let in, and what is answered (RFC 6455 §4.2)."""

import pytest

from nogilserve.errors import ProtocolError, ResponseError
from nogilserve.messages import Headers, Request
from nogilserve.protocols.http1 import Http1Connection
from nogilserve.protocols.websocket import Handshake, wants_websocket
from tests.protocols.websocket.peer import frame, handshake, http

COMMON = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


def read(connection: Http1Connection) -> Request:
    """The request of a connection."""
    request = connection.next_request()
    assert request is not None
    return request


def refused(*extra: str, **changed: str | None) -> ProtocolError:
    """The refusal of a handshake."""
    with pytest.raises(ProtocolError) as caught:
        handshake(*extra, **changed)
    return caught.value


class TestRequest:
    """What the client must have sent (§4.2.1)."""

    def test_answer_of_the_standard(self) -> None:
        """The example of RFC 6455 §1.3."""
        fields, _ = handshake().accept(None, [], deflate=False, max_size=1)
        assert fields == [("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")]

    @pytest.mark.parametrize(
        "changed",
        [
            {"Upgrade": "WebSocket"},
            {"Upgrade": "h2c, websocket"},
            {"Connection": "keep-alive, Upgrade"},
            {"Sec_WebSocket_Key": "+/+/+/+/+/+/+/+/+/+/+w=="},
        ],
    )
    def test_accepted(self, changed: dict[str, str]) -> None:
        """Case and company of the tokens do not matter."""
        handshake(**changed)

    @pytest.mark.parametrize(
        ("changed", "section"),
        [
            ({"Upgrade": "websockets"}, "§4.2.1"),
            ({"Upgrade": None}, "§4.2.1"),
            ({"Connection": None}, "§4.2.1"),
            ({"Connection": "keep-alive"}, "§4.2.1"),
            ({"Sec_WebSocket_Key": None}, "§4.2.1"),
            ({"Sec_WebSocket_Key": ""}, "§4.2.1"),
            ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25j"}, "§4.2.1"),  # 15 bytes
            ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZWU="}, "§4.2.1"),  # 17 bytes
            ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25j*Q=="}, "§4.2.1"),
            ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZ\xe9=="}, "§4.2.1"),
            ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ"}, "§4.2.1"),
            ({"Sec_WebSocket_Key": "dGhlIHNh bXBsZSBub25jZQ=="}, "§4.2.1"),
            ({"Sec_WebSocket_Version": None}, "§4.2.1"),
            ({"Sec_WebSocket_Protocol": "chat, caf\xe9"}, "§4.1"),
            ({"Sec_WebSocket_Protocol": "a b"}, "§4.1"),
            ({"Sec_WebSocket_Protocol": "a/b"}, "§4.1"),
            ({"Sec_WebSocket_Extensions": "x y"}, "§9.1"),
            ({"Sec_WebSocket_Extensions": "x; =1"}, "§9.1"),
            ({"Sec_WebSocket_Extensions": "x; a="}, "§9.1"),
            ({"Sec_WebSocket_Extensions": 'x; a="1'}, "§9.1"),
            ({"Sec_WebSocket_Extensions": 'x; a="1;2"'}, "§9.1"),
            ({"Sec_WebSocket_Extensions": "; a"}, "§9.1"),
            ({"Content_Length": "8"}, "§4.1"),
            ({"Transfer_Encoding": "chunked"}, "§4.1"),
        ],
    )
    def test_refused(self, changed: dict[str, str | None], section: str) -> None:
        """Anything missing or malformed is 400."""
        error = refused(**changed)
        assert (error.status, error.section) == (400, f"RFC 6455 {section}")

    @pytest.mark.parametrize(
        "line", ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]
    )
    def test_repeated(self, line: str) -> None:
        """Key and version are given once, even if twice the same."""
        assert refused(line).status == 400

    def test_method_and_version(self) -> None:
        """It is a GET of HTTP/1.1 (§4.1)."""
        assert refused(start="POST / HTTP/1.1").status == 400
        assert refused(start="HEAD / HTTP/1.1").status == 400
        assert refused(start="GET / HTTP/1.0").status == 400

    @pytest.mark.parametrize("version", ["8", "7", "0", "13, 8", "013", "x", "\xb9"])
    def test_other_version(self, version: str) -> None:
        """Another version is told which one is spoken (§4.4, RFC 9110 §15.5.22)."""
        connection = http(Sec_WebSocket_Version=version)
        with pytest.raises(ProtocolError) as caught:
            Handshake(read(connection))
        assert caught.value.status == 426
        answer = connection.error(caught.value, COMMON)
        assert answer.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
        for line in (
            b"Sec-WebSocket-Version: 13",
            b"Upgrade: websocket",
            b"Connection: upgrade",
            b"Connection: close",
        ):
            assert line in answer.split(b"\r\n")

    def test_missing_version_is_told_too(self) -> None:
        """Who gives no version learns it."""
        error = refused(Sec_WebSocket_Version=None)
        assert error.headers == (("Sec-WebSocket-Version", "13"),)

    def test_wanted(self) -> None:
        """A request that asks for the upgrade is recognised, also if it then fails."""
        assert wants_websocket(read(http()))
        assert wants_websocket(read(http(Sec_WebSocket_Key=None)))
        assert not wants_websocket(read(http(Upgrade="h2c")))
        assert not wants_websocket(read(http(Connection="close")))


class TestSubprotocols:
    """Sec-WebSocket-Protocol (§4.1, §4.2.2)."""

    def test_offered(self) -> None:
        """In order, over several lines, without empty elements."""
        made = handshake("Sec-WebSocket-Protocol: c,", Sec_WebSocket_Protocol="b ,, a")
        assert made.subprotocols == ("b", "a", "c")
        assert handshake().subprotocols == ()

    def test_chosen(self) -> None:
        """The one that the application chose is answered."""
        made = handshake(Sec_WebSocket_Protocol="b, a")
        fields, _ = made.accept("a", [], deflate=False, max_size=1)
        assert ("Sec-WebSocket-Protocol", "a") in fields

    @pytest.mark.parametrize("chosen", ["c", "A", "", "a\r\nX: y"])
    def test_not_offered(self, chosen: str) -> None:
        """One that was not offered is the application's mistake."""
        with pytest.raises(ResponseError, match="not offered"):
            handshake(Sec_WebSocket_Protocol="b, a").accept(chosen, [], deflate=False, max_size=1)


class TestFields:
    """What the application adds to the answer."""

    def test_added(self) -> None:
        """Its own fields come along, in order and repeated."""
        own = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Own", "caf\xe9")]
        fields, _ = handshake().accept(None, own, deflate=False, max_size=1)
        assert fields[1:] == own

    @pytest.mark.parametrize(
        "field",
        [
            ("Sec-WebSocket-Accept", "x"),
            ("sec-websocket-protocol", "x"),
            ("SEC-WEBSOCKET-EXTENSIONS", "x"),
            ("Connection", "close"),
            ("upgrade", "x"),
            ("Content-Length", "0"),
            ("Transfer-Encoding", "chunked"),
            ("X", "a\r\nY: z"),
            ("X", "a\x00"),
            ("X", "\u20ac"),
            ("X\n", "a"),
            ("", "a"),
            ("X Y", "a"),
        ],
    )
    def test_refused(self, field: tuple[str, str]) -> None:
        """Fields that are the server's, and those that would split the head, are refused."""
        with pytest.raises(ResponseError):
            handshake().accept(None, [field], deflate=False, max_size=1)

    def test_refused_types(self) -> None:
        """Bytes are not converted silently."""
        headers: Headers = [(b"X", b"y")]  # type: ignore[list-item]
        with pytest.raises(ResponseError):
            handshake().accept(None, headers, deflate=False, max_size=1)


def test_whole_upgrade() -> None:
    """From the bytes of the request, frames behind it, to the 101 and the first message."""
    connection = http()
    connection.receive_data(frame(1, b"early")[:7])
    made = Handshake(read(connection))
    fields, opened = made.accept(None, [("X-Own", "1")], deflate=False, max_size=100)
    answer = connection.switch("websocket", fields, COMMON)
    assert answer == (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Own: 1\r\n" + COMMON + b"\r\n"
    )
    opened.receive_data(connection.take_trailing())
    assert opened.next_message() is None
    opened.receive_data(frame(1, b"early")[7:])
    assert opened.next_message() == "early"
