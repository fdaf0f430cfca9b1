"""Media types by file name: the same on every machine, whatever its mime.types says."""

import mimetypes
from typing import Final

__all__ = ["media_type", "worth_compressing"]

_UNKNOWN: Final = "application/octet-stream"

_MODERN: Final = {
    ".7z": "application/x-7z-compressed",
    ".apng": "image/apng",
    ".avif": "image/avif",
    ".br": _UNKNOWN,
    ".bz2": "application/x-bzip2",
    ".cjs": "text/javascript",
    ".csv": "text/csv",
    ".epub": "application/epub+zip",
    ".flac": "audio/flac",
    ".geojson": "application/geo+json",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".gz": "application/gzip",
    ".heic": "image/heic",
    ".htm": "text/html",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".ics": "text/calendar",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",  # RFC 9239
    ".json": "application/json",
    ".jsonld": "application/ld+json",
    ".jxl": "image/jxl",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".m4a": "audio/mp4",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".mkv": "video/x-matroska",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".mpd": "application/dash+xml",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/ogg",
    ".otf": "font/otf",
    ".parquet": "application/vnd.apache.parquet",
    ".rss": "application/rss+xml",
    ".svg": "image/svg+xml",
    ".toml": "application/toml",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".weba": "audio/webm",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xhtml": "application/xhtml+xml",
    ".xml": "application/xml",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
    ".zst": "application/zstd",
}
"""What the standard library does not have, has by an old name, or takes for a coding."""

# `files=()`: not what this machine's administrator has written into /etc/mime.types.
_TYPES: Final = mimetypes.MimeTypes(()).types_map[True] | _MODERN

_TEXTUAL: Final = frozenset(
    {
        "application/javascript",
        "application/json",
        "application/manifest+json",
        "application/toml",
        "application/vnd.apple.mpegurl",
        "application/vnd.ms-fontobject",
        "application/wasm",
        "application/x-javascript",
        "application/x-ndjson",
        "application/x-sh",
        "application/xml",
        "application/yaml",
        "font/otf",
        "font/ttf",
        "image/bmp",
        "image/x-icon",
    }
)


def media_type(name: str) -> str:
    """The Content-Type for a file name; text comes with its charset, which is UTF-8."""
    dot = name.rfind(".")
    kind = _TYPES.get(name[dot:].lower(), _UNKNOWN) if dot > 0 else _UNKNOWN
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def worth_compressing(content_type: str) -> bool:
    """Whether bodies of this type are usually smaller when compressed."""
    kind = content_type.partition(";")[0].strip(" \t").lower()
    return kind.startswith("text/") or kind.endswith(("+json", "+xml")) or kind in _TEXTUAL
