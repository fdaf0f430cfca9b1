"""Mistakes and exceptions of WSGI applications: the answer, the log, and nothing left behind."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nogilserve.errors import ClientDisconnected, ProtocolError, TruncatedBody
from tests.gateways.recording import Recorder, ask, run

Start = Callable[..., Callable[[bytes], None]]
Environ = dict[str, Any]


def app_raising(error: BaseException) -> Any:
    """An application that raises before anything else."""

    def app(_environ: Environ, _start_response: Start) -> list[bytes]:
        raise error

    return app


def app_returning(result: Any) -> Any:
    """An application that returns `result`."""

    def app(_environ: Environ, start_response: Start) -> Any:
        start_response("200 OK", [])
        return result

    return app


def records(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and text of what was logged."""
    return [(record.levelname, record.getMessage()) for record in caplog.records]


# ---- exceptions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [ValueError("broken"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError()],
)
def test_exception_becomes_a_500(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is raised, the client gets a plain 500 with the request's id and nothing else."""
    exchange = run(app_raising(error), ask(path="/x", query="y=1"))
    assert exchange.status == "500 Internal Server Error"
    assert exchange.whole == b"Internal Server Error\nrequest id-of-the-request\n"
    assert exchange.headers == [("Content-Type", "text/plain; charset=utf-8")]
    [(level, text)] = records(caplog)
    assert level == "ERROR"
    assert text.startswith("[id-of-the-request] GET /x?y=1: exception in tests:app\nTraceback")
    assert type(error).__name__ in text.splitlines()[-1]


def test_log_shows_the_application_line(caplog: pytest.LogCaptureFixture) -> None:
    """The traceback leads to the line of the application that raised."""
    run(app_raising(ValueError("broken")))
    [(_, text)] = records(caplog)
    assert f'File "{__file__}", line' in text
    assert "    raise error" in text


def test_causes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """`raise … from …` is shown in full."""

    def app(_environ: Environ, _start_response: Start) -> list[bytes]:
        try:
            raise KeyError("the cause")
        except KeyError as error:
            raise RuntimeError("the effect") from error

    run(app)
    [(_, text)] = records(caplog)
    assert "KeyError: 'the cause'" in text
    assert text.endswith("RuntimeError: the effect")


def test_prepared_head_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """An error after start_response, before the body, is a 500 without the fields set before."""

    def app(_environ: Environ, start_response: Start) -> list[bytes]:
        start_response("200 OK", [("Set-Cookie", "session=1")])
        raise ValueError("after the start")

    exchange = run(app)
    assert exchange.status[:3] == "500"
    assert exchange.header("Set-Cookie") == ""


def test_error_after_bytes_cuts_the_response_off(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing can be taken back: the connection is cut, so that the client notices."""

    def pieces() -> Iterator[bytes]:
        yield b"first"
        raise ValueError("in the middle")

    exchange = run(app_returning(pieces()))
    assert (exchange.sent, exchange.aborted, exchange.ended) == (b"first", True, False)
    assert "ValueError: in the middle" in records(caplog)[0][1]


def test_debug_shows_the_traceback_to_the_client() -> None:
    """With --debug the answer holds the traceback, without it never."""
    error = ValueError("secret \u2603 detail")
    body = (run(app_raising(error), debug=True).whole or b"").decode()
    assert body.startswith("Internal Server Error\nrequest id-of-the-request\n\nTraceback")
    assert "ValueError: secret \u2603 detail" in body
    assert "secret" not in (run(app_raising(error)).whole or b"").decode()


def test_text_that_cannot_be_encoded_is_no_obstacle() -> None:
    """A lone surrogate in a message does not break the answer."""
    body = run(app_raising(ValueError("\udc80")), debug=True).whole
    assert body is not None
    assert b"ValueError" in body


# ---- the client's fault ----------------------------------------------------------------------


def test_client_that_went_away_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """A gone client is neither logged as an error nor answered."""
    exchange = run(app_returning([b"body"]), gone_after=0)
    assert (exchange.aborted, exchange.whole) == (True, None)
    assert records(caplog) == []


def test_client_gone_while_the_error_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    """The application's error is logged although nobody is there to hear of it."""
    exchange = run(app_raising(ValueError("broken")), gone_after=0)
    assert exchange.aborted
    assert [level for level, _ in records(caplog)] == ["ERROR"]


def test_application_may_catch_the_disconnect() -> None:
    """write() raises ClientDisconnected, a ConnectionError, which an application may catch."""
    caught: list[BaseException] = []

    def app(_environ: Environ, start_response: Start) -> list[bytes]:
        write = start_response("200 OK", [])
        try:
            write(b"one")
        except ConnectionError as error:
            caught.append(error)
        return []

    run(app, gone_after=0)
    assert [type(error) for error in caught] == [ClientDisconnected]


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        (None, "400 Bad Request"),
        (ProtocolError(408, "the request body stalled"), "408 Request Timeout"),
        (ProtocolError(413, "request body too large"), "413 Content Too Large"),
        (ProtocolError(499, "something else"), "400 Bad Request"),
    ],
)
def test_truncated_body_is_the_clients_mistake(
    cause: ProtocolError | None, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A TruncatedBody that the application lets pass is answered as what it is, without a
    traceback."""
    caplog.set_level("INFO")

    def app(_environ: Environ, _start_response: Start) -> list[bytes]:
        raise TruncatedBody("cut off") from cause

    exchange = run(app, ask("POST", body=10))
    assert (exchange.status, exchange.whole) == (status, b"cut off\n")
    assert records(caplog) == [("INFO", "[id-of-the-request] POST /: cut off")]


# ---- rules of PEP 3333 -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "result",
    [["text"], [b"a", "text"], ("text",), "text", "t", (5,), (None,), [None], b"bytes", {"a": 1}],
)
def test_body_that_is_not_bytes(result: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Text instead of bytes is refused by name, before anything wrong is sent."""
    exchange = run(app_returning(result))
    assert exchange.status[:3] == "500"
    assert exchange.sent.startswith(b"Internal Server Error")
    [(_, text)] = records(caplog)
    assert "illegal response in tests:app" in text
    assert "the body must be made of bytes, not " in text


def test_write_of_text(caplog: pytest.LogCaptureFixture) -> None:
    """write() takes bytes only; the traceback leads to the call."""

    def app(_environ: Environ, start_response: Start) -> list[bytes]:
        start_response("200 OK", [])("text")  # type: ignore[arg-type]
        return []

    assert run(app).status[:3] == "500"
    [(_, text)] = records(caplog)
    assert 'start_response("200 OK", [])("text")' in text
    assert text.endswith("the body must be made of bytes, not str")


def test_second_start_response(caplog: pytest.LogCaptureFixture) -> None:
    """A second call without exc_info is refused, at its line."""

    def app(_environ: Environ, start_response: Start) -> list[bytes]:
        start_response("200 OK", [])
        start_response("404 Not Found", [])
        return []

    assert run(app).status[:3] == "500"
    [(_, text)] = records(caplog)
    assert 'start_response("404 Not Found", [])' in text
    assert text.endswith("start_response was called a second time without exc_info")


@pytest.mark.parametrize("result", [[], [b"body"], (), iter([b"body"])])
def test_no_start_response(result: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Without start_response there is nothing to send."""
    assert run(lambda _environ, _start: result).status[:3] == "500"
    assert "the application has not called start_response" in records(caplog)[0][1]


def test_nothing_returned(caplog: pytest.LogCaptureFixture) -> None:
    """A forgotten `return` is a 500, whose log says just that."""
    assert run(app_returning(None)).status[:3] == "500"
    assert "the application returned None; it must return an iterable" in records(caplog)[0][1]


def test_generator_at_fault_is_named_with_its_line(caplog: pytest.LogCaptureFixture) -> None:
    """No frame of a generator is on the stack when its piece turns out wrong: it is named."""

    def pieces() -> Iterator[Any]:
        yield b""
        yield "wrong"

    line = pieces.__code__.co_firstlineno + 2
    assert run(app_returning(pieces())).status[:3] == "500"
    [(_, text)] = records(caplog)
    name = "test_generator_at_fault_is_named_with_its_line.<locals>.pieces"
    assert text.endswith(
        "the body must be made of bytes, not str\n"
        f"while sending what the application returned: generator {name}, {__file__}:{line}"
    )


def test_other_iterable_at_fault_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Of other iterables the type is named."""
    run(app_returning(("a", "b")))
    assert "while sending what the application returned: a tuple" in records(caplog)[0][1]


# ---- nothing is left behind ------------------------------------------------------------------


class Held:
    """Something that an application holds during a request."""


def app_with_frames(fail: Callable[[Start], Any]) -> tuple[Any, list["weakref.ref[Held]"]]:
    """An application whose frames hold something, and weak references to that."""
    held: list[weakref.ref[Held]] = []

    def app(environ: Environ, start_response: Start) -> Any:
        thing = environ["held"] = Held()
        held.append(weakref.ref(thing))
        return fail(start_response)

    return app, held


def fail_plainly(_start: Start) -> Any:
    """Raise."""
    raise ValueError("plain")


def fail_with_cause(_start: Start) -> Any:
    """Raise from another error."""
    try:
        raise KeyError("cause")
    except KeyError as error:
        raise ValueError("effect") from error


def fail_in_start(start: Start) -> Any:
    """Break a rule inside start_response."""
    start("200 OK", [])
    start("200 OK", [])


def fail_in_write(start: Start) -> Any:
    """Break a rule inside write()."""
    start("200 OK", [])(1)  # type: ignore[arg-type]


def fail_in_the_middle(start: Start) -> Any:
    """Raise while iterated."""

    def pieces(thing: Held) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"first"
        raise ValueError("middle")

    return pieces(Held())


def fail_with_wrong_pieces(start: Start) -> Any:
    """Return text."""
    start("200 OK", [])
    return iter(["text"])


def fail_after_write(start: Start) -> Any:
    """Report an error through exc_info when bytes are out."""
    start("200 OK", [])(b"out")
    try:
        raise ValueError("late")
    except ValueError as error:
        start("500 Oops", [], (type(error), error, error.__traceback__))


@pytest.mark.parametrize(
    "fail",
    [
        fail_plainly,
        fail_with_cause,
        fail_in_start,
        fail_in_write,
        fail_in_the_middle,
        fail_with_wrong_pieces,
        fail_after_write,
    ],
)
@pytest.mark.parametrize("gone_after", [None, 0])
def test_failed_request_leaves_no_cycle(
    fail: Callable[[Start], Any], gone_after: int | None
) -> None:
    """Frames, environ and exchange of a failed request are freed by reference counting alone:
    cycles would bring full collections, which stop all threads."""
    app, held = app_with_frames(fail)
    gc.collect()
    gc.disable()
    try:
        exchange: Recorder | None = run(app, gone_after=gone_after)
        left = weakref.ref(exchange)
        exchange = None
        assert [ref() for ref in held] == [None]
        assert left() is None
    finally:
        gc.enable()
