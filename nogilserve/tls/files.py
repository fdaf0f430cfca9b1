"""Certificates from files, which are read again when they change."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Final

from nogilserve.engine.encryption import Context, Ready
from nogilserve.errors import ConfigError
from nogilserve.tls.context import TlsTerms, make_context
from nogilserve.tls.x509 import Facts, certificates_in, read_certificate

__all__ = ["FileSource", "Snapshot", "read_pairs"]

_log = logging.getLogger("nogilserve.tls")

_LOOK: Final = 1.0
"""Seconds between two looks at the files; nobody looks while nobody connects."""
_RENEWAL: Final = 3600.0
"""Seconds between two looks at whether a certificate of our own is nearly over."""
_SOON: Final = 14
"""Days before its end from which on a certificate is warned of."""

Pair = tuple[str, str]
"""The files of a certificate and of its key, "" where that is in the same file."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The certificates of one moment. Immutable."""

    exact: dict[str, Context]
    wild: dict[str, Context]
    """By what follows the "*."."""
    first: Context

    def match(self, name: str) -> Context | None:
        """The context for exactly that name, or for a * in place of its first label (RFC 6125
        §6.4.3)."""
        return self.exact.get(name) or self.wild.get(name.partition(".")[2])


class FileSource:
    """A CertificateSource. Any thread: the snapshot is replaced as a whole by whoever holds
    `_looking`, which nobody waits for."""

    def __init__(
        self, pairs: Sequence[Pair], terms: TlsTerms, renew: Callable[[], None] | None = None
    ) -> None:
        """Read them. Raises ConfigError. `renew` writes files anew that are nearly over; it is
        called every hour in a thread of its own, as long as somebody connects."""
        self._renew = renew
        self._next_renewal = monotonic() + _RENEWAL
        self._pairs = tuple(pairs)
        self._terms = terms
        self._looking = threading.Lock()
        self._next_look = monotonic() + _LOOK
        self._seen = self._stamps()
        """The files as they were when they were last read, or tried to."""
        self._changing: object = None
        """What they look like since the last look: they are read when they have come to rest."""
        self._snapshot = read_pairs(self._pairs, terms)

    def find(self, name: str, protocols: Sequence[str]) -> Context | None:
        """The context for a server name; that of the first certificate for all others."""
        if monotonic() >= self._next_look:
            self.look()
        snapshot = self._snapshot
        return snapshot.match(name) or snapshot.first

    def match(self, name: str) -> Context | None:
        """As `find`, but None for names that no certificate is for."""
        if monotonic() >= self._next_look:
            self.look()
        return self._snapshot.match(name)

    def request(self, name: str, protocols: Sequence[str], ready: Ready) -> bool:
        """There are no others."""
        return False

    def look(self) -> None:
        """Read the files again if they have changed, and have not changed any more since the
        look before: a certificate and its key are seldom replaced at the same moment."""
        if not self._looking.acquire(blocking=False):
            return
        try:
            now = monotonic()
            self._next_look = now + _LOOK
            if self._renew is not None and now >= self._next_renewal:
                self._next_renewal = now + _RENEWAL
                threading.Thread(target=self._renew, name="renewal", daemon=True).start()
            stamps = self._stamps()
            if stamps == self._seen:
                self._changing = None
            elif stamps != self._changing:
                self._changing = stamps
            else:
                self._seen, self._changing = stamps, None
                self._read()
        finally:
            self._looking.release()

    def _read(self) -> None:
        files = ", ".join(certificate for certificate, _ in self._pairs)
        try:
            self._snapshot = read_pairs(self._pairs, self._terms)
        except ConfigError as exc:
            _log.error("The certificates have changed and cannot be used, the old stay: %s", exc)
        else:
            _log.info("Certificates read again: %s", files)

    def _stamps(self) -> tuple[object, ...]:
        """What tells whether a file is another one, or was written to."""
        return tuple(
            _stamp(path)
            for path in (*(path for pair in self._pairs for path in pair), self._terms.ca_certs)
            if path
        )


def _stamp(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def read_pairs(pairs: Sequence[Pair], terms: TlsTerms) -> Snapshot:
    """Read certificates; those for the same names share a context, so that clients get the kind of
    key that they understand. Raises ConfigError; warns of certificates that are over."""
    groups: dict[tuple[str, ...], list[Pair]] = {}
    for pair in pairs:
        make_context(*pair, terms)  # says what is wrong with this one
        facts = _facts(pair[0])
        _warn(pair[0], facts)
        groups.setdefault(tuple(sorted(facts.names)), []).append(pair)
    exact: dict[str, Context] = {}
    wild: dict[str, Context] = {}
    first: Context | None = None
    for names, group in groups.items():
        also = tuple(path for pair in group[1:] for path in pair)
        context = make_context(*group[0], terms, also=also)
        first = first or context
        for name in names:
            if name.startswith("*."):
                wild.setdefault(name[2:], context)
            else:
                exact.setdefault(name, context)
    assert first is not None
    return Snapshot(exact, wild, first)


def _facts(path: str) -> Facts:
    try:
        return read_certificate(certificates_in(Path(path).read_text("ascii", "replace"))[0])
    except (OSError, ValueError, IndexError) as exc:
        raise ConfigError(f"option --certfile: {path!r}: {exc}") from None


def _warn(path: str, facts: Facts) -> None:
    now = datetime.now(UTC)
    if facts.ends < now:
        _log.warning(
            "The certificate in %s has expired on %s: clients will refuse it",
            path,
            _day(facts.ends),
        )
    elif facts.begins > now:
        _log.warning("The certificate in %s is valid only from %s on", path, _day(facts.begins))
    elif (facts.ends - now).days < _SOON:
        _log.warning("The certificate in %s expires on %s", path, _day(facts.ends))
    if not facts.names:
        _log.warning(
            "The certificate in %s names no host (subjectAltName): clients will refuse it", path
        )


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
