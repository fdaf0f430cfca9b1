"""The codings there are: zstd of the standard library from 3.14 on, gzip, brotli if installed."""

import sysconfig
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, Protocol

__all__ = ["Compressor", "codings"]

_GZIP_LEVEL: Final = 5
"""From here on each level costs more time than it saves bytes."""
_GZIP: Final = 16 + zlib.MAX_WBITS
_BROTLI_QUALITY: Final = 4


class Compressor(Protocol):
    """One response body. Owner: whoever runs the request."""

    def write(self, data: bytes) -> bytes:
        """What comes out for now."""

    def flush(self) -> bytes:
        """All that was written so far comes out at the other end."""

    def finish(self) -> bytes:
        """The end."""


class _Gzip:
    """RFC 1952."""

    def __init__(self) -> None:
        self._made = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP)
        self.write = self._made.compress

    def flush(self) -> bytes:
        return self._made.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._made.flush(zlib.Z_FINISH)


class _Zstd:
    """RFC 8878."""

    def __init__(self, module: Any) -> None:
        self._made = module.ZstdCompressor()
        self._flush = module.ZstdCompressor.FLUSH_BLOCK
        self._end = module.ZstdCompressor.FLUSH_FRAME

    def write(self, data: bytes) -> bytes:
        made: bytes = self._made.compress(data)
        return made

    def flush(self) -> bytes:
        made: bytes = self._made.flush(self._flush)
        return made

    def finish(self) -> bytes:
        made: bytes = self._made.flush(self._end)
        return made


class _Brotli:
    """RFC 7932."""

    def __init__(self, module: Any) -> None:
        self._made = module.Compressor(quality=_BROTLI_QUALITY)

    def write(self, data: bytes) -> bytes:
        made: bytes = self._made.process(data)
        return made

    def flush(self) -> bytes:
        made: bytes = self._made.flush()
        return made

    def finish(self) -> bytes:
        made: bytes = self._made.finish()
        return made


def codings(name: str) -> dict[str, Callable[[], Compressor]]:
    """What makes compressors of each coding, the best first; `name`: one of them, or "auto".

    Raises ImportError for one that is not there. "auto" leaves brotli out on a free-threaded build:
    importing it would switch the GIL on for the whole process.
    """
    names = ["zstd", "br", "gzip"] if name == "auto" else [name]
    if name == "auto" and sysconfig.get_config_var("Py_GIL_DISABLED"):
        names.remove("br")
    found: dict[str, Callable[[], Compressor]] = {}
    for each in names:
        try:
            found[each] = _maker(each)
        except ImportError:
            if name != "auto":
                raise
    return found


def _maker(name: str) -> Callable[[], Compressor]:
    if name == "gzip":
        return _Gzip
    if name == "zstd":
        zstd = import_module("compression.zstd")
        return lambda: _Zstd(zstd)
    brotli = import_module("brotli")
    return lambda: _Brotli(brotli)
