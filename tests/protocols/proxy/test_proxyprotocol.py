"""The PROXY protocol: the corpus at every cut, round trips, and bytes of no meaning."""

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.errors import ProtocolError
from nogilserve.protocols.proxy import Announced, Preamble
from tests.corpus.proxies import SIGNATURE, load, sent

CASES = load("proxy_protocol")


def read(pieces: list[bytes], *, required: bool = True) -> Preamble | None:
    """The preamble once it is complete, None if the pieces do not suffice."""
    preamble = Preamble(required=required)
    for index, piece in enumerate(pieces):
        if preamble.receive(piece):
            preamble.rest += b"".join(pieces[index + 1 :])
            return preamble
    return None


def cuts(data: bytes) -> list[list[bytes]]:
    """The same bytes whole, one by one, and cut in two at every place."""
    halves = [[data[:at], data[at:]] for at in range(1, len(data))]
    return [[data], [data[at : at + 1] for at in range(len(data))], *halves]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_corpus(case: dict[str, Any]) -> None:
    """Each case means what the file says however it is cut, or is refused as it says."""
    required = not case.get("optional", False)
    for pieces in cuts(sent(case)):
        if "status" in case:
            with pytest.raises(ProtocolError) as caught:
                read(pieces, required=required)
            assert caught.value.status == case["status"]
            continue
        preamble = read(pieces, required=required)
        assert preamble is not None
        assert preamble.rest == case.get("rest", "").encode()
        assert not preamble.started
        announced = preamble.announced
        if "client" in case:
            client, server = tuple(case["client"]), tuple(case["server"])
            assert announced == Announced(client, server, case.get("tls", False))
        elif "unix" in case:
            assert announced == Announced(None, ("", ""), tls=False)
        else:
            assert announced is None


PORTS = st.integers(0, 65535)
V4 = st.integers(0, 2**32 - 1).map(IPv4Address)
V6 = st.integers(2**48, 2**128 - 1).map(IPv6Address)


@given(st.tuples(V4, V4) | st.tuples(V6, V6), PORTS, PORTS)
def test_both_versions_carry_any_address(addresses: Any, sport: int, dport: int) -> None:
    """What a sender packs is what comes out, in either version."""
    source, target = addresses
    expected = Announced((str(source), str(sport)), (str(target), str(dport)), tls=False)
    line = f"PROXY TCP{source.version} {source} {target} {sport} {dport}\r\n".encode()
    preamble = read([line])
    assert preamble is not None
    assert preamble.announced == expected
    block = source.packed + target.packed + struct.pack("!HH", sport, dport)
    family = 0x11 if source.version == 4 else 0x21
    header = SIGNATURE + struct.pack("!BBH", 0x21, family, len(block)) + block
    preamble = read([header])
    assert preamble is not None
    assert preamble.announced == expected


@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00"]),
    st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=4),
    st.booleans(),
)
def test_any_bytes_are_a_header_or_refused(
    beginning: bytes, pieces: list[bytes], required: bool
) -> None:
    """No bytes make reading fail in another way, none are lost, and little is kept waiting."""
    pieces = [beginning + pieces[0], *pieces[1:]]
    data = b"".join(pieces)
    try:
        preamble = read(pieces, required=required)
    except ProtocolError as refusal:
        refused = refusal.status
        assert refused == 400
        return
    if preamble is None:
        assert len(data) < 4112 + 16
    else:
        assert data.endswith(preamble.rest)


def test_end_within_the_header() -> None:
    """A connection that ends before its header does is broken."""
    preamble = Preamble(required=False)
    assert not preamble.receive(b"PROXY TCP4 1.2.3.4")
    assert preamble.started
    with pytest.raises(ProtocolError, match="ended within"):
        preamble.receive(b"")
