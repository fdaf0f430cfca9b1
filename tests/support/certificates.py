"""Certificates for tests, made by the program `openssl`, and clients that speak TLS."""

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.wire import Client, _Bytes, _Reader

__all__ = ["NEEDS_OPENSSL", "Authority", "TlsClient", "client_hello", "trusting"]

NEEDS_OPENSSL = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed (apt-get install openssl)"
)
KEYS = {
    "ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
    "rsa": ["-newkey", "rsa:2048"],
    "rsa4096": ["-newkey", "rsa:4096"],
}


def openssl(*arguments: str) -> str:
    """Run the program; what it prints."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Authority:
    """A certificate authority in a directory of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = folder / "ca.pem"
        self._key = folder / "ca.key"
        openssl(
            *(
                "req",
                "-x509",
                *KEYS["ec"],
                "-nodes",
                "-days",
                "3650",
                "-subj",
                "/CN=Test authority",
            ),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", str(self._key), "-out", str(self.file)),
        )

    def issue(
        self,
        *names: str,
        label: str = "",
        key: str = "ec",
        days: int = 30,
        subject: str = "",
        password: str = "",
    ) -> tuple[Path, Path]:
        """A certificate for these host names and addresses, and its key."""
        label = label or names[0].replace("*", "any")
        certificate, private = self.folder / f"{label}.pem", self.folder / f"{label}.key"
        kinds = [f"{'IP' if name[0].isdigit() or ':' in name else 'DNS'}:{name}" for name in names]
        hidden = ["-passout", f"pass:{password}"] if password else ["-nodes"]
        openssl(
            *("req", "-x509", *KEYS[key], *hidden, "-days", str(days)),
            *("-subj", subject or f"/CN={names[0]}"),
            *("-CA", str(self.file), "-CAkey", str(self._key)),
            *("-addext", f"subjectAltName={','.join(kinds)}"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-keyout", str(private), "-out", str(certificate)),
        )
        return certificate, private


def trusting(authority: Authority) -> ssl.SSLContext:
    """What a client needs that believes the authority."""
    return ssl.create_default_context(cafile=authority.file)


def client_hello(name: str | None, protocols: tuple[str, ...] = ()) -> bytes:
    """What OpenSSL says first as a client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if protocols:
        context.set_alpn_protocols(list(protocols))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


class _TlsBytes(_Bytes):
    """Reads what TLS has decrypted already before it waits for the socket."""

    sock: ssl.SSLSocket

    def readinto(self, buffer: Any) -> int:
        while True:
            if not self.sock.pending():
                self.sock.settimeout(self.deadline.require("the server sent nothing more in time"))
            try:
                return self.sock.recv_into(buffer)
            except ssl.SSLWantReadError:
                continue


class TlsClient(Client):
    """A `Client` that speaks TLS. Raises what the handshake raises, `ssl.SSLError`."""

    def __init__(
        self,
        address: tuple[str, int] | str,
        context: ssl.SSLContext,
        name: str = "localhost",
        *,
        timeout: float = 10.0,
        first: bytes = b"",
        session: ssl.SSLSession | None = None,
    ) -> None:
        """`name`: the server that is wanted (SNI); `first`: bytes to be sent before TLS."""
        super().__init__(address, timeout)
        try:
            if first:
                self.sock.sendall(first)
            self.tls = self.sock = context.wrap_socket(
                self.sock,
                server_hostname=name or None,
                suppress_ragged_eofs=False,
                session=session,
            )
        except BaseException:
            self.sock.close()
            raise
        self._bytes = _TlsBytes(self.sock)
        self._reader = _Reader(self._bytes)

    def certificate(self) -> str:
        """The names in the server's certificate, separated by commas."""
        names: Any = (self.tls.getpeercert() or {}).get("subjectAltName", ())
        return ",".join(value for _, value in names)
