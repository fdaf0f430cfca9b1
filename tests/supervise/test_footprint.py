"""What a serving process imports before it knows what it serves: every tenant pays for it."""

import json
import subprocess
import sys

HEAVY = {"asyncio", "ssl", "http.client", "email", "html.entities", "zipfile", "multiprocessing"}


def test_a_generation_imports_nothing_heavy() -> None:
    """Event loops, TLS, HTTP clients and the like are for those that use them."""
    code = "import json, sys, nogilserve.supervise.generation; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert HEAVY & set(json.loads(done.stdout)) == set()
