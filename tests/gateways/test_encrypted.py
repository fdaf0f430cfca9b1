"""What applications are told of TLS."""

from typing import Any

import pytest

from nogilserve.gateways.encrypted import distinguished_name, secured, tls_extension
from nogilserve.gateways.wsgi import PrefixedWsgiGateway, WsgiGateway
from nogilserve.messages import TlsFacts

CLIENT: dict[str, Any] = {
    "subject": ((("countryName", "DE"),), (("commonName", "Zoë"), ("userId", "z"))),
    "issuer": ((("commonName", "Authority"),),),
    "serialNumber": "0A",
    "version": 3,
    "notBefore": "Nov 22 00:00:00 2026 GMT",
    "notAfter": "Nov 23 00:00:00 2026 GMT",
}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ((), ""),
        ((("commonName", "a"),), "CN=a"),
        (((("commonName", "a"),), (("organizationName", "b"),)), "O=b,CN=a"),
        (((("commonName", "a"), ("userId", "b")),), "CN=a+UID=b"),
        (((("commonName", 'a,b+c"d\\e<f>g;h'),),), 'CN=a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h'),
        (((("commonName", " #a "),),), "CN=\\ #a\\ "),
        (((("commonName", "#a"),),), "CN=\\#a"),
        (((("emailAddress", "a@b.c"),),), "emailAddress=a@b.c"),
    ],
)
def test_names(name: Any, text: str) -> None:
    """The form of RFC 4514: the last part first, and everything special escaped (§2.4)."""
    if name and isinstance(name[0][0], str):
        name = (name,)
    assert distinguished_name(name) == text


def test_extension() -> None:
    """Numbers, not names; what applications may change is their own."""
    facts = TlsFacts("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256", 0xC02F, "PEM", CLIENT, ("A", "B"))
    first = tls_extension(facts)
    assert first == {
        "server_cert": "PEM",
        "client_cert_chain": ["A", "B"],
        "client_cert_name": "CN=Zoë+UID=z,C=DE",
        "client_cert_error": None,
        "tls_version": 0x0303,
        "cipher_suite": 0xC02F,
    }
    first["client_cert_chain"].clear()
    assert tls_extension(facts)["client_cert_chain"] == ["A", "B"]


def test_nothing_known() -> None:
    """What is not known is None, as the extension wants it."""
    made = tls_extension(TlsFacts("TLSv1.4", "NEW"))
    assert (made["tls_version"], made["cipher_suite"], made["server_cert"]) == (None, None, None)
    assert made["client_cert_name"] is None


def test_kinds_of_gateways() -> None:
    """Each class has one twin, made once."""
    assert secured(WsgiGateway) is secured(WsgiGateway)
    assert issubclass(secured(PrefixedWsgiGateway), PrefixedWsgiGateway)
