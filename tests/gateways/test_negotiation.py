"""Which content coding a client prefers (RFC 9110 §12.5.3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.gateways.negotiation import field, preferred

OFFERED = ("br", "zstd", "gzip")


@pytest.mark.parametrize(
    ("accepted", "order"),
    [
        (None, ()),
        ("", ()),
        ("gzip", ("gzip",)),
        ("GZip", ("gzip",)),
        ("x-gzip", ("gzip",)),
        ("gzip, deflate, br, zstd", OFFERED),
        ("gzip;q=1.0, br;q=0.9", ("gzip", "br")),
        ("gzip ; Q=0.5 , br;q=0", ("gzip",)),
        ("*", OFFERED),
        ("*;q=0", ()),
        ("*;q=0.5, gzip", ("gzip", "br", "zstd")),
        ("gzip;q=0, *", ("br", "zstd")),
        ("identity", ()),
        ("identity, gzip", ("gzip",)),
        ("identity;q=1, gzip;q=0.5", ()),
        ("identity;q=0", ()),
        ("identity;q=0, gzip", ("gzip",)),
        ("gzip;q=2", ()),
        ("gzip;q=0.1234", ()),
        ("gzip;level=9", ()),
        ("gzip;q=0.000", ()),
        ("gzipped", ()),
        (", ,gzip,,", ("gzip",)),
        ("gzip, gzip;q=0", ("gzip",)),
    ],
)
def test_order(accepted: str | None, order: tuple[str, ...]) -> None:
    """The client's weights first, then ours; nothing that it likes less than no coding."""
    assert preferred(accepted, OFFERED) == order


@given(st.text(alphabet="gzipbr*;q=01.5, \t\xff", max_size=40))
def test_nothing_raises(accepted: str) -> None:
    """Only what was offered comes out, each once."""
    order = preferred(accepted, OFFERED)
    assert len(set(order)) == len(order)
    assert set(order) <= set(OFFERED)


def test_repeated_lines_are_one_list() -> None:
    """RFC 9110 §5.3."""
    headers = [("accept", "a"), ("te", "x"), ("accept", "b")]
    assert field(headers, "accept") == "a, b"
    assert field(headers, "range") is None
