"""Fixtures and guards for every test."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import hypothesis
import pytest

from tests.support.leaks import Possessions
from tests.support.server import Server

# The same examples on every machine and in every run; a failure prints how to repeat it.
hypothesis.settings.register_profile(
    "ci", derandomize=True, deadline=None, print_blob=True, database=None
)
hypothesis.settings.load_profile("ci")

# A shell starts what it runs in the background with SIGINT ignored, and servers would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
