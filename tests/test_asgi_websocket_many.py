"""Two thousand WebSockets at once on four loops of one process."""

import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.apps.asgi_served import LOOPS, TORTURE, AsgiServed
from tests.support.server import ROOT, Output

CLIENTS, EACH, MESSAGES = 2, 1000, 20
ENOUGH = CLIENTS * EACH + 500


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Raise the soft limit of open files, which the server inherits, for the time of a test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < ENOUGH:
        pytest.skip(f"the system allows {hard} open files, {ENOUGH} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, ENOUGH), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("loop", LOOPS)
def test_two_thousand(loop: str, descriptors: None) -> None:
    """Messages come back in order and none is lost; SIGTERM closes all of them in good time."""
    arguments = ("--loops", "4", "--loop", loop, "--ws-ping-interval", "5")
    with AsgiServed(TORTURE, *arguments) as server:
        command = [sys.executable, "-m", "tests.apps.many_websockets", str(server.port)]
        command += [str(EACH), str(MESSAGES)]
        processes = [
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(CLIENTS)
        ]
        outputs = []
        try:
            for process in processes:
                assert process.stdout is not None
                outputs.append(Output(process.stdout, f"stdout of {process.pid}"))
            for output in outputs:
                output.wait("^ready$", 90)
            began = time.monotonic()
            server.signal(signal.SIGTERM)
            results = [json.loads(output.wait(r"^\{.*\}$", 30)[0]) for output in outputs]
            assert server.wait() == 0
            assert time.monotonic() - began < 20
            for process in processes:
                assert process.wait(10) == 0
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.wait(10)
            for output in outputs:
                output.thread.join(5)
    for result in results:
        assert result["opened"] == EACH
        assert result["in order"] == EACH * MESSAGES
        assert set(result["codes"]) <= {"1001", "1012"}, result
    assert "Traceback" not in server.log
