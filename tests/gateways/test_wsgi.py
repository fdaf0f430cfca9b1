"""Responses of WSGI applications: what the gateway does with what an application returns."""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from nogilserve.gateways.wsgi import FileWrapper, WsgiGateway
from tests.gateways.recording import Recorder, run

Start = Callable[..., Callable[[bytes], None]]
Environ = dict[str, Any]


class Closing:
    """An iterable of `pieces` that counts its close() calls; exceptions among them are raised."""

    def __init__(self, *pieces: Any) -> None:
        self.pieces = iter(pieces)
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        for piece in self.pieces:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def close(self) -> None:
        """Count."""
        self.closed += 1


def returning(result: Any, headers: list[tuple[str, str]] | None = None) -> Any:
    """An application that returns `result`."""

    def app(_environ: Environ, start_response: Start) -> Any:
        start_response("200 OK", headers or [])
        return result

    return app


# ---- shapes of a body ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "expected"),
    [([], b""), ([b""], b""), ([b"one"], b"one"), ([b"one", b"", b"two"], b"onetwo")],
)
def test_list_is_sent_whole(result: list[bytes], expected: bytes) -> None:
    """A list is complete: head and body leave in one call."""
    exchange = run(returning(result))
    assert (exchange.whole, exchange.pieces, exchange.aborted) == (expected, [], False)


@pytest.mark.parametrize(
    ("result", "pieces", "length"),
    [
        ((b"one",), [b"one"], 3),
        ((b"one", b"two"), [b"one", b"two"], None),
        ((), [], 0),
        ((b"",), [], 0),
        ((b"", b""), [], 0),
        (iter([b"one"]), [b"one"], None),
        (iter([b"", b"one", b"", b"two"]), [b"one", b"two"], None),
        (iter([]), [], 0),
        ({b"one": 1}, [b"one"], 3),
    ],
)
def test_iterable_is_passed_on_piece_by_piece(
    result: Iterable[bytes], pieces: list[bytes], length: int | None
) -> None:
    """The length is known only of a single piece (PEP 3333, "Handling the Content-Length Header")
    and of an empty body."""
    exchange = run(returning(result))
    assert (exchange.pieces, exchange.length, exchange.ended) == (pieces, length, True)
    assert exchange.whole is None


@pytest.mark.parametrize("wrong", [TypeError, AttributeError, NotImplementedError])
def test_iterable_whose_len_fails(wrong: type[Exception]) -> None:
    """An iterable may have a __len__ that is of no use."""

    class Odd(Closing):
        def __len__(self) -> int:
            raise wrong

    assert run(returning(Odd(b"a", b"b"))).pieces == [b"a", b"b"]


@pytest.mark.parametrize("after", [(), (b"", b"")])
def test_first_piece_of_the_declared_length_is_the_whole_body(after: tuple[bytes, ...]) -> None:
    """Head and body leave in one call, as frameworks answer; what follows is empty."""
    result = Closing(b"", b"four", *after)
    exchange = run(returning(result, [("Content-Length", "4")]))
    assert (exchange.whole, exchange.pieces, exchange.aborted) == (b"four", [], False)
    assert result.closed == 1


