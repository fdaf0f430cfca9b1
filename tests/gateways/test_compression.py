"""What is decided about compressing a response, and the codings themselves."""

import gzip
import sys
import sysconfig
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.errors import ResponseError
from nogilserve.gateways.compression import CompressingGateway, codings
from nogilserve.gateways.compression.decision import SMALLEST, read_head
from nogilserve.messages import Exchange, Headers
from tests.gateways.recording import Recorder, ask

HTML = ("Content-Type", "text/html")
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("204 No Content", [HTML]),
        ("206 Partial Content", [HTML]),
        ("304 Not Modified", [HTML]),
        ("200 OK", []),
        ("200 OK", [("Content-Type", "image/png")]),
        ("200 OK", [HTML, ("content-encoding", "br")]),
        ("200 OK", [HTML, ("Cache-Control", "max-age=5, No-Transform")]),
        ("200 OK", [HTML, ("Content-Range", "bytes 0-1/2")]),
    ],
)
def test_left_alone(status: str, headers: Headers) -> None:
    """Nothing is changed, nothing is added."""
    assert read_head(status, headers) is None


def test_fields_of_a_compressed_response() -> None:
    """What is no longer true goes; what is still true stays."""
    headers = [HTML, ("Content-Length", "900"), ("ETag", '"1"'), ("accept-ranges", "bytes")]
    head = read_head("200 OK", headers)
    assert head is not None
    assert head.length == 900
    assert head.plain == [*headers, ("Vary", "Accept-Encoding")]
    assert head.coded("gzip") == [
        HTML,
        ("ETag", 'W/"1"'),
        ("Vary", "Accept-Encoding"),
        ("Content-Encoding", "gzip"),
    ]
    for vary in ("*", "Cookie, ACCEPT-encoding"):
        told = [HTML, ("Vary", vary), ("ETag", 'W/"1"')]
        head = read_head("200 OK", told)
        assert head is not None
        assert head.plain is told
        assert head.coded("br") == [*told, ("Content-Encoding", "br")]


@pytest.mark.parametrize("name", list(codings("auto")))
@given(st.lists(st.tuples(st.binary(max_size=200), st.booleans()), max_size=10))
def test_codings_give_back_what_was_written(name: str, pieces: list[tuple[bytes, bool]]) -> None:
    """In any pieces, flushed or not; after a flush everything so far can be read."""
    compressor = codings(name)[name]()
    out = b""
    for data, flush in pieces:
        out += compressor.write(data)
        if flush:
            out += compressor.flush()
    out += compressor.finish()
    content = b"".join(data for data, _ in pieces)
    if name == "gzip":
        assert gzip.decompress(out) == content
    elif name == "zstd":
        assert import_module("compression.zstd").decompress(out) == content


def test_auto() -> None:
    """zstd where this Python has it, gzip always, no brotli where it would switch the GIL on."""
    found = list(codings("auto"))
    assert found[-1] == "gzip"
    assert ("zstd" in found) == (sys.version_info >= (3, 14))
    if FREE_THREADED:
        assert "br" not in found


@given(
    st.lists(st.binary(max_size=900), max_size=5),
    st.sampled_from([-1, 0, 1]) | st.none(),
    st.booleans(),
)
def test_any_body_arrives(pieces: list[bytes], wrong: int | None, whole: bool) -> None:
    """Streamed or at once, with the right Content-Length, a wrong one or none: what arrives is what
    was sent, or it is an error."""
    body = b"".join(pieces)
    headers = [HTML]
    if wrong is not None:
        headers.append(("Content-Length", str(max(len(body) + wrong, 0))))
    raised = []

    def app(exchange: Exchange) -> None:
        try:
            exchange.prepare("200 OK", headers)
            if whole:
                exchange.send_whole(body)
            else:
                exchange.send_head(None)
                for piece in pieces:
                    exchange.send_data(piece)
                exchange.send_end()
        except ResponseError as exc:
            raised.append(exc)

    recorder = Recorder(ask(headers=[("accept-encoding", "gzip")]))
    CompressingGateway(codings("gzip"), app).run(recorder)
    if recorder.header("Content-Encoding") == "gzip" and not raised:
        assert gzip.decompress(recorder.sent) == body
        assert wrong in {None, 0}
    elif not raised:
        assert recorder.sent == body
        assert whole or len(body) < SMALLEST + 2
    else:
        assert wrong in {-1, 1}
        assert not recorder.ended


def test_error_takes_the_place_of_what_was_begun() -> None:
    """As long as nothing was sent, another response may be prepared."""

    def app(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [HTML])
        exchange.send_head(None)
        assert not exchange.head_sent
        exchange.prepare("500 Internal Server Error", [("Content-Type", "text/plain")])
        exchange.send_whole(b"failed")

    recorder = Recorder(ask(headers=[("accept-encoding", "gzip")]))
    CompressingGateway(codings("gzip"), app).run(recorder)
    assert (recorder.status[:3], recorder.sent) == ("500", b"failed")
    assert recorder.header("Content-Encoding") == ""
