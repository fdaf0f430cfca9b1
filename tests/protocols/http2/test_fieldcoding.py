"""Header compression beside the package hpack: what it writes we read, what we write it reads, and
of any bytes both make the same, or nothing."""

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nogilserve.messages import Headers
from nogilserve.protocols.http2.fieldcoding import (
    BrokenFields,
    FieldReader,
    TooManyFields,
    encode_fields,
    encode_length,
)

NAMES = st.one_of(
    st.sampled_from([":method", ":path", "cookie", "x-a", "content-length", "set-cookie", "date"]),
    st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20),
)
VALUES = st.one_of(
    st.sampled_from(["", "GET", "/", "200", "gzip, deflate"]),
    st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=60),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=12)


def as_text(fields: object) -> Headers:
    """What hpack gives, as latin-1."""
    return [(n.decode("latin-1"), v.decode("latin-1")) for n, v in fields]  # type: ignore[attr-defined]


@settings(max_examples=150)
@given(st.lists(FIELDS, max_size=6), st.booleans())
def test_reads_what_hpack_writes(sections: list[Headers], huffman: bool) -> None:
    """Several sections of one connection, whose table grows and is emptied."""
    encoder, reader = hpack.Encoder(), FieldReader(1 << 20)
    for number, fields in enumerate(sections):
        if number == 3:
            encoder.header_table_size = 100
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        data = encoder.encode(raw, huffman=huffman)
        assert reader.read(data) == fields
        if not reader.changed:
            assert reader.read(data) == fields


@settings(max_examples=150)
@given(FIELDS, st.booleans())
def test_hpack_reads_what_is_written(fields: Headers, small: bool) -> None:
    """With Huffman code and without; nothing is put into the other side's table."""
    decoder = hpack.Decoder()
    data = encode_fields(fields, small=small)
    assert as_text(decoder.decode(data, raw=True)) == fields
    assert not decoder.header_table.dynamic_entries


def test_content_length() -> None:
    """The field that is put together without the rest."""
    for size in (0, 7, 10**12):
        decoded = as_text(hpack.Decoder().decode(encode_length(size), raw=True))
        assert decoded == [("content-length", str(size))]


@settings(max_examples=500)
@given(st.lists(st.binary(max_size=40), max_size=4))
def test_any_bytes(sections: list[bytes]) -> None:
    """The same result as hpack's, or an error where it has one."""
    decoder, reader = hpack.Decoder(max_header_list_size=4000), FieldReader(4000)
    for data in sections:
        try:
            expected = as_text(decoder.decode(data, raw=True))
        except (hpack.HPACKError, IndexError):
            with pytest.raises((BrokenFields, TooManyFields)):
                reader.read(data)
            return
        assert reader.read(data) == expected


def test_table_that_is_filled_again_and_again() -> None:
    """Entries go as new ones come (RFC 7541 §4.4)."""
    encoder, decoder, reader = hpack.Encoder(), hpack.Decoder(), FieldReader(1 << 20)
    for number in range(300):
        fields = [("x-number", str(number)), ("x-old", str(number - number % 7))]
        raw = [(name.encode(), value.encode()) for name, value in fields]
        data = encoder.encode(raw)
        assert reader.read(data) == fields == as_text(decoder.decode(data, raw=True))


def test_entry_larger_than_the_table() -> None:
    """It empties the table, and is no error (RFC 7541 §4.4)."""
    reader = FieldReader(1 << 20)
    reader.read(b"\x40\x01a\x01b")
    large = b"\x40\x01a\x7f" + bytes(hpack.hpack.encode_integer(5000, 7))[1:] + b"x" * 5000
    assert reader.read(large) == [("a", "x" * 5000)]
    with pytest.raises(BrokenFields):
        reader.read(b"\xbe")