def test_more_than_the_declared_length_after_the_first_piece(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is not sent, and the client can tell."""
    result = Closing(b"four", b"more")
    exchange = run(returning(result, [("Content-Length", "4")]))
    assert (exchange.whole, exchange.pieces, exchange.aborted) == (b"four", [], True)
    assert result.closed == 1
    assert "the body is longer than Content-Length" in caplog.text


def test_exception_after_the_first_piece_of_the_declared_length(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The application has failed, so nothing more is asked of this connection."""
    result = Closing(b"four", ValueError("too late"))
    exchange = run(returning(result, [("Content-Length", "4")]))
    assert (exchange.whole, exchange.aborted, result.closed) == (b"four", True, 1)
    assert "too late" in caplog.text


def test_first_piece_is_out_before_the_second_is_made() -> None:
    """PEP 3333, "Buffering and Streaming": a block is passed on before the next is asked for."""
    order: list[str] = []

    def pieces() -> Iterator[bytes]:
        for name in ("first", "second"):
            order.append(f"{name} made")
            yield name.encode()

    exchange = Recorder()
    exchange.on_data = lambda data: order.append(f"{data.decode()} out")
    WsgiGateway(returning(pieces()), "tests:app").run(exchange)
    assert order == ["first made", "first out", "second made", "second out"]


def test_start_response_at_the_first_piece() -> None:
    """A generator calls start_response only when it is asked for its first piece."""

    def app(_environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("201 Created", [("X-A", "1")])
        yield b"late"

    exchange = run(app)
    assert (exchange.status, exchange.header("X-A"), exchange.sent) == ("201 Created", "1", b"late")


def test_head_waits_for_the_first_piece_that_is_not_empty() -> None:
    """Until then the application may change its mind (PEP 3333, "Error Handling")."""

    def app(_environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b""
        try:
            raise ValueError("second thoughts")
        except ValueError as error:
            start_response("503 Service Unavailable", [], (type(error), error, error.__traceback__))
        yield b"sorry"

    exchange = run(app)
    assert (exchange.status, exchange.sent) == ("503 Service Unavailable", b"sorry")


# ---- write() ---------------------------------------------------------------------------------


def test_write_sends_at_once() -> None:
    """What write() is given is out when it returns, and comes before what is iterated."""
    seen: list[list[bytes]] = []

    def app(_environ: Environ, start_response: Start) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"")
        assert not exchange.head_sent
        write(b"one")
        seen.append(list(exchange.pieces))
        write(b"two")
        return [b"three"]

    exchange = Recorder()
    WsgiGateway(app, "tests:app").run(exchange)
    assert seen == [[b"one"]]
    assert (exchange.pieces, exchange.length) == ([b"one", b"two", b"three"], None)
    assert (exchange.ended, exchange.whole) == (True, None)


def test_write_alone() -> None:
    """A body may come through write() only."""

    def app(_environ: Environ, start_response: Start) -> list[bytes]:
        start_response("200 OK", [])(b"all")
        return []

    exchange = run(app)
    assert (exchange.pieces, exchange.ended) == ([b"all"], True)


def test_one_piece_after_write_has_no_known_length() -> None:
    """The head is out: the length of what is returned says nothing about the whole."""

    def app(_environ: Environ, start_response: Start) -> tuple[bytes]:
        start_response("200 OK", [])(b"first")
        return (b"second",)

    exchange = run(app)
    assert (exchange.pieces, exchange.length) == ([b"first", b"second"], None)


# ---- exc_info --------------------------------------------------------------------------------


def failing_after(pieces: tuple[bytes, ...]) -> Any:
    """An application that fails after `pieces` and reports it through exc_info."""

    def app(_environ: Environ, start_response: Start) -> list[bytes]:
        write = start_response("200 OK", [("X-First", "1")])
        for piece in pieces:
            write(piece)
        try:
            raise LookupError("the original error")
        except LookupError as error:
            start_response(
                "500 Oops", [("X-Second", "1")], (type(error), error, error.__traceback__)
            )
        return [b"error page"]

    return app


def test_exc_info_before_the_head_replaces_it() -> None:
    """With exc_info the second head replaces the first as long as that is not sent."""
    exchange = run(failing_after(()))
    assert (exchange.status, exchange.headers) == ("500 Oops", [("X-Second", "1")])
    assert exchange.sent == b"error page"


def test_exc_info_after_the_head_is_raised_again(caplog: pytest.LogCaptureFixture) -> None:
    """Once bytes are out the original error is raised again, with its own traceback."""
    exchange = run(failing_after((b"out",)))
    assert (exchange.status, exchange.pieces) == ("200 OK", [b"out"])
    assert (exchange.aborted, exchange.ended) == (True, False)
    assert "LookupError: the original error" in caplog.text
    assert 'raise LookupError("the original error")' in caplog.text


# ---- close() ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces",
    [
        (b"one", b"two"),
        (),
        (b"one", ValueError("in the middle")),
        (ValueError("at once"),),
        ("text",),
        (SystemExit(3),),
    ],
)
def test_close_is_called_once(pieces: tuple[Any, ...]) -> None:
    """close() is called whatever happens, once (PEP 3333, "Specification Details")."""
    result = Closing(*pieces)
    run(returning(result))
    assert result.closed == 1


@pytest.mark.parametrize("gone_after", [0, 1, 2])
def test_close_is_called_when_the_client_is_gone(gone_after: int) -> None:
    """A client that leaves ends the iteration, close() is called and nobody is blamed."""
    result = Closing(*[b"x"] * 100)
    exchange = run(returning(result), gone_after=gone_after)
    assert (result.closed, len(exchange.pieces), exchange.aborted) == (1, gone_after, True)
    assert next(result.pieces) == b"x", "the iteration went on"


def test_close_is_called_without_start_response(caplog: pytest.LogCaptureFixture) -> None:
    """Even of an application that forgot start_response."""
    result = Closing(b"body")
    exchange = run(lambda _environ, _start: result)
    assert (result.closed, exchange.status[:3]) == (1, "500")
    assert "has not called start_response" in caplog.text


def test_close_of_a_generator_runs_its_finally() -> None:
    """A generator that is not exhausted is closed, so its `finally` runs now, not some day."""
    left: list[str] = []

    def pieces() -> Iterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            left.append("finally")

    run(returning(pieces()), gone_after=2)
    assert left == ["finally"]


def test_close_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; the response, complete or not, cannot be trusted to be whole."""

    class Bad(Closing):
        def close(self) -> None:
            super().close()
            raise OSError("cannot close")

    result = Bad(b"body")
    exchange = run(returning(result))
    assert (result.closed, exchange.sent, exchange.aborted) == (1, b"body", True)
    assert "OSError: cannot close" in caplog.text


# ---- wsgi.file_wrapper -----------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BinaryIO]:
    """A file of the ten digits."""
    path = tmp_path / "digits"
    path.write_bytes(b"0123456789")
    with path.open("rb") as opened:
        yield opened


@pytest.mark.parametrize(
    ("position", "headers", "sent", "length"),
    [
        (0, [], (0, 10), 10),
        (4, [], (4, 6), 6),
        (10, [], (10, 0), 0),
        (99, [], (99, 0), 0),
        (0, [("Content-Length", "3")], (0, 3), None),
        (8, [("Content-Length", "2")], (8, 2), None),
        (8, [("Content-Length", "5")], (8, 2), None),
    ],
)
def test_real_file_is_sent_by_the_system(
    file: BinaryIO,
    position: int,
    headers: list[tuple[str, str]],
    sent: tuple[int, int],
    length: int | None,
) -> None:
    """From the position to the end or Content-Length (PEP 3333, "Optional Platform-Specific File
    Handling"), then the file is closed."""
    file.seek(position)
    exchange = run(returning(FileWrapper(file), headers))
    assert (exchange.files, exchange.length, exchange.ended) == ([sent], length, True)
    assert exchange.pieces == []
    assert file.closed


def test_position_is_that_of_the_reader(file: BinaryIO) -> None:
    """A buffered file has read ahead; what counts is what the application has read."""
    assert file.read(2) == b"01"
    assert run(returning(FileWrapper(file))).files == [(2, 8)]


def test_file_after_write_is_iterated(file: BinaryIO) -> None:
    """After write() the file is passed on as any other iterable."""

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])(b"before,")
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file, 4)
        return wrapped

    exchange = run(app)
    assert exchange.pieces == [b"before,", b"0123", b"4567", b"89"]
    assert file.closed


