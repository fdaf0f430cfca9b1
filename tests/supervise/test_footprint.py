"""What the server's processes import: every server and every tenant pays for it in memory."""

import json
import subprocess
import sys

READING = {"nogilserve.config.options", "nogilserve.config.loading", "argparse", "tomllib"}
"""What only who reads a configuration needs."""
HEAVY = {"asyncio", "ssl", "http.client", "email", "html.entities", "zipfile", "multiprocessing"}
RARE = {
    *("h11", "hpack", "wsproto", "websockets", "nogilserve.runtimes.processes"),
    *("nogilserve.config.templates", "nogilserve.runtimes.tenants", "nogilserve.observe.slow"),
}
"""What a few servers or requests need."""
THREADS = {"nogilserve.engine.core", "nogilserve.gateways.wsgi"}
"""What serves an application that event loops do not serve."""
MASTERS = {
    *("pathlib", "shutil", "asyncio", "ssl", "nogilserve.engine.counters"),
    *("logging", "traceback", "dataclasses", "inspect"),
}


def imported(*modules: str) -> set[str]:
    """The modules of a process that imports these."""
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout))


def test_a_generation_imports_nothing_heavy() -> None:
    """Event loops, TLS, HTTP clients and the like are for those that use them."""
    assert not imported("nogilserve.supervise.generation") & (HEAVY | READING | RARE)


def test_event_loops_import_nothing_rare() -> None:
    """WebSockets and unusual heads are for those that meet them."""
    found = imported("nogilserve.supervise.generation", "nogilserve.runtimes.asgi")
    assert "nogilserve.engine.loop.connection" in found
    assert not found & (READING | RARE | THREADS)


def test_a_master_imports_little() -> None:
    """It idles nearly always."""
    found = imported("nogilserve.supervise.entry", "nogilserve.supervise.master")
    assert not found & (READING | RARE | MASTERS)
