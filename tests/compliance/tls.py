"""Judges TLS by sslscan and testssl, foreign programs: `python -m tests.compliance.tls`.

Starts a WSGI server with an ECDSA and an RSA certificate, and prints what the programs found.
Exit status 1 if an old protocol, a weak cipher, a small key or a known vulnerability is among it.
`--record FILE` writes the findings to a file, without what differs from run to run.
"""

import argparse
import json
import shutil
import ssl
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.support.certificates import Authority
from tests.support.server import Server

__all__ = ["main"]

APP: Final = "tests.apps.tls_apps:wsgi"
OPENSSL: Final = " ".join(ssl.OPENSSL_VERSION.split()[:2])
HEAD: Final = f"""# What sslscan and testssl say of TLS here

`python -m tests.compliance.tls --record tests/compliance/tls.md` writes this file: a WSGI server
with an ECDSA and an RSA certificate on {OPENSSL}. Findings that differ from run to run, and
those about the certificates made for it, are left out.

"""
GOOD: Final = ("OK", "INFO")
EXPECTED: Final = {
    # Not of the protocol: the certificate is one for tests, and so are its host and authority.
    "cert_chain_of_trust",
    "cert_trust",
    "cert_caIssuers",
    "cert_crlDistributionPoints",
    "cert_expirationStatus",
    "cert_ocspURL",
    "cert_revocation",
    "cert_extlifeSpan",
    "cert_notAfter",
    "CAA_record",
    "DNS_CAArecord",
    "OCSP_stapling",
    "certificate_transparency",
}
"""Findings about certificates for tests, which say nothing about the server."""


def sslscan(port: int) -> tuple[list[str], list[str]]:
    """What it found, and what of that is wrong."""
    command = ["sslscan", "--no-colour", "--xml=-", f"127.0.0.1:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    root = ET.fromstring(done.stdout)
    found, wrong = [], []
    for item in root.iter("protocol"):
        line = f"{item.get('type')} {item.get('version')} {'on' if is_on(item) else 'off'}"
        found.append(line)
        if is_on(item) and (item.get("type"), item.get("version")) not in (
            ("tls", "1.2"),
            ("tls", "1.3"),
        ):
            wrong.append(line)
    for item in root.iter("cipher"):
        line = f"{item.get('sslversion')} {item.get('cipher')} {item.get('bits')} bits"
        found.append(line)
        if item.get("strength") not in ("strong", "acceptable") or "CBC" in line:
            wrong.append(f"{line}: {item.get('strength')}")
    for name, bad in (("compression", "1"), ("heartbleed", "1"), ("renegotiation", None)):
        for item in root.iter(name):
            key = "vulnerable" if name == "heartbleed" else "supported"
            found.append(f"{name} {item.get('sslversion', '')} {key}={item.get(key)}".strip())
            if bad is not None and item.get(key) == bad:
                wrong.append(found[-1])
    return found, wrong


def is_on(item: ET.Element) -> bool:
    """Whether a protocol is spoken."""
    return item.get("enabled") == "1"


def testssl(port: int, folder: Path) -> tuple[list[str], list[str]]:
    """What it found, and what of that is wrong."""
    file = folder / "testssl.json"
    program = shutil.which("testssl") or shutil.which("testssl.sh")
    assert program is not None
    command = [program, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "min"]
    # Protocols, server defaults, forward secrecy, ciphers, the vulnerabilities.
    command += ["-p", "-s", "-f", "-S", "-U", "--jsonfile", str(file), f"127.0.0.1:{port}"]
    subprocess.run(command, capture_output=True, timeout=900, check=False)
    rows: list[dict[str, Any]] = json.loads(file.read_text())
    found, wrong = [], []
    for row in rows:
        line = f"{row['id']}: {row['finding']} ({row['severity']})"
        found.append(line)
        known = any(row["id"].startswith(name) for name in EXPECTED)
        if row["severity"] not in (*GOOD, "LOW", "WARN") and not known:
            wrong.append(line)
    return found, wrong


def stable(lines: list[str]) -> Iterator[str]:
    """Those that are the same in every run."""
    changing = (
        "cert",
        "scanTime",
        "engine",
        "TLS_timestamp",
        "service",
        "cipherlist",
        "clock",
        "DROWN_hint",
    )
    return (line for line in lines if not line.startswith(changing))


def main() -> int:
    """Judge; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, metavar="FILE", help="write the findings there")
    options = parser.parse_args()
    judges = [name for name in ("sslscan", "testssl") if shutil.which(name)]
    if not judges:
        print("Neither sslscan nor testssl is there: apt-get install sslscan testssl.sh")
        return 2
    report: list[str] = []
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = Authority(folder)
        arguments = []
        for kind in ("ec", "rsa"):
            certificate, key = authority.issue("localhost", "127.0.0.1", label=kind, key=kind)
            arguments += ["--certfile", str(certificate), "--keyfile", str(key)]
        with Server(APP, *arguments, "--http", "1") as server:
            for judge in judges:
                print(f"{judge} …", file=sys.stderr)
                found, wrong = (
                    sslscan(server.port) if judge == "sslscan" else testssl(server.port, folder)
                )
                failed = failed or bool(wrong)
                report += [
                    f"## {judge}",
                    "",
                    *stable(found),
                    "",
                    f"wrong: {wrong or 'nothing'}",
                    "",
                ]
    print("\n".join(report))
    if options.record:
        options.record.write_text(HEAD + "\n".join(report))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
