"""Whose connection it is: heads and ClientHellos, whole and cut."""

import ssl

import pytest

from nogilserve.errors import ProtocolError
from nogilserve.messages import Limits
from nogilserve.sites.tenants.peek import (
    MORE,
    UNRECOGNIZED_NAME,
    Preamble,
    alert,
    refusal,
    verdict,
)

HEAD = b"GET /one?x HTTP/1.1\r\nHost: Shop.example.com:81\r\nCookie: a=b\r\n\r\n"


def hello(name: str | None) -> bytes:
    """What a real client begins with."""
    context = ssl.create_default_context()
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def test_a_plain_head() -> None:
    """Host and path, as the tenant will read them; what follows does not matter."""
    found = verdict(HEAD + b"GET / HTTP/1.1\r\n", Limits())
    assert (found.kind, found.authority, found.path) == ("plain", "Shop.example.com:81", "/one")


def test_an_absolute_target_wins_over_host() -> None:
    """As in the tenant (RFC 9112 §3.2.2)."""
    head = b"GET http://blog.example.com/x HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"
    assert verdict(head, Limits()).authority == "blog.example.com"


def test_every_cut_of_a_head_asks_for_more() -> None:
    """Nothing is decided before the head is complete."""
    for size in range(len(HEAD)):
        assert verdict(HEAD[:size], Limits()) is MORE


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414"),
        (b"\x80\x01nonsense\r\n\r\n", b"400"),
    ],
)
def test_bad_heads_are_answered(head: bytes, status: bytes) -> None:
    """By the parser that the tenant would have refused them with."""
    found = verdict(head, Limits())
    assert found.kind == "bad"
    assert found.answer.split(b" ")[1] == status
    assert b"\r\nConnection: close\r\n" in found.answer


def test_a_client_hello() -> None:
    """The name in it, from its last byte on; also in several records."""
    data = hello("shop.example.com")
    assert verdict(data, Limits()).kind == "tls"
    assert verdict(data, Limits()).authority == "shop.example.com"
    assert verdict(hello(None), Limits()).authority == ""
    for size in range(len(data)):
        assert verdict(data[:size], Limits()) is MORE


def test_a_proxy_header_in_front() -> None:
    """It is read over, and left for the tenant."""
    line = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
    for size in range(1, len(line + HEAD)):
        found = verdict((line + HEAD)[:size], Limits(), Preamble(required=True))
        assert found is MORE
    found = verdict(line + HEAD, Limits(), Preamble(required=True))
    assert (found.kind, found.authority) == ("plain", "Shop.example.com:81")
    assert verdict(HEAD, Limits(), Preamble(required=True)).kind == "bad"


def test_refusals() -> None:
    """A complete answer, with the fields it must have; an alert where TLS is spoken."""
    exc = ProtocolError(503, "later", headers=(("Retry-After", "5"),))
    answer = refusal(exc)
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n")
    assert answer.endswith(b"503 Service Unavailable: later\n")
    assert alert(UNRECOGNIZED_NAME) == b"\x15\x03\x03\x00\x02\x02\x70"
