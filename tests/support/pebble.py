"""A real certificate authority on loopback: pebble, and pebble-challtestsrv as its name server.

Every name resolves to the address given, where it connects to `http_port` and `tls_port`.
"""

import contextlib
import http.client
import json
import os
import random
import shutil
import socket
import ssl
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.support.server import Output
from tests.support.waiting import wait_until

__all__ = ["Pebble", "free_port", "needs_pebble"]

needs_pebble = pytest.mark.skipif(
    shutil.which("pebble") is None or shutil.which("pebble-challtestsrv") is None,
    reason="needs pebble and pebble-challtestsrv (Debian: pebble)",
)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now, and that the system gives to nobody by itself: it is bound
    a moment later, by another process."""
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind((host, port))
            return port


class Pebble:
    """Started and stopped with the context; `start` and `stop` go between. It forgets everything
    when it is stopped, accounts as well."""

    def __init__(
        self,
        folder: Path,
        *,
        address: str = "127.0.0.1",
        validity: int = 0,
        eab: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        """`validity`: life of certificates in seconds, 0: five years. `eab`: keys by identifier,
        one of which an account needs."""
        self.folder = folder
        self.address = address
        self.port, self.http_port, self.tls_port = free_port(), free_port(), free_port()
        self.dns_port, self.dns_management = free_port(), free_port()
        self.management = free_port()
        self.env = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "5", **(env or {})}
        self.ca_file = folder / "endpoint-ca.pem"
        self.process: subprocess.Popen[bytes] | None = None
        self.output: Output | None = None
        make_endpoint_certificate(folder)
        settings: dict[str, Any] = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(folder / "endpoint.pem"),
            "privateKey": str(folder / "endpoint-key.pem"),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": bool(eab),
            **more,
        }
        if eab:
            settings["externalAccountMACKeys"] = dict(eab)
        if validity:
            settings["certificateValidityPeriod"] = validity
        (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
        self.names = subprocess.Popen(
            [
                *("pebble-challtestsrv", "-defaultIPv4", address, "-defaultIPv6", ""),
                *("-dns01", f"127.0.0.1:{self.dns_port}", "-http01", "", "-https01", ""),
                *("-tlsalpn01", "", "-management", f"127.0.0.1:{self.dns_management}"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def directory(self) -> str:
        """The directory URL."""
        return f"https://127.0.0.1:{self.port}/dir"

    @property
    def options(self) -> list[str]:
        """What a server needs to use it."""
        return ["--acme-directory", self.directory, "--acme-ca-bundle", str(self.ca_file)]

    def start(self) -> Self:
        """Start it, without waiting for anything it has forgotten."""
        self.process = subprocess.Popen(
            [
                *("pebble", "-config", str(self.folder / "pebble.json"), "-strict"),
                *("-dnsserver", f"127.0.0.1:{self.dns_port}"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.env},
        )
        assert self.process.stdout is not None
        self.output = Output(self.process.stdout, "pebble")
        self.output.wait("Listening on|ACME directory available", 10)
        wait_until(self._answers, 10, "pebble answers")
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.get("/dir"))
        return False

    def get(self, path: str, port: int = 0) -> bytes:
        """What it answers to a plain GET."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port or self.port, context=context, timeout=5
        )
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def trusting(self) -> ssl.SSLContext:
        """What a client needs that trusts this authority: it makes a root at every start."""
        context = ssl.create_default_context()
        context.load_verify_locations(cadata=self.get("/roots/0", self.management).decode())
        return context

    def stop(self) -> None:
        """End it; it can be started again."""
        if self.process is not None and self.output is not None:
            self.process.kill()
            self.process.wait()
            self.output.thread.join()
            self.process = None

    def count(self, text: str) -> int:
        """How often it has written something to its log."""
        return self.output.text.count(text) if self.output else 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self.names.kill()
        self.names.wait()


def make_endpoint_certificate(folder: Path) -> None:
    """An authority of its own and the certificate of 127.0.0.1 that pebble shows."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def begin(subject: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("endpoint CA"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=2))
        )

    identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        begin("endpoint CA", ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False),
            critical=True,
        )
        .add_extension(identifier, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        begin("endpoint", key.public_key())
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "endpoint-ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (folder / "endpoint.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    (folder / "endpoint-key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
