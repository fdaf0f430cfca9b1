"""Put nogilserve, its packages and this free-threaded Python into one file that runs anywhere.

    ./dev bundle [APP_DIR] [--output DIR]

Makes nogilserve-VERSION-SYSTEM.tar.gz and an executable that unpacks itself. With APP_DIR the file
is a service: the folder's application, with the packages of its requirements.txt, served as its
nogilserve.toml says. Runs with the interpreter that is bundled.
"""

import argparse
import compileall
import gzip
import hashlib
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from py_compile import PycInvalidationMode

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "tools"
NAME = f"python{sys.version_info.major}.{sys.version_info.minor}{sys.abiflags}"

# What a server has no use for: tests, graphics, what makes extensions, and what draws turtles.
UNUSED = {
    "__pycache__", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test", "tests", "tkinter",
    "turtledemo", "turtle.py",
}  # fmt: skip
UNUSED_EXTENSIONS = re.compile(
    r"(_tkinter|_test\w*|_xxtestfuzz|xx\w*|_ctypes_test|readline|_curses\w*|_dbm|_gdbm)\."
)
# Of the C library, which every Linux has; whoever brings his own cannot use the system's modules.
SYSTEMS_OWN = re.compile(
    r"(linux-vdso|ld-linux\S*|lib(c|m|dl|rt|pthread|util|resolv))\.so(\.\d+)?$"
)


def say(text: str) -> None:
    """Progress, for people."""
    print(f"bundle: {text}", file=sys.stderr, flush=True)


def run(*command: str | Path) -> str:
    """What a command writes; SystemExit, with what it says, when it fails."""
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"bundle: {' '.join(map(str, command[:4]))} … failed:\n{ended.stderr}")
    return ended.stdout


# ---- Python ----------------------------------------------------------------------------------


def copy_python(home: Path) -> Path:
    """This interpreter and what it needs of its library; where packages belong."""
    base = Path(sys.base_prefix)
    (home / "bin").mkdir(parents=True)
    binary = home / "bin" / NAME
    shutil.copy2(base / "bin" / NAME, binary)
    (home / "bin" / "python3").symlink_to(NAME)
    library = home / "lib" / NAME

    def unused(folder: str, names: list[str]) -> set[str]:
        below = Path(folder).relative_to(base / "lib" / NAME)
        found = {name for name in names if name in UNUSED or name.startswith("config-")}
        if below.name == "lib-dynload":
            found |= {name for name in names if UNUSED_EXTENSIONS.match(name)}
        return found

    shutil.copytree(base / "lib" / NAME, library, ignore=unused, symlinks=True)
    packages = library / "site-packages"
    packages.mkdir()
    return packages


def elf_files(folder: Path) -> Iterator[Path]:
    """Programs and shared objects below a folder."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


def gather_libraries(home: Path) -> None:
    """Copy what the system's packages provide to whoever builds; have everything look there."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    patchelf = shutil.which("patchelf", path=beside)
    if patchelf is None:
        raise SystemExit("bundle: patchelf is missing (./dev bundle installs it)")
    target = home / "lib" / "system"
    target.mkdir()
    for path in list(elf_files(home)):
        for line in run("ldd", path).splitlines():
            name, arrow, found = (*line.split(), "", "", "")[:3]
            if arrow != "=>" or SYSTEMS_OWN.fullmatch(name):
                continue
            if found == "not":
                raise SystemExit(f"bundle: {path.name} needs {name}, which is not here")
            real = Path(found)
            inside = real.resolve().is_relative_to(home.resolve())
            if not inside and not (target / name).exists():
                shutil.copy2(real, target / name)
    for path in elf_files(home):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
        if shutil.which("strip"):
            run("strip", "--strip-unneeded", path)
        if path.is_relative_to(home / "lib" / NAME / "site-packages"):
            continue  # wheels bring their own libraries and know where they are
        where = os.path.relpath(target, path.parent)
        run(patchelf, "--force-rpath", "--set-rpath", f"$ORIGIN/{where}", path)


# ---- packages --------------------------------------------------------------------------------


