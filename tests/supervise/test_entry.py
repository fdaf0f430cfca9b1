"""The process that reads the configuration, and the master that it becomes."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nogilserve.config import Bind
from nogilserve.errors import ConfigError
from nogilserve.supervise.reading import read_anew
from nogilserve.supervise.spec import config_of
from tests.support.server import Server

APP = """
import json, os, sys

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    told = [os.environ.get("MIMALLOC_PURGE_DELAY"), os.getcwd(), sys.argv[1:]]
    return [json.dumps(told).encode()]
"""


def test_application_notices_nothing(tmp_path: Path, serve: Callable[..., Server]) -> None:
    """The variables, the directory and the arguments are those of the command."""
    (tmp_path / "main.py").write_text(APP)
    for given in (None, "7"):
        env = {} if given is None else {"MIMALLOC_PURGE_DELAY": given}
        server = serve("main:app", "--runtime", "threads", cwd=tmp_path, env=env)
        with server.connect() as client:
            variable, directory, arguments = json.loads(client.get("/").body)
        assert (variable, directory) == (given, os.path.realpath(tmp_path))
        assert arguments[0] == "main:app"
        assert server.stop() == 0


@pytest.mark.skipif(not os.path.exists("/proc/self/comm"), reason="the system has no such name")
def test_name_is_kept(tmp_path: Path) -> None:
    """`pkill nogilserve` finds the master."""
    (tmp_path / "main.py").write_text(APP)
    code = (
        "import sys; open('/proc/self/comm', 'w').write('nogilserve'); "
        "from nogilserve.cli import main; sys.exit(main())"
    )
    with Server("main:app", cwd=tmp_path, program=("-c", code)) as server:
        assert Path(f"/proc/{server.pid}/comm").read_text() == "nogilserve\n"
        assert server.stop() == 0


def test_read_anew(tmp_path: Path) -> None:
    """By a process of its own, to which applies what systemd has said to this one."""
    passed = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    reading = read_anew(["main:app", "--env", "A=b"], passed, str(tmp_path))
    config = config_of(reading["config"])
    assert (config.app, config.binds) == ("main:app", (Bind("fd", fd=3),))
    assert reading["given"] == {"A": "b"}
    with pytest.raises(ConfigError, match="no application given"):
        read_anew([], {}, str(tmp_path))
    with pytest.raises(ConfigError, match="--threads"):
        read_anew(["main:app", "--threads", "many"], {}, str(tmp_path))
