"""What a file's name says: its type, and how long it may be kept."""

import pytest

from nogilserve.gateways.static.caching import IMMUTABLE, CacheRules
from nogilserve.gateways.static.media import media_type, worth_compressing


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.HTML", "text/html; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.min.mjs", "text/javascript; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.wasm", "application/wasm"),
        ("a.svg", "image/svg+xml"),
        ("a.webp", "image/webp"),
        ("a.avif", "image/avif"),
        ("a.woff2", "font/woff2"),
        ("site.webmanifest", "application/manifest+json"),
        # The file itself, not what is in it: no Content-Encoding goes with it.
        ("a.tar.gz", "application/gzip"),
        ("a.css.br", "application/octet-stream"),
        ("a.png", "image/png"),
        ("README", "application/octet-stream"),
        (".html", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("a.unknown", "application/octet-stream"),
    ],
)
def test_type(name: str, kind: str) -> None:
    """By the last ending, in any case."""
    assert media_type(name) == kind


@pytest.mark.parametrize(
    ("kind", "worth"),
    [
        ("text/html; charset=utf-8", True),
        ("application/json", True),
        ("Application/Problem+JSON ; a=b", True),
        ("image/svg+xml", True),
        ("application/wasm", True),
        ("image/png", False),
        ("video/mp4", False),
        ("application/zip", False),
        ("application/octet-stream", False),
        ("font/woff2", False),
        ("", False),
    ],
)
def test_types_worth_compressing(kind: str, worth: bool) -> None:
    """Text of all sorts; nothing that is compressed already."""
    assert worth_compressing(kind) is worth


@pytest.mark.parametrize(
    "path",
    [
        *("app.3f2a9c1b.js", "css/style-0a1b2c3d4e5f.css", "a_3f2a9c1b.woff2"),
        *(f"x.{'ab12' * 10}.css", f"x-{'0f' * 32}.js", "main.3f2a9c1b.js.map"),
    ],
)
def test_hashed_names_are_immutable(path: str) -> None:
    """As webpack, Parcel, Django, Rails and others write them."""
    assert CacheRules("no-cache").value(path) == IMMUTABLE


@pytest.mark.parametrize(
    "path",
    [
        *("app.js", "report-20260101.pdf", "IMG-20240101a.jpg", "3f2a9c1b.js", "jquery-3.7.1.js"),
        *(
            "a.defacade.js",
            "page.3f2a9c1b.html",
            "3f2a9c1b",
            "x.3F2A9C1B.js",
            "a-b.3f2a9c1b/app.js",
        ),
    ],
)
def test_other_names_are_asked_for_again(path: str) -> None:
    """Dates, versions and words are no hashes; a page is what names them."""
    assert CacheRules("max-age=5").value(path) == "max-age=5"


def test_patterns() -> None:
    """Of names, and of paths."""
    rules = CacheRules("", ["*.woff2", "assets/*", "/vendor/*.js"])
    for path in ("a/b.woff2", "assets/index-DiwrgTda.js", "assets/a/b.css", "vendor/x.js"):
        assert rules.value(path) == IMMUTABLE
    for path in ("other/assets/x.js", "vendor/x.css", "a.woff"):
        assert rules.value(path) == ""
