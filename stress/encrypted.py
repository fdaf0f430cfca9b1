"""TLS in a world: clients that speak it, with what they do at the wrong moment, and certificates
that come late."""

import hashlib
import hmac
import ssl
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Final

from nogilserve.engine.encryption import Context, Encryption, Ready
from nogilserve.tls.context import TlsTerms, make_context
from stress.stage import Gone, Guest, Reply, Stage
from stress.stand_ins import ThreadHere
from stress.streamer import Streamer

__all__ = [
    "LATE",
    "EncryptedGuest",
    "EncryptedStreamer",
    "RekeyingStreamer",
    "encryption",
]

LATE: Final = "late.test"
"""A name whose certificate has to be got."""
_KEPT: Final = Path(__file__).with_name("certificate.pem")
_HASH: Final = hashlib.sha384
_KEY_UPDATE: Final = b"\x18\0\0\x01\x01"
"""A message that asks for new keys of the other side too (RFC 8446 §4.6.3)."""
_HANDSHAKE: Final = b"\x16"
_DATA: Final = b"\x17"


@cache
def _context() -> Context:
    """The server's. Any thread."""
    return make_context(str(_KEPT), terms=TlsTerms(("h2", "http/1.1")))


class Certificates:
    """One for every name; that of `LATE` only when somebody has been sent for it, who takes his
    time. Owner: whoever has the baton."""

    def __init__(self, stage: Stage) -> None:
        self._world = stage.world
        self._late = False
        """It is there by now."""
        self._sent = 0

    def find(self, name: str, protocols: Sequence[str]) -> Context | None:
        """As of CertificateSource."""
        return None if name == LATE and not self._late else _context()

    def request(self, name: str, protocols: Sequence[str], ready: Ready) -> bool:
        """As of CertificateSource."""
        self._sent += 1
        ThreadHere(self._world, partial(self._get, ready), f"messenger-{self._sent}").start()
        return True

    def _get(self, ready: Ready) -> None:
        self._world.sleep("certificate", 0.003)
        self._late = True
        ready(_context())


def encryption(stage: Stage) -> Encryption:
    """What the server is told of TLS."""
    return Encryption(Certificates(stage), timeout=2.0, waiting=2.0)


class EncryptedGuest(Guest):
    """A client that speaks TLS. Raises Gone where the server ends it during the handshake.
    Owner: its actor."""

    protocols: tuple[str, ...] = ("http/1.1",)

    def __init__(self, stage: Stage, receive_buffer: int = 0, *, name: str = "a.test") -> None:
        super().__init__(stage, receive_buffer)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(list(self.protocols))
        self._prepare(context)
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._heard = 0
        """Bytes that came."""
        self.farewell = False
        """The server has said that nothing follows."""
        self._begin()

    def _prepare(self, context: ssl.SSLContext) -> None:
        """More of the context."""

    def _begin(self) -> None:
        """Shake hands."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._pass_on()
                self._incoming.write(self._receive())
        self._pass_on()

    def _pass_on(self) -> None:
        Guest.send(self, self._outgoing.read())

    def send(self, data: bytes) -> None:
        """Encrypt and send all of it."""
        self._tls.write(data)
        self._pass_on()

    def _more(self) -> None:
        while True:
            try:
                data = self._tls.read(1 << 16)
            except ssl.SSLWantReadError:
                self._pass_on()
                self._incoming.write(self._receive())
                continue
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as exc:
                self._not_tls(exc)
                raise Gone from exc
            if not data:
                self.farewell = True
                raise Gone
            self._data += data
            self._heard += len(data)
            return

    def _not_tls(self, exc: ssl.SSLError) -> None:
        """What came cannot be decrypted, or is an alert."""
        self.world.fail(f"the server has sent something that is no TLS: {exc}")

    def receive(self) -> Reply:
        """The next final response, which must not look whole when it is not (RFC 8446 §6.1)."""
        before = self._heard - len(self._data)
        try:
            return super().receive()
        except Gone:
            if self.farewell and self._heard > before:
                self.world.fail("a response that is cut off ends like a whole one")
            raise

    def wave(self) -> None:
        """Say that nothing follows; answers may still come."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the server's answer is not waited for
        self._pass_on()


class EncryptedStreamer(Streamer, EncryptedGuest):
    """HTTP/2 as it is agreed on in the handshake. Owner: its actor."""

    protocols = ("h2",)
    spoilt = False
    """It has sent nonsense: what comes then is the end."""

    def spoil(self) -> None:
        """Send a record that nobody has encrypted: while the server reads it, it has to write."""
        self.spoilt = True
        Guest.send(self, _DATA + b"\x03\x03" + (64).to_bytes(2) + bytes(64))

    def _not_tls(self, exc: ssl.SSLError) -> None:
        if not self.spoilt or "ALERT" not in f"{exc.reason}":
            super()._not_tls(exc)


class RekeyingStreamer(EncryptedStreamer):
    """A client that renews the keys and asks the server to renew its own: a server that reads that
    has to write. Python's ssl cannot ask for it, so the client encrypts what it sends by itself.
    Owner: its actor."""

    def _prepare(self, context: ssl.SSLContext) -> None:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._keys = Path(self.stage.path).with_name(f"keys-{self.stage.nonce()}")
        context.keylog_filename = str(self._keys)

    def _begin(self) -> None:
        super()._begin()
        lines = [line.split() for line in self._keys.read_text().splitlines()]
        (secret,) = [
            bytes.fromhex(line[2]) for line in lines if line[0] == "CLIENT_TRAFFIC_SECRET_0"
        ]
        if self._tls.cipher()[0] != "TLS_AES_256_GCM_SHA384":  # type: ignore[index]
            raise RuntimeError(f"not the expected cipher: {self._tls.cipher()}")
        self._use(secret)

    def _use(self, secret: bytes) -> None:
        """Keys of a secret (RFC 8446 §7.3)."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._secret = secret
        self._cipher = AESGCM(_expand(secret, "key", 32))
        self._iv = int.from_bytes(_expand(secret, "iv", 12))
        self._records = 0

    def _seal(self, kind: bytes, data: bytes) -> bytes:
        """A record (RFC 8446 §5.2)."""
        head = _DATA + b"\x03\x03" + (len(data) + 17).to_bytes(2)
        nonce = (self._iv ^ self._records).to_bytes(12)
        self._records += 1
        return head + self._cipher.encrypt(nonce, data + kind, head)

    def send(self, data: bytes) -> None:
        """As of EncryptedGuest."""
        for start in range(0, len(data), 1 << 14):
            Guest.send(self, self._seal(_DATA, data[start : start + (1 << 14)]))

    def rekey(self) -> None:
        """Renew the keys, and ask for the same."""
        Guest.send(self, self._seal(_HANDSHAKE, _KEY_UPDATE))
        self._use(_expand(self._secret, "traffic upd", _HASH().digest_size))


def _expand(secret: bytes, label: str, size: int) -> bytes:
    """HKDF-Expand-Label for no more than one block (RFC 8446 §7.1)."""
    name = b"tls13 " + label.encode()
    info = size.to_bytes(2) + bytes([len(name)]) + name + b"\0"
    return hmac.digest(secret, info + b"\x01", _HASH)[:size]
