"""Gives shop and blog virtual environments with different versions of the package `greetings`.

It stands in for `python3 -m venv .venv` and `.venv/bin/pip install …`, so that the example needs no
network. Run it with the Python that is to serve the tenants.
"""

import venv
from pathlib import Path

VERSIONS = {
    "shop": ("1.0", "Good day"),
    "blog": ("2.0", "Hi there"),
}

PACKAGE = '''"""Greets."""

__version__ = {version!r}


def greet(name: str) -> str:
    """A greeting for somebody."""
    return f"{greeting}, {{name}}! (greetings {version})"
'''


def main() -> None:
    """Make what is not there yet."""
    apps = Path(__file__).resolve().parent / "apps"
    for name, (version, greeting) in VERSIONS.items():
        folder = apps / name / ".venv"
        venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
        packages = next(folder.glob("lib/python*/site-packages"))
        (packages / "greetings.py").write_text(PACKAGE.format(version=version, greeting=greeting))
        print(f"{folder}: greetings {version}")


if __name__ == "__main__":
    main()
