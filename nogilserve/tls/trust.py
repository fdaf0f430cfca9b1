"""`nogilserve trust`: how to have this system trust the user's own certificate authority."""

import sys
from collections.abc import Sequence
from pathlib import Path

from nogilserve.errors import ConfigError
from nogilserve.tls.local import ensure_authority

__all__ = ["instructions", "main"]

_HELP = """usage: nogilserve trust

Say how to have this system trust the authority of --tls-internal."""
_DEBIAN = Path("/usr/local/share/ca-certificates")
_FEDORA = Path("/etc/pki/ca-trust/source/anchors")
_ARCH = Path("/etc/ca-certificates/trust-source/anchors")
_SUSE = Path("/etc/pki/trust/anchors")


def main(argv: Sequence[str]) -> int:
    """Print it; the authority is made if it is not there yet. Raises ConfigError."""
    if argv and argv[0] in ("-h", "--help"):
        print(_HELP)
        return 0
    if argv:
        raise ConfigError(f"unexpected argument {argv[0]!r}: `nogilserve trust` takes none")
    print(instructions(ensure_authority(), sys.platform), end="")
    return 0


def instructions(root: Path, platform: str) -> str:
    """What to do on a system, as text."""
    lines = [f"The certificate of your authority: {root}", ""]
    if platform == "darwin":
        keychain = "~/Library/Keychains/login.keychain-db"
        lines += [
            "Have macOS trust it (Safari, Chrome):",
            f'  security add-trusted-cert -r trustRoot -k {keychain} "{root}"',
        ]
    elif platform == "win32":
        lines += ["Have Windows trust it:", f'  certutil -user -addstore Root "{root}"']
    else:
        lines += ["Have the system trust it (curl, wget and most programs):", *_linux(root)]
        lines += [
            "",
            "Chrome and Chromium have a store of their own (apt-get install libnss3-tools):",
            f'  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n nogilserve -i "{root}"',
        ]
    lines += [
        "",
        "Firefox: Settings, Privacy & Security, View Certificates, Authorities, Import.",
        f'Python programs: SSL_CERT_FILE="{root}" or REQUESTS_CA_BUNDLE="{root}".',
        f'A single request: curl --cacert "{root}" https://localhost:8000/',
        "",
        f"Whoever has {root.with_suffix('.key')} can pretend to be any site to those who",
        "trust it: keep it to yourself.",
    ]
    return "\n".join(lines) + "\n"


def _linux(root: Path) -> list[str]:
    if _FEDORA.is_dir():
        return [f'  sudo cp "{root}" {_FEDORA}/nogilserve.pem', "  sudo update-ca-trust"]
    if _ARCH.is_dir():
        return [f'  sudo trust anchor --store "{root}"']
    if _SUSE.is_dir():
        return [f'  sudo cp "{root}" {_SUSE}/nogilserve.pem', "  sudo update-ca-certificates"]
    return [f'  sudo cp "{root}" {_DEBIAN}/nogilserve.crt', "  sudo update-ca-certificates"]
