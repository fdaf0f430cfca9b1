"""Unmasking, by the package websockets where it is installed, and without it (RFC 6455 §5.3)."""

from hypothesis import given
from hypothesis import strategies as st

from nogilserve.protocols.websocket import frames

SIZES = st.sampled_from([0, 1, 3, 4, 5, 125, 2047, 2048, 2049, 70_001])


@given(size=SIZES, key=st.binary(min_size=4, max_size=4))
def test_both_ways_agree(size: int, key: bytes) -> None:
    """Each byte is combined with the key's byte of its place, whichever code does it."""
    payload = bytes(index * 7 % 256 for index in range(size))
    expected = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    assert frames._unmask_plain(payload, key) == expected
    for kind in (bytes, bytearray):
        buffer = kind(b"head" + key + payload + b"next")
        assert frames.unmask(buffer, 8, 8 + size) == expected
        if isinstance(buffer, bytearray):
            del buffer[:8]  # nothing holds on to it
