"""What is there for running it: images, units of systemd, a manifest for Kubernetes."""

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.server import ROOT, Server

DOCKERFILES = ["Dockerfile", "Dockerfile.py313t"]
MANIFEST = (ROOT / "deploy/kubernetes/my-app.yaml").read_text()


@pytest.mark.parametrize("name", DOCKERFILES)
def test_image(name: str) -> None:
    """What is copied exists, what is run can be, and the version is one that can be built."""
    text = (ROOT / name).read_text().replace("\\\n", "")
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
    paths = [path for line in copied for path in line.split()]
    assert {"tools/", "nogilserve/", "pyproject.toml"} <= set(paths)
    for path in paths:
        assert (ROOT / path).exists(), path
    for script in re.findall(r"tools/\S+\.sh", text):
        assert os.access(ROOT / script, os.X_OK), script
    version = re.search(r"--version (\S+)", text)
    assert version is not None
    assert re.search(rf"^\S*\b{re.escape(version[1])}\.", sources(), re.MULTILINE)
    packages = re.search(r"libssl3 .*media-types", text)
    assert packages is not None
    user = re.search(r"--uid (\d+)", text)
    assert user is not None
    assert f"USER {user[1]}" in text
    assert f"runAsUser: {user[1]}" in MANIFEST
    extras = re.search(r"/opt/nogilserve (\S+)", text)
    assert extras is not None
    declared = (ROOT / "pyproject.toml").read_text()
    for extra in extras[1].split(","):
        assert re.search(rf"^{extra} = \[", declared, re.MULTILINE), extra


def sources() -> str:
    """The releases of Python that tools/build-python.sh knows."""
    return (ROOT / "tools/python-source.txt").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="images are of Linux")
@pytest.mark.timeout(240)
def test_steps_of_the_image(tmp_path: Path) -> None:
    """The commands of the Dockerfile, in a fresh folder: Python made slim, the server installed."""
    python, target = tmp_path / "python", tmp_path / "nogilserve"
    shutil.copytree(sys.base_prefix, python, symlinks=True)
    extras = "metrics,redis,reload,speed"
    said = ""
    for command in (
        ["tools/slim-python.sh", str(python)],
        ["tools/install.sh", str(python / "bin/python3"), str(target), extras],
    ):
        ended = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        said = ended.stdout
    assert "free-threaded" in said or "with a GIL" in said
    size = sum(path.lstat().st_size for path in python.rglob("*") if path.is_file())
    assert size < 120e6
    (tmp_path / "app").mkdir()
    shutil.copy(ROOT / "examples/wsgi_hello.py", tmp_path / "app/main.py")
    environment = {"PATH": f"{target / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path)}
    process = subprocess.Popen(
        ["nogilserve", "main:app", "--bind", "127.0.0.1:0"],
        cwd=tmp_path / "app",
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        address = ""
        for line in process.stderr:
            if "Listening on" in line:
                address = line.split()[-1]
                break
        with urllib.request.urlopen(address, timeout=20) as response:
            assert response.status == 200
        health = subprocess.run(
            ["nogilserve", "status", "--bind", address.removeprefix("http://")],
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert health.returncode == 0, health.stderr
        process.terminate()
        process.stderr.read()
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stderr.close()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_units_of_systemd(tmp_path: Path) -> None:
    """systemd finds no fault with them."""
    program = tmp_path / "nogilserve"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for kind in ("service", "socket"):
        text = (ROOT / f"deploy/systemd/nogilserve.{kind}").read_text()
        text = text.replace("/srv/my-app/.venv/bin/nogilserve", str(program))
        (tmp_path / f"my-app.{kind}").write_text(text)
    ended = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "my-app.service"),
         str(tmp_path / "my-app.socket")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    ours = [line for line in ended.stderr.splitlines() if "my-app" in line]
    assert ours == []


def test_manifest_of_kubernetes() -> None:
    """The server takes its arguments, answers its probes, and admin asks for the token."""
    arguments = re.findall(r"^            - (main:app|--\S+)$", MANIFEST, re.MULTILINE)
    assert arguments[0] == "main:app"
    probes = re.findall(r"path: (/-/\w+)", MANIFEST)
    assert len(probes) == 3
    options = [
        re.sub(r"=0\.0\.0\.0:\d+", "=127.0.0.1:0", each)
        for each in arguments[1:]
        if not each.startswith("--access-log")
    ]
    environment = {"NOGILSERVE_ADMIN_TOKEN": "a-secret-of-this-test"}
    with Server("examples.wsgi_hello:app", *options, env=environment) as server:
        for path in probes:
            with urllib.request.urlopen(f"{server.url}{path}", timeout=20) as response:
                assert response.status == 200
