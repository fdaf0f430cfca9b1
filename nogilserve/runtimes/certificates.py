"""From the configuration to certificates. Imported only where TLS is spoken: it takes OpenSSL."""

from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from typing import Final

from nogilserve.config import Config
from nogilserve.engine.encryption import CertificateSource, Context, Encryption, Ready
from nogilserve.tls.context import TlsTerms
from nogilserve.tls.files import FileSource

__all__ = ["make_encryption", "pairs_of"]

ACME_TLS: Final = "acme-tls/1"
"""The protocol of who checks a challenge (RFC 8737 §3), whatever certificate there is."""


def make_encryption(config: Config) -> Encryption:
    """What the engines are told. Raises ConfigError for certificates that cannot be used."""
    return Encryption(
        source=_source(config),
        timeout=config.ssl_handshake_timeout,
        strict_transport=config.hsts,
    )


def pairs_of(config: Config) -> list[tuple[str, str]]:
    """The files of certificates and keys, those of the user's own authority behind the others."""
    pairs = list(zip_longest(config.certfiles, config.keyfiles, fillvalue=""))
    if config.tls_internal:
        from nogilserve.tls.local import leaf_for

        pairs.append((leaf_for(config), ""))
    return pairs


def _source(config: Config) -> CertificateSource:
    terms = TlsTerms.of(config)
    pairs = pairs_of(config)
    renew = None
    if config.tls_internal:
        from nogilserve.tls.local import renew_leaf

        renew = partial(renew_leaf, config)
    files = FileSource(pairs, terms, renew) if pairs else None
    if not config.automatic_https:
        assert files is not None
        return files
    from nogilserve.tls.managed import managed_source

    managed = managed_source(config, terms)
    return managed if files is None else _Together(files, managed)


class _Together:
    """Certificates of files, and those that come by themselves for all other names. Immutable."""

    def __init__(self, files: FileSource, others: CertificateSource) -> None:
        self._files = files
        self._others = others

    def find(self, name: str, protocols: Sequence[str]) -> Context | None:
        """As of CertificateSource: files have the first word, and the last where nobody is
        named."""
        if ACME_TLS in protocols:
            return self._others.find(name, protocols)
        found = self._files.match(name) or self._others.find(name, protocols)
        return found if found or name else self._files.find(name, protocols)

    def request(self, name: str, protocols: Sequence[str], ready: Ready) -> bool:
        """As of CertificateSource."""
        return self._others.request(name, protocols, ready)
