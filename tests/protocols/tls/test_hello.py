"""What is read of a client's first message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.protocols.tls import HELLO_MOST, Hello, read_hello
from tests.support.certificates import client_hello


def in_records(message: bytes, size: int) -> bytes:
    """A handshake message cut into records of that size (RFC 8446 §5.1)."""
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2) + piece for piece in pieces)


@pytest.mark.parametrize(
    ("name", "protocols"),
    [
        ("example.com", ("h2", "http/1.1")),
        ("Shop.Example.COM", ()),
        (None, ("acme-tls/1",)),
        ("127.0.0.1", ()),
    ],
)
def test_name_and_protocols(name: str | None, protocols: tuple[str, ...]) -> None:
    """They are found in what a real client sends; an address is no server name (RFC 6066 §3)."""
    expected = "" if name is None or name[0].isdigit() else name.lower()
    assert read_hello(client_hello(name, protocols)) == Hello(expected, protocols)


def test_incomplete() -> None:
    """As long as something is missing there is no answer; what follows does not matter."""
    data = client_hello("example.com", ("h2",))
    assert [read_hello(data[:count]) for count in range(len(data))] == [None] * len(data)
    assert read_hello(data + b"anything") == Hello("example.com", ("h2",))


@pytest.mark.parametrize("size", [1, 4, 5, 100])
def test_several_records(size: int) -> None:
    """The message may be cut anywhere into records."""
    message = client_hello("example.com")[5:]
    data = in_records(message[:20], size) + in_records(message[20:], 100)
    assert read_hello(data) == Hello("example.com")
    assert read_hello(data[:-1]) is None


def test_more_records_than_anybody_sends() -> None:
    """They are not read anew for each byte that comes: OpenSSL is given them."""
    assert read_hello(b"\x16\x03\x01\x00\x00") == Hello()
    message = b"\x01\x00\xff\xff" + bytes(200)
    assert read_hello(in_records(message[:128], 1)) == Hello()
    assert read_hello(in_records(message[:127], 1)) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
        b"\x15\x03\x01\x00\x02\x02\x28",
    ],
)
def test_something_else(data: bytes) -> None:
    """What is no ClientHello is nothing that is asked for: OpenSSL will say what is wrong."""
    assert read_hello(data) == Hello()


def test_bound() -> None:
    """Nobody can have us wait for more than a message may be long."""
    head = b"\x16\x03\x01\xff\xff\x01\xff\xff\xff"
    assert read_hello(head + bytes(HELLO_MOST - 100)) is None
    assert read_hello(head + bytes(HELLO_MOST)) == Hello()


@given(st.data())
def test_any_bytes(data: st.DataObject) -> None:
    """Whatever is changed in a message, reading it ends with an answer or the wish for more."""
    message = bytearray(HELLO)
    for _ in range(data.draw(st.integers(1, 8))):
        message[data.draw(st.integers(5, len(message) - 1))] = data.draw(st.integers(0, 255))
    found = read_hello(bytes(message))
    assert found is None or isinstance(found, Hello)


HELLO = client_hello("example.com", ("h2", "http/1.1"))