def extras() -> str:
    """All optional dependencies: a bundle cannot be added to."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return ",".join(sorted(document["project"]["optional-dependencies"]))


def install(packages: Path, *what: str | Path) -> None:
    """Have pip put packages there."""
    run(
        sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-input",
        "--no-compile", "--no-build-isolation", "--upgrade", "--target", packages, *what,
    )  # fmt: skip


def check(app: Path) -> None:
    """Refuse a folder that cannot be a service."""
    if not app.is_dir():
        raise SystemExit(f"bundle: {app} is not a folder")
    if not (app / "nogilserve.toml").is_file():
        raise SystemExit(
            f"bundle: {app} has no nogilserve.toml, which says what to serve; "
            'the least is a line such as app = "main:app"'
        )


def embed(app: Path, home: Path, packages: Path) -> str:
    """Copy an application and install its packages; the lines that serve it."""
    requirements = app / "requirements.txt"
    if requirements.is_file():
        say(f"installing the packages of {requirements.name}")
        install(packages, "-c", TOOLS / "constraints.txt", "-r", requirements)
    leave = shutil.ignore_patterns("__pycache__", ".git", ".venv", "venv", "*.pyc", "node_modules")
    shutil.copytree(app, home / "app", ignore=leave)
    return ': "${NOGILSERVE_CHDIR:=$(dirname -- "$bin")/app}"\nexport NOGILSERVE_CHDIR\n'


# ---- one file --------------------------------------------------------------------------------


def digest(home: Path) -> str:
    """Names the content: what is unpacked under it is never another."""
    total = hashlib.sha256()
    for path in sorted(home.rglob("*")):
        total.update(str(path.relative_to(home)).encode() + b"\0")
        if path.is_symlink():
            total.update(os.readlink(path).encode())
        elif path.is_file():
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:20]


def archive(home: Path, name: str, target: Path) -> None:
    """Everything below `home` as NAME/… in a .tar.gz that depends on the content alone."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    with target.open("wb") as file:
        with gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
            with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
                for path in sorted(home.rglob("*")):
                    tar.add(path, f"{name}/{path.relative_to(home)}", recursive=False, filter=plain)


def filled(template: str, **values: str) -> str:
    """The text of a script in tools/, with its @NAMES@ filled in."""
    text = (TOOLS / template).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key.upper()}@", value)
    return text


def executable(packed: Path, name: str, ident: str, target: Path) -> None:
    """A script that unpacks what stands behind it."""
    lines = filled("bundle-start.sh", id=ident, name=name).count("\n")
    start = filled("bundle-start.sh", id=ident, name=name, line=str(lines + 1))
    with target.open("wb") as out, packed.open("rb") as data:
        out.write(start.encode())
        shutil.copyfileobj(data, out)
    target.chmod(0o755)


def main(arguments: Iterable[str] | None = None) -> int:
    """Make the two files, and say where they are."""
    parser = argparse.ArgumentParser(prog="./dev bundle", description=__doc__)
    parser.add_argument("app", nargs="?", type=Path, help="a folder with an application")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="where to [dist/]")
    chosen = parser.parse_args(None if arguments is None else list(arguments))
    if platform.system() != "Linux" or sysconfig.get_config_var("Py_ENABLE_SHARED"):
        raise SystemExit("bundle: this needs Linux, and a Python without a libpython.so")
    if NAME == "python3.13t":
        raise SystemExit("bundle: some packages have no wheels for this Python; 3.14t has all")
    if chosen.app is not None:
        check(chosen.app)
    version = re.search(r'__version__ = "(.+)"', (ROOT / "nogilserve/__init__.py").read_text())
    assert version is not None
    title = chosen.app.resolve().name if chosen.app else f"nogilserve-{version[1]}"
    name = f"{title}-linux-{platform.machine()}"
    chosen.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nogilserve-bundle-") as folder:
        home = Path(folder, name)
        say(f"copying Python {platform.python_version()}")
        packages = copy_python(home)
        say("installing nogilserve and its packages")
        install(packages, "-c", TOOLS / "constraints.txt", f"{ROOT}[{extras()}]")
        shutil.rmtree(packages / "bin", ignore_errors=True)
        embedded = embed(chosen.app.resolve(), home, packages) if chosen.app else ""
        start = home / "bin" / "nogilserve"
        start.write_text(filled("bundle-run.sh", python=NAME, embedded=embedded))
        start.chmod(0o755)
        say("gathering the libraries of the system")
        gather_libraries(home)
        say("compiling")
        compileall.compile_dir(
            home / "lib", quiet=2, stripdir=folder, workers=0,
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )  # fmt: skip
        packed = chosen.output / f"{name}.tar.gz"
        say("packing")
        ident = digest(home)
        archive(home, name, packed)
    program = chosen.output / (title if chosen.app else "nogilserve")
    executable(packed, name, ident, program)
    for path in (packed, program):
        print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
