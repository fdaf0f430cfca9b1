"""X-Forwarded-* and Forwarded: the corpus, and properties that no input may break."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nogilserve.errors import ProtocolError
from nogilserve.messages import Headers, Request
from nogilserve.protocols.proxy import FIELDS, Origin, OriginReader, Trust, read_origin
from tests.corpus.proxies import load

CASES = load("forwarded")
HERE = Trust(["127.0.0.1"])
PEER = ("127.0.0.1", "40000")
SERVER = ("127.0.0.1", "8000")


def asked(headers: Headers, authority: str = "app.internal") -> Request:
    """A request as the parser makes it."""
    fields = [("host", authority)] if authority else []
    return Request(
        *("GET", "/a?b", "/a", "b", 1, [*fields, *headers], authority, 0, True, False, "")
    )


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_corpus(case: dict[str, Any]) -> None:
    """Each case means what the file says, or is refused as it says."""
    headers = [(name, value) for name, value in case["headers"]]
    trust = Trust(case.get("trust", ["127.0.0.1"]))
    if "status" in case:
        with pytest.raises(ProtocolError) as caught:
            read_origin(headers, trust)
        assert caught.value.status == case["status"]
        return
    client = tuple(case["client"]) if "client" in case else None
    assert read_origin(headers, trust) == Origin(
        case.get("told", client is not None),
        client,
        case.get("scheme", ""),
        case.get("host", ""),
        case.get("port", ""),
    )


ADDRESSES = st.ip_addresses().filter(lambda address: address != ip_address("127.0.0.1"))
JUNK = st.text(st.characters(max_codepoint=0xFF, exclude_characters="\r\n\0"), max_size=40)


@given(JUNK, ADDRESSES)
@example("127.0.0.1,", ip_address("203.0.113.9"))
def test_nothing_left_of_the_client_counts(junk: str, address: Any) -> None:
    """Whatever a client writes, the address that the proxy appended is the client."""
    mapped = getattr(address, "ipv4_mapped", None)
    expected = str(mapped or address)
    if getattr(address, "scope_id", None) or expected == "127.0.0.1":
        return
    told = read_origin([("x-forwarded-for", f"{junk}, {address}")], HERE)
    assert told.client == (expected, "0")
    told = read_origin([("x-forwarded-for", junk), ("x-forwarded-for", str(address))], HERE)
    assert told.client == (expected, "0")
    node = f'"[{address}]:80"' if ":" in str(address) else str(address)
    told = read_origin([("forwarded", f"{junk}, for={node};proto=https")], HERE)
    assert told.client is not None
    assert (told.client[0], told.scheme) == (expected, "https")


@given(
    st.lists(
        st.tuples(st.sampled_from(FIELDS), JUNK | st.from_regex(r"[a-z0-9.:,;=\" \\\[\]_-]{0,40}")),
        max_size=5,
    )
)
def test_any_value_is_an_origin_or_refused(headers: list[tuple[str, str]]) -> None:
    """No value of a field makes reading fail in another way, and what comes out is well-formed."""
    try:
        told = read_origin([(name, value.rstrip("\n")) for name, value in headers], HERE)
    except ProtocolError as refusal:
        seen = (refusal.status, refusal.message.isprintable())
        assert seen == (400, True)
        return
    if told.client is not None:
        assert str(ip_address(told.client[0])) == told.client[0]
        assert 0 <= int(told.client[1]) < 65536
    assert told.scheme in ("", "http", "https")
    assert told.port == "" or 0 < int(told.port) < 65536
    assert not set(told.host) & set(" /?#@\\,")


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "::1", "10.255.0.1", None])
def test_trusted_peers(address: str | None) -> None:
    """Addresses, networks and unix sockets are trusted peers; so is IPv4 spelled as IPv6."""
    assert Trust(["127.0.0.1", "::1", "10.0.0.0/8", "unix"]).peer(address)
    assert Trust(["*"]).peer(address)


@pytest.mark.parametrize("address", ["127.0.0.2", "::2", "11.0.0.1", "", "unix", "*", None])
def test_other_peers_are_not(address: str | None) -> None:
    """Everything else is not, nor is an address that is none."""
    assert not Trust(["127.0.0.1", "::1", "10.0.0.0/8"]).peer(address)
    assert not Trust([]).peer(address)


@pytest.mark.parametrize("network", ["localhost", "10.0.0.1/8", ""])
def test_trust_wants_networks(network: str) -> None:
    """What is no network is refused where the set is made."""
    with pytest.raises(ValueError, match=r".*"):
        Trust([network])


@given(
    st.lists(st.tuples(st.ip_addresses(), st.integers(0, 128)), max_size=4),
    st.ip_addresses(),
    st.integers(0, 4),
)
def test_trust_is_membership(named: list[Any], address: Any, pick: int) -> None:
    """Named addresses and networks are exactly those that the standard library says they are."""
    networks = [
        ip_network((base, size % (base.max_prefixlen + 1)), strict=False) for base, size in named
    ]
    if pick < len(networks):
        address = networks[pick].network_address
    mapped = getattr(address, "ipv4_mapped", None)
    expected = any((mapped or address) in network for network in networks)
    trust = Trust(str(network) for network in networks)
    assert trust.names(str(address)) == expected
    if address.version == 4:
        assert trust.names(f"::ffff:{address}") == expected


def test_judged_request_without_news_is_the_same() -> None:
    """Nothing is copied where a proxy tells nothing."""
    reader = OriginReader(HERE)
    request = asked([("accept", "*/*")])
    judged = reader.judge(request, PEER, "http", SERVER)
    assert judged.request is request
    assert judged.client is PEER
    assert judged.scheme == "http"
    assert judged.server is SERVER


def test_judged_client_and_scheme() -> None:
    """What is told replaces what the connection says; the rest stays."""
    reader = OriginReader(HERE)
    request = asked([("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https")])
    for _ in range(2):  # read, and remembered
        judged = reader.judge(request, PEER, "http", SERVER)
        assert judged == (request, ("203.0.113.9", "0"), "https", SERVER)
    judged = reader.judge(asked([("x-forwarded-proto", "https")]), PEER, "http", SERVER)
    assert judged[1:] == (PEER, "https", SERVER)
    judged = reader.judge(asked([("x-forwarded-for", "unknown")]), PEER, "http", SERVER)
    assert judged.client is None


def test_host_and_port_count_only_where_asked_for() -> None:
    """Many proxies pass X-Forwarded-Host on as a client wrote it: by default it is nothing."""
    headers = [("x-forwarded-host", "evil.example"), ("x-forwarded-port", "81")]
    request = asked(headers)
    assert OriginReader(HERE).judge(request, PEER, "http", SERVER).request is request


@pytest.mark.parametrize(
    ("headers", "scheme", "host", "server"),
    [
        ([("x-forwarded-host", "shop.example")], "http", "shop.example", ("shop.example", "80")),
        ([("x-forwarded-host", "shop.example")], "https", "shop.example", ("shop.example", "443")),
        ([("x-forwarded-host", "a:8443")], "https", "a:8443", ("a", "8443")),
        ([("x-forwarded-host", "[::1]")], "http", "[::1]", ("[::1]", "80")),
        ([("x-forwarded-host", "[::1]:81")], "http", "[::1]:81", ("[::1]", "81")),
        ([("x-forwarded-port", "8080")], "http", "app.internal:8080", ("app.internal", "8080")),
        ([("x-forwarded-port", "443")], "https", "app.internal", ("app.internal", "443")),
        (
            [("x-forwarded-host", "a:81"), ("x-forwarded-port", "82")],
            "http",
            "a:82",
            ("a", "82"),
        ),
    ],
)
def test_judged_host(headers: Headers, scheme: str, host: str, server: tuple[str, str]) -> None:
    """Host, authority and server become those that the proxy was asked for."""
    reader = OriginReader(HERE, FIELDS)
    request = asked([*headers, ("x-forwarded-proto", scheme)])
    judged = reader.judge(request, PEER, "http", SERVER)
    assert [value for name, value in judged.request.headers if name == "host"] == [host]
    assert (judged.request.authority, judged.server) == (host, server)
    assert ("host", "app.internal") in request.headers
    assert (judged.request.target, judged.request.query) == ("/a?b", "b")


def test_port_without_host() -> None:
    """HTTP/1.0 may come without Host: the port then is the server's, the name stays its own."""
    reader = OriginReader(HERE, FIELDS)
    request = asked([("x-forwarded-port", "81")], authority="")
    judged = reader.judge(request, PEER, "http", SERVER)
    assert (judged.request, judged.server) == (request, ("127.0.0.1", "81"))


def test_what_is_remembered_is_bounded() -> None:
    """Clients cannot fill the memory with values that are all different, or long."""
    reader = OriginReader(HERE)
    for number in range(3000):
        value = f"10.0.{number // 250}.{number % 250}"
        judged = reader.judge(asked([("x-forwarded-for", value)]), PEER, "http", SERVER)
        assert judged.client == (value, "0")
    assert len(reader._known) <= 256
    long = ", ".join(["10.0.0.1"] * 500)
    reader.judge(asked([("x-forwarded-for", long)]), PEER, "http", SERVER)
    assert all(len(value) <= 512 for key in reader._known for _, value in key)


def test_entries_of_a_list_are_bounded() -> None:
    """A head full of trusted addresses is read only so far, and without delay."""
    trust = Trust(["10.0.0.0/8"])
    told = read_origin([("x-forwarded-for", "10.0.0.1," * 20000)], trust)
    assert told.client == ("10.0.0.1", "0")
    told = read_origin([("forwarded", "for=10.0.0.1," * 20000)], trust)
    assert told.client == ("10.0.0.1", "0")
