"""Hypothesis strategies: requests as clients send them, and as attackers do."""

from itertools import pairwise

from hypothesis import strategies as st

METHODS = st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE", "BREW", "CONNECT"])
TARGETS = st.sampled_from(
    ["/", "/a/b?c=d", "//x?", "/%00%zz", "*", "http://b:1/x", "http://b", "/#f", "a", "/?a?b#"]
)
VERSIONS = st.sampled_from(
    ["HTTP/1.1"] * 6 + ["HTTP/1.0"] * 2 + ["HTTP/1.2", "HTTP/2.0", "http/1.1"]
)
# Fields that decide about something, in good and bad forms.
TELLING = [
    "Host: a",
    "host: b:80",
    "HOST: [::1]",
    "Host:",
    "Host: a-b.c:1",
    "Host: a:",
    "Host: a_b",
    "Host: a b",
    "Host: a:99999",
    "Content-Length: 5",
    "content-length: 05",
    "Content-Length: +5",
    "Content-Length: 5, 5",
    "Content-Length: 9999999999999999",
    "Content_Length: 7",
    "Transfer-Encoding: chunked",
    "transfer-encoding: Chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: \x0bchunked",
    "Connection: close",
    "Connection: keep-alive",
    "connection: Keep-Alive",
    "Connection: close, upgrade",
    "Connection: upgrade",
    "Upgrade: websocket",
    "Expect: 100-continue",
    "Expect: x",
    "TE: trailers",
    "Trailer: X",
]
HARMLESS = [
    "User-Agent: curl/8",
    "user-agent: x",
    "Accept: */*",
    "X-Own: 1",
    "x_own: 2",
    "X-Empty:",
    "X.Odd: 3",
    "X-Tab:\ta\tb\t",
    "X-Space:  a  b  ",
    "X-High: \xe4\x85\xa0",
    "Cookie: a=b",
    "Cookie: c=d",
]
TOKENS = st.text(st.sampled_from("!#$%&'*+-.^_`|~09AZaz"), min_size=1, max_size=8)
VALUES = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20
).filter(lambda value: value.isascii() or "\x80" not in value)
FIELDS = st.one_of(
    st.sampled_from(TELLING),
    st.sampled_from(HARMLESS),
    st.builds("{}: {}".format, TOKENS, VALUES),
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """A request head, mostly good, with its empty line."""
    line = f"{draw(METHODS)} {draw(TARGETS)} {draw(VERSIONS)}"
    fields = draw(st.lists(FIELDS, max_size=6))
    if draw(st.integers(0, 9)):
        fields.insert(0, "Host: example.com")
    return "".join(part + "\r\n" for part in [line, *fields, ""]).encode("latin-1")


@st.composite
def ordinary_heads(draw: st.DrawFn) -> bytes:
    """A request head of the kind that the fast path is for."""
    method = draw(st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"]))
    target = "/" + draw(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=10))
    fields = draw(st.lists(st.sampled_from(HARMLESS), max_size=4))
    extra = draw(st.sampled_from(["", "Content-Length: 5", "Transfer-Encoding: chunked"]))
    lines = [f"{method} {target.replace('#', '')} HTTP/1.1", "Host: a.example:80", *fields]
    return "".join(f"{part}\r\n" for part in [*lines, *filter(None, [extra]), ""]).encode("latin-1")


# What mutations put in: bytes that framing hangs on.
PIECES = st.sampled_from(
    b'\r\n|\n|\r|\x00| |\t|:|\x0b|\x85|\xff|;|,|0|5|a|#|_|+|\r\n |\r\n\r\n|"|\\|Host: x\r\n'.split(
        b"|"
    )
)


@st.composite
def mutated(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of `source` with up to three places changed."""
    data = draw(source)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.integers(0, 2))
        data = data[:at] + draw(PIECES | st.binary(max_size=2)) + data[at + cut :]
    return data


@st.composite
def cut(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> list[bytes]:
    """Bytes of `source` in random pieces, none of them empty."""
    data = draw(source)
    places = draw(st.lists(st.integers(0, len(data)), max_size=6))
    return [data[a:b] for a, b in pairwise(sorted([0, *places, len(data)])) if a < b]


CHUNK_LINES = st.sampled_from(
    b'0|1|2|a|A|05|0x1|+1|1_0| 1|1 ||g|1;a|1;a=b|1;a="b\\"c;"|1; a|1;|1;a="|0;x|1;a\n'.split(b"|")
)


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    """A chunked body, mostly good, with its trailers."""
    parts = []
    for content in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4)):
        extension = draw(st.sampled_from([b"", b"", b";a", b';a="\xe4 b"', b";a=b;c"]))
        parts.append(b"%x%b\r\n%b\r\n" % (len(content), extension, content))
        if not draw(st.integers(0, 15)):
            parts.append(draw(CHUNK_LINES) + b"\r\n")
    trailers = draw(st.lists(st.sampled_from(HARMLESS) | FIELDS, max_size=2))
    section = "".join(f"{line}\r\n" for line in trailers).encode("latin-1")
    return b"".join(parts) + b"0\r\n" + section + b"\r\n"
