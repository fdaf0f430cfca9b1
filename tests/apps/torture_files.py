"""Routes that answer with `wsgi.file_wrapper` (PEP 3333, Platform-Specific File Handling)."""

import bz2
import gzip
import io
import lzma
import random
import tempfile
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, cast
from wsgiref.types import StartResponse, WSGIEnvironment

from .torture_state import PLAIN, STATE, Query, Route

BLOCK = 64 * 1024


class OwnFile(io.FileIO):
    """A file of a class of its own, which only reading it can do justice to."""


def _file(environ: WSGIEnvironment, content: bytes, query: Query) -> Iterable[bytes]:
    """Wrap a file with this content: an ordinary one, or (`via=read`) an OwnFile."""
    file: io.BufferedReader | OwnFile
    with tempfile.NamedTemporaryFile(delete_on_close=False) as named:
        named.write(content)
        named.close()
        own = query.get("via") == "read"
        file = OwnFile(named.name) if own else open(named.name, "rb")  # noqa: SIM115
    STATE.watch(query.get("key", "file"), cast(BinaryIO, file))
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file, BLOCK)
    return wrapped


def file(environ: WSGIEnvironment, start_response: StartResponse, query: Query) -> Iterable[bytes]:
    """A real file of `n` bytes, its length stated unless `length` is "no"."""
    size = int(query["n"])
    headers = list(PLAIN)
    if query.get("length") != "no":
        headers.append(("Content-Length", str(size)))
    start_response("200 OK", headers)
    return _file(environ, random.Random(size).randbytes(size), query)


def file_shorter(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """A file of `n` bytes of which Content-Length announces `length`."""
    size = int(query["n"])
    start_response("200 OK", [*PLAIN, ("Content-Length", query["length"])])
    return _file(environ, random.Random(size).randbytes(size), query)


def file_missing_bytes(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """A file of `n` bytes for which Content-Length promises one more."""
    size = int(query["n"])
    start_response("200 OK", [*PLAIN, ("Content-Length", str(size + 1))])
    return _file(environ, random.Random(size).randbytes(size), query)


def file_middle(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """A file that was read up to `offset`: the response is what follows."""
    size = int(query["n"])
    start_response("200 OK", PLAIN)
    content = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
    content.write(random.Random(size).randbytes(size))
    content.seek(int(query["offset"]))
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](content)
    return wrapped


DECODERS: dict[str, tuple[Callable[[bytes], bytes], Callable[[Any], io.BufferedIOBase]]] = {
    "gzip": (gzip.compress, lambda file: gzip.GzipFile(fileobj=file)),
    "buffered-gzip": (
        gzip.compress,
        lambda file: io.BufferedReader(gzip.GzipFile(fileobj=file)),
    ),
    "bz2": (bz2.compress, bz2.BZ2File),
    "lzma": (lzma.compress, lzma.LZMAFile),
    "text": (bytes, lambda file: cast(io.BufferedIOBase, io.TextIOWrapper(file))),
}


def file_decoded(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """Objects that read otherwise than the descriptor they name: what counts is read()."""
    plain = b"decoded " * int(query.get("n", "1000"))
    compress, read = DECODERS[query.get("kind", "gzip")]
    stored = tempfile.TemporaryFile()  # noqa: SIM115 - belongs to what is wrapped around it
    stored.write(compress(plain))
    stored.seek(0)
    start_response("200 OK", PLAIN)
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](read(stored))
    return wrapped


def bytes_io(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """Something that reads like a file and has no descriptor."""
    start_response("200 OK", PLAIN)
    content = io.BytesIO(b"in memory " * int(query.get("n", "1000")))
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](content, 512)
    return wrapped


FILES: dict[str, Route] = {
    "file": file,
    "file-shorter": file_shorter,
    "file-missing-bytes": file_missing_bytes,
    "file-middle": file_middle,
    "file-decoded": file_decoded,
    "bytesio": bytes_io,
}