def test_file_in_memory_is_iterated() -> None:
    """A file without a descriptor is read in blocks and closed."""
    source = io.BytesIO(b"0123456789")
    exchange = run(returning(FileWrapper(source, 6)))
    assert (exchange.pieces, exchange.length, exchange.files) == ([b"012345", b"6789"], None, [])
    assert source.closed


def test_pipe_is_iterated() -> None:
    """A pipe has a descriptor, but no size: it is read to its end."""
    reading, writing = os.pipe()
    with open(writing, "wb") as end:
        end.write(b"through a pipe")
    source = open(reading, "rb")  # noqa: SIM115 (the gateway closes it)
    exchange = run(returning(FileWrapper(source)))
    assert (exchange.sent, exchange.files) == (b"through a pipe", [])
    assert source.closed


def test_closed_file(file: BinaryIO, caplog: pytest.LogCaptureFixture) -> None:
    """A file that the application has closed already is its mistake, and said so."""
    file.close()
    exchange = run(returning(FileWrapper(file)))
    assert exchange.status[:3] == "500"
    assert "closed file" in caplog.text


def test_file_wrapper_needs_no_close() -> None:
    """What is only readable may be wrapped: close() is called where it exists."""

    class Readable:
        def __init__(self) -> None:
            self.left = [b"a", b"b", b""]

        def read(self, _size: int) -> bytes:
            return self.left.pop(0)

    source: Any = Readable()
    assert run(returning(FileWrapper(source))).pieces == [b"a", b"b"]


def test_subclass_of_the_wrapper_may_iterate_as_it_likes(file: BinaryIO) -> None:
    """Only the wrapper itself is known to mean the file's bytes."""

    class Upper(FileWrapper):
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"changed"])

    exchange = run(returning(Upper(file)))
    assert (exchange.pieces, exchange.files) == ([b"changed"], [])
    assert file.closed
