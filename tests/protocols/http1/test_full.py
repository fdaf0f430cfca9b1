"""The full path as a function: what connections never ask of it."""

import pytest

from nogilserve.errors import ProtocolError
from nogilserve.messages import Limits
from nogilserve.protocols.http1 import full


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_incomplete(head: bytes) -> None:
    """A head without its empty line is refused."""
    with pytest.raises(ProtocolError) as caught:
        full.parse(head, Limits())
    assert caught.value.status == 400


def test_more_than_a_head() -> None:
    """So is a head with something behind it."""
    with pytest.raises(ProtocolError, match="incomplete"):
        full.parse(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nX", Limits())


def test_trailers() -> None:
    """Trailers are parsed by h11: names in lower case, values without white space around."""
    assert full.parse_trailers(b"X-A:  b \r\nx-a: c\r\n\r\n") == [("x-a", "b"), ("x-a", "c")]
    assert full.parse_trailers(b"\r\n") == []


@pytest.mark.parametrize("section", [b"X-A: b\r\n", b"nonsense\r\n\r\n"])
def test_bad_trailers(section: bytes) -> None:
    """What is no complete trailer section is refused."""
    with pytest.raises(ProtocolError, match="malformed trailers"):
        full.parse_trailers(section)
