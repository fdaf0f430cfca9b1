"""`./dev bundle`: one file with a Python, this server and an application in it."""

import os
import signal
import subprocess
import sys
import sysconfig
import urllib.request
from pathlib import Path

import pytest

from tests.support.server import ROOT, Output
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux" or sys.version_info < (3, 14), reason="needs Linux and 3.14"
    ),
    pytest.mark.skipif(
        not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="bundles are free-threaded"
    ),
]

SECONDS = 60.0

MAIN = """
import lzma, os, sqlite3, ssl, sys, zlib
import itsdangerous

def app(environ, start_response):
    start_response("200 OK", [])
    with open("/proc/self/maps") as maps:
        libraries = {line.split()[-1] for line in maps if ".so" in line}
    return ["\\n".join([sys.prefix, itsdangerous.__file__, os.getcwd(), *libraries]).encode()]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An executable with an application that needs a package."""
    app = tmp_path_factory.mktemp("app") / "counting"
    app.mkdir()
    (app / "main.py").write_text(MAIN)
    (app / "nogilserve.toml").write_text('app = "main:app"\nbind = ["127.0.0.1:0"]\n')
    (app / "requirements.txt").write_text("itsdangerous\n")
    output = tmp_path_factory.mktemp("dist")
    ended = subprocess.run(
        [sys.executable, "tools/bundle.py", str(app), "--output", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    made = sorted(path.name for path in output.iterdir())
    assert made == ["counting", f"counting-linux-{os.uname().machine}.tar.gz"]
    assert (output / "counting").stat().st_size < 45e6
    return output / "counting"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user who has nothing."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def variables(home: Path) -> dict[str, str]:
    """Next to no environment."""
    return {"HOME": str(home), "PATH": "/usr/bin:/bin"}


@pytest.mark.timeout(240)
def test_service(service: Path, home: Path) -> None:
    """It serves with nothing but what it has brought, and what belongs to the C library."""
    process = subprocess.Popen(
        [str(service)],
        env=variables(home),
        cwd="/",
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    assert process.stderr is not None
    log = Output(process.stderr, "log")
    try:
        url = log.wait(r"Listening on (http://127.0.0.1:\d+)\s", SECONDS)[1]
        with urllib.request.urlopen(url, timeout=SECONDS) as response:
            prefix, package, directory, *libraries = response.read().decode().split("\n")
        process.terminate()
        assert process.wait(SECONDS) == 0
        log.thread.join(SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert Path(prefix).is_relative_to(home)
    assert package.startswith(f"{prefix}/lib/")
    assert directory == f"{prefix}/app"
    foreign = {Path(path).name for path in libraries if not path.startswith(prefix)}
    assert {name.partition(".")[0] for name in foreign} <= {
        "libc", "libm", "libdl", "libpthread", "librt", "libutil", "libresolv", "ld-linux-x86-64",
        "ld-linux-aarch64", "libnss_files",
    }  # fmt: skip
    assert any("libssl" in path for path in libraries)


def test_two_that_start_at_once(service: Path, home: Path) -> None:
    """Both unpack, one of them in vain, and nothing is left over; later ones need not."""
    both = [
        subprocess.Popen(
            [str(service), "--version"], env=variables(home), stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in both:
        out, _ = process.communicate(timeout=SECONDS)
        assert "free-threaded" in out
    bundles = home / ".cache/nogilserve/bundles"
    (unpacked,) = bundles.iterdir()
    before = (unpacked / "bin/nogilserve").stat()
    subprocess.run([str(service), "--version"], env=variables(home), timeout=SECONDS, check=True)
    after = (unpacked / "bin/nogilserve").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_called_by_name(service: Path, home: Path) -> None:
    """Found by PATH; its Python is there for whoever asks."""
    environment = {**variables(home), "PATH": f"{service.parent}:/usr/bin:/bin"}
    ended = subprocess.run(
        ["counting", "python", "-c", "import sys; print(sys.prefix)"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert Path(ended.stdout.strip()).is_relative_to(home)


def test_nowhere_to_unpack(service: Path, home: Path) -> None:
    """It says so, and how to name a place."""
    (home / "file").write_text("")
    ended = subprocess.run(
        [str(service), "--version"],
        env={**variables(home), "NOGILSERVE_BUNDLES": str(home / "file")},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert "cannot write to" in ended.stderr
    assert "NOGILSERVE_BUNDLES" in ended.stderr


def test_interrupted_while_it_unpacks(service: Path, home: Path) -> None:
    """Nothing half-done is left, nor ever taken for the whole."""
    bundles = home / ".cache/nogilserve/bundles"
    process = subprocess.Popen(
        [str(service), "--version"], env=variables(home), stdout=subprocess.DEVNULL
    )
    wait_until(lambda: bundles.is_dir() and any(bundles.iterdir()), SECONDS)
    process.terminate()
    assert process.wait(SECONDS) in (0, 130, -signal.SIGTERM)  # the last: of Python already
    assert all((folder / ".complete").exists() for folder in bundles.iterdir())


@pytest.mark.parametrize(
    ("files", "words"), [([], "has no nogilserve.toml"), (None, "is not a folder")]
)
def test_no_application(tmp_path: Path, files: list[str] | None, words: str) -> None:
    """What is missing is said before anything is installed, or instead of it."""
    folder = tmp_path / "app"
    if files is not None:
        folder.mkdir()
    ended = subprocess.run(
        [sys.executable, "tools/bundle.py", str(folder), "--output", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert words in ended.stderr
