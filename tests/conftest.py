"""Fixtures and guards for every test."""

import os
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest

from tests.support.leaks import Possessions
from tests.support.server import Server
from tests.support.turns import turn

TURNS = "TESTS_TURNS"
"""The variable that names the folder of turns, where several processes run tests."""

# The same examples on every machine and in every run; a failure prints how to repeat it.
hypothesis.settings.register_profile(
    "ci", derandomize=True, deadline=None, print_blob=True, database=None
)
hypothesis.settings.load_profile("ci")

# Applications are written anew within a second and with the same length, which bytecode that
# servers have kept does not see. Of nogilserve the processes that run tests keep it (./dev).
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

# A shell starts what it runs in the background with SIGINT ignored, and servers would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """With -n: a folder in which the processes that run tests agree who may."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="nogilserve-turns-")
        os.environ[TURNS] = folder.name
        config.add_cleanup(folder.cleanup)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that want to be alone come last, when nobody has much left to wait for."""
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """With -n: `@pytest.mark.alone("why")` keeps others away. Waiting is not the test's time."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with turn(Path(os.environ[TURNS]), alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test has logged may hold lone surrogates, which xdist cannot send."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def guard_against_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves threads or file descriptors behind.

    It is set up first and torn down last, so what other fixtures of the test hold does not
    count. `@pytest.mark.keeps_open("why")` excuses a test.
    """
    before = Possessions()
    yield
    if request.node.get_closest_marker("keeps_open") is None:
        leaked = before.wait_for_no_leak(timeout=5.0)
        if leaked:
            pytest.fail("left behind: " + ", ".join(leaked), pytrace=False)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start real servers: `serve("tests.apps.torture:app", "--threads", "4")`.

    Takes what `Server` takes. At the end of the test each is stopped and must exit with 0,
    unless the test has waited for its end itself.
    """
    with ExitStack() as servers:

        def start(*arguments: str, **options: object) -> Server:
            return servers.enter_context(Server(*arguments, **options))  # type: ignore[arg-type]

        yield start
