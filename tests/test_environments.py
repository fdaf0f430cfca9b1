"""One application with a Python and packages of its own: --venv, --python, variables from files."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from nogilserve.config.reserved import why_reserved
from tests.support.server import ROOT, Server
from tests.support.tenants import APP, environment
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="not on this system")

OTHERS = (
    Path.home() / ".cache/nogilserve/python/3.14.7-gil/bin/python3.14",
    Path.home() / ".cache/nogilserve/python/3.13.15-ft/bin/python3.13t",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """main.py, and .venv with the package it needs."""
    folder = tmp_path_factory.mktemp("environments").resolve()
    (folder / "main.py").write_text(APP)
    environment(folder / ".venv", "1.0")
    environment(folder / "next", "2.0")
    return folder


def ask(server: Server) -> dict[str, Any]:
    """What the application sees of its surroundings."""
    with server.connect() as client:
        found: dict[str, Any] = json.loads(client.get("/").body)
    return found


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "nogilserve", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [(), ("--no-master",), ("--runtime=processes", "--workers=1")],
    ids=["master", "alone", "processes"],
)
def test_packages_of_an_environment(folder: Path, arguments: tuple[str, ...]) -> None:
    """They are the application's, with the environment's own Python, whatever serves."""
    with Server("main:app", f"--working-dir={folder}", "--venv=.venv", *arguments) as server:
        found = ask(server)
    assert found["gadget"] == "1.0"
    assert found["prefix"] == f"{folder}/.venv"
    assert found["cwd"] == str(folder)
    assert found["environ"]["VIRTUAL_ENV"] == f"{folder}/.venv"


def test_a_reload_takes_the_environment_that_is_there_now(folder: Path) -> None:
    """As after a deployment that has made a link point to the next one."""
    link = folder / "current"
    link.symlink_to(".venv")
    with Server("main:app", f"--working-dir={folder}", "--venv=current") as server:
        assert ask(server)["gadget"] == "1.0"
        link.unlink()
        link.symlink_to("next")
        server.signal(signal.SIGHUP)
        wait_until(lambda: ask(server)["gadget"] == "2.0", timeout=10)
        link.unlink()
        server.signal(signal.SIGHUP)
        server.wait_log("Generation 3 did not start.*'current' is not a directory")
        assert ask(server)["gadget"] == "2.0"


@pytest.mark.parametrize("python", OTHERS, ids=lambda path: path.parts[-3])
def test_another_python(folder: Path, tmp_path: Path, python: Path) -> None:
    """One of another version or build runs the application; the packages are lent to it."""
    if not python.exists():
        pytest.skip(f"{python} was not built here")
    made = tmp_path / "venv"
    subprocess.run([python, "-m", "venv", "--without-pip", made], check=True, timeout=60)
    packages = next(made.glob("lib/python*/site-packages"))
    (packages / "gadget.py").write_text("VERSION = 'other'\n")
    with Server("main:app", f"--working-dir={folder}", f"--venv={made}") as server:
        found = ask(server)
        assert found["gadget"] == "other"
        assert found["prefix"] == str(made)
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        free = "t" in python.name.removeprefix("python")
        assert ("free-threaded" if free else "with the GIL") in server.log
    both = Server("main:app", f"--working-dir={folder}", f"--venv={made}", f"--python={python}")
    with both as server:
        assert ask(server)["gadget"] == "other"
    done = run(folder, "main:app", "--venv=.venv", f"--python={python}", "--check-config")
    assert done.returncode == 2
    assert "'.venv' was made for python" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--venv=nowhere",), "'nowhere' is not a directory; make one with python3 -m venv"),
        (("--venv=.",), "'.' is no virtual environment: it has no pyvenv.cfg"),
        (("--python=nowhere/python",), "'nowhere/python' is no program that can be run"),
        (("--python=main.py",), "is no program that can be run"),
        (("--python=/bin/false",), "/bin/false does not run"),
        (("--working-dir=nowhere",), "'nowhere' from the command line is not a directory"),
        (("--env-file=nowhere",), "'nowhere' from the command line cannot be used"),
        (("--env-file=preload.env",), "LD_PRELOAD cannot stand in preload.env"),
        (("--config=env.toml",), "PYTHONHOME cannot stand in "),
    ],
)
def test_what_is_wrong_is_said(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    """Before anything is served, in a sentence, with exit status 2."""
    (folder / "preload.env").write_text("FINE=1\nLD_PRELOAD=/tmp/x.so\n")
    (folder / "env.toml").write_text('app = "main:app"\n[env]\nPYTHONHOME = "/"\n')
    done = run(folder, "main:app", *arguments, "--check-config")
    assert done.returncode == 2
    assert message in done.stderr


def test_an_environment_whose_python_is_gone(folder: Path, tmp_path: Path) -> None:
    """It is said how to repair it; the server does not start."""
    made = environment(tmp_path / "venv", "1.0")
    for path in (made / "bin").glob("python*"):
        path.unlink()
    done = run(folder, "main:app", f"--venv={made}", "--bind=127.0.0.1:0")
    assert done.returncode == 2
    assert "repair it with python3 -m venv --upgrade" in done.stderr


def test_checking_uses_the_environment(folder: Path) -> None:
    """--check-config imports the application as serving does."""
    assert (
        "is a WSGI application" in run(folder, "main:app", "--venv=.venv", "--check-config").stdout
    )
    assert "No module named 'gadget'" in run(folder, "main:app", "--check-config").stderr


@pytest.mark.parametrize(
    ("name", "reserved"),
    [
        ("LD_LIBRARY_PATH", True),
        ("ld_preload", True),
        ("DYLD_INSERT_LIBRARIES", True),
        ("GLIBC_TUNABLES", True),
        ("PYTHONHOME", True),
        ("LISTEN_FDS", True),
        ("_NOGILSERVE_HANDOVER", True),
        ("PYTHONPATH", False),
        ("DATABASE_URL", False),
        ("LDAP_SERVER", False),
    ],
)
def test_reserved_names(name: str, reserved: bool) -> None:
    """What decides which code is loaded cannot be set by a file."""
    assert bool(why_reserved(name)) == reserved
