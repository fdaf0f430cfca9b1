"""Certificates that appear at run time: the source for those that the keeper obtains.

Serving processes read them from the local folder alone, so they have them before the keeper is
there, and without any network. Neither `cryptography` nor an ACME client is imported here.
"""

import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final

from nogilserve.config import Config
from nogilserve.engine.encryption import Context, Ready
from nogilserve.errors import ConfigError, StorageError
from nogilserve.tls.context import TlsTerms, make_context
from nogilserve.tls.inquiry import DAEMONS, Changes, Inquiry
from nogilserve.tls.storage.folder import FolderStorage, Stamp
from nogilserve.tls.storage.places import storage_folder
from nogilserve.tls.storage.records import Certificate, certificate_key

__all__ = ["ACME_TLS", "HttpAnswers", "ManagedSource", "http_answers", "managed_source"]

_log = logging.getLogger("nogilserve")

ACME_TLS: Final = "acme-tls/1"
"""The protocol by which a client says that it is an authority (RFC 8737 §3)."""
CHALLENGES: Final = "/.well-known/acme-challenge/"
"""Where answers to HTTP-01 are (RFC 8555 §8.3)."""

_AT_ONCE: Final = 64
"""Names that are asked for at the same time; further ones are refused."""
_ANSWERS: Final = 32
"""Certificates for challenges that are kept, because authorities look from several places."""
_RECENT: Final = 1000
"""Certificates of names on demand that are kept ready, of 20 KB each."""
_FRESH: Final = 0.25
"""Seconds for which they are shown to whoever asks: the next challenge may come soon."""
_BREAK: Final = 5.0
"""Seconds for which nobody is asked after somebody has been asked in vain for a second."""

Make = Callable[[str], Context]
"""A context from a file with certificate and key. Raises ConfigError."""


class ManagedSource:
    """A CertificateSource. Any thread: the dictionary of contexts is never changed, only replaced
    as a whole; the rest belongs to a lock."""

    def __init__(
        self,
        folder: FolderStorage,
        domains: Iterable[str],
        make: Make,
        make_answer: Make,
        inquiry: Inquiry | None,
        *,
        on_demand: bool = False,
    ) -> None:
        """Read what is there. `make_answer` makes contexts that only offer ACME_TLS. `inquiry` asks
        the keeper, None where there is none. With `on_demand` names besides `domains` are asked
        for, and whatever is kept is shown."""
        self._folder = folder
        self._domains = tuple(domains)
        self._make = make
        self._make_answer = make_answer
        self._inquiry = inquiry
        self._on_demand = on_demand
        self._contexts: dict[str, Context] = {}
        self._loaded: dict[str, _Loaded] = {}
        """Those of the domains by key in the folder. Under `_loading`."""
        self._stamps: dict[str, Stamp] = {}
        """Everything in the folder. Never changed, only replaced."""
        self._recent: dict[str, _Loaded] = {}
        """Those of other names by key, the one last shown at the end. Under the lock."""
        self._loading = threading.Lock()
        self._lock = threading.Lock()
        self._answers: dict[str, tuple[Context, float]] = {}
        """Answers to challenges by name, and when they were learnt. Under the lock."""
        self._say_at = 0.0
        self._unsaid = 0
        self._asked: dict[tuple[str, bool], list[Ready]] = {}
        self.reload()
        self._changes = Changes(inquiry, self.reload) if inquiry is not None else None

    def close(self) -> None:
        """Follow no more changes."""
        if self._changes is not None:
            self._changes.close()

    # ---- what the engine asks

    def find(self, name: str, protocols: Sequence[str]) -> Context | None:
        """As of CertificateSource."""
        if ACME_TLS in protocols:
            with self._lock:
                answer, learnt = self._answers.get(name, (None, 0.0))
            return answer if monotonic() - learnt < _FRESH else None
        contexts = self._contexts
        if not name:
            return self._first(contexts)
        parent = f"*.{name.partition('.')[2]}"
        found = contexts.get(name) or contexts.get(parent)
        if found is None and self._on_demand:
            found = self._demanded(certificate_key(name)) or self._demanded(certificate_key(parent))
        return found

    def _demanded(self, key: str) -> Context | None:
        """The context of a certificate that is no domain's, made when it is first asked for: there
        may be many thousands. That takes a millisecond, as much as the handshake itself."""
        stamp = self._stamps.get(key)
        if stamp is None:
            return None
        with self._lock:
            before = self._recent.pop(key, None)
            if before is not None and before.stamp == stamp:
                self._recent[key] = before
                return before.context
        made = self._load(key, stamp, before) or _Loaded(stamp, (), None)
        with self._lock:
            self._recent[key] = made
            while len(self._recent) > _RECENT:
                self._recent.pop(next(iter(self._recent)))
        return made.context

    def _first(self, contexts: dict[str, Context]) -> Context | None:
        """For clients that name nobody: the first domain that has a certificate."""
        return next((contexts[name] for name in self._domains if name in contexts), None)

    def request(self, name: str, protocols: Sequence[str], ready: Ready) -> bool:
        """As of CertificateSource."""
        answer = ACME_TLS in protocols
        if self._inquiry is None or not name:
            return False
        if not answer and not self._on_demand and name not in self._domains:
            return False
        key = (name, answer)
        with self._lock:
            waiting = self._asked.get(key)
            if waiting is not None:
                waiting.append(ready)
                return True
            if len(self._asked) >= _AT_ONCE:
                return False
            self._asked[key] = [ready]
        threading.Thread(
            target=self._ask, args=(self._inquiry, name, answer), name="certificate", daemon=DAEMONS
        ).start()
        return True

    def _ask(self, inquiry: Inquiry, name: str, answer: bool) -> None:
        found: Context | None = None
        try:
            if answer:
                pem = inquiry.tls_answer(name)
                if pem is not None:
                    found = _from_text(self._make_answer, pem)
            else:
                reason = inquiry.certificate(name)
                if reason:
                    self._say(name, reason)
                else:
                    self.reload()
                    found = self.find(name, ())
        except Exception:  # an error of ours: who waits is to be told that there is nothing
            _log.critical("internal error about the certificate of %s", name, exc_info=True)
        finally:
            with self._lock:
                waiting = self._asked.pop((name, answer))
                if answer and found is not None:
                    self._learn_answer(name, found)
            for ready in waiting:
                ready(found)

    def _say(self, name: str, reason: str) -> None:
        """Log why there is no certificate, once a second at most: clients name what they like."""
        now = monotonic()
        with self._lock:
            self._unsaid += 1
            if now < self._say_at:
                return
            self._say_at = now + 1.0
            others, self._unsaid = self._unsaid - 1, 0
        more = f" (and {others} more like it)" if others else ""
        _log.info("No certificate for %s: %s%s", name, reason, more)

    def _learn_answer(self, name: str, context: Context) -> None:
        """Show it to others who look soon; under the lock."""
        while len(self._answers) >= _ANSWERS:
            self._answers.pop(next(iter(self._answers)))
        self._answers[name] = (context, monotonic())

    # ---- what is in the folder

    def reload(self) -> None:
        """Look what is in the folder by now. Any thread."""
        with self._loading:
            try:
                self._reload()
            except StorageError as error:
                _log.error("%s; the certificates that were read before are served on", error)

    def _reload(self) -> None:
        stamps = self._folder.stamps("certificates")
        loaded: dict[str, _Loaded] = {}
        for key in self._of_domains(stamps):
            before = self._loaded.get(key)
            if before is not None and before.stamp == stamps[key]:
                loaded[key] = before
            elif (made := self._load(key, stamps[key], before)) is not None:
                loaded[key] = made
        contexts: dict[str, Context] = {}
        for key, item in loaded.items():
            for name in item.names:
                # Its own certificate before one that only names it, too.
                if item.context and (name not in contexts or certificate_key(name) == key):
                    contexts[name] = item.context
        self._loaded = loaded
        self._contexts = contexts
        self._stamps = stamps

    def _of_domains(self, stamps: Iterable[str]) -> list[str]:
        """Keys of the certificates of our domains. The folder is that of the user, and other
        servers may have theirs in it."""
        parents = {f"*.{name.partition('.')[2]}" for name in self._domains}
        keys = {certificate_key(name) for name in (*self._domains, *parents)}
        return sorted(keys & set(stamps))

    def _load(self, key: str, stamp: Stamp, before: "_Loaded | None") -> "_Loaded | None":
        """What is made of a file; what was made of it before where it cannot be used."""
        try:
            certificate = Certificate.decode(self._folder.read(key))
            if certificate is None:
                raise ValueError("it is damaged")
            return _Loaded(stamp, certificate.names, self._make(str(self._folder.path(key))))
        except (OSError, ValueError, ConfigError) as error:
            _log.error("%s in %s cannot be used: %s", key, self._folder.where, error)
            return None if before is None else _Loaded(stamp, before.names, before.context)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A certificate in use. Immutable."""

    stamp: Stamp
    names: tuple[str, ...]
    context: Context | None
    """None: it cannot be used."""


def _from_text(make: Make, pem: str) -> Context:
    """A context from text: OpenSSL is given a file here, because Python has no other way."""
    fd, path = tempfile.mkstemp(prefix="nogilserve-", suffix=".pem")
    try:
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(pem)
        return make(path)
    finally:
        os.unlink(path)


def managed_source(config: Config, terms: TlsTerms) -> ManagedSource:
    """The source for what the keeper of this server obtains."""
    inquiry = Inquiry.from_environment()
    # Who checks a challenge says nothing else, and shows no certificate.
    challenge = replace(terms, protocols=(ACME_TLS,), cert_reqs="none", tickets=0)
    return ManagedSource(
        FolderStorage(storage_folder(config.storage)),
        config.domains,
        lambda path: make_context(path, terms=terms),
        lambda path: make_context(path, terms=challenge),
        inquiry,
        on_demand=config.on_demand,
    )


def http_answers() -> Callable[[str], bytes | None]:
    """Says what to answer to a path on the plain port; None: it is no challenge. May block for a
    moment."""
    inquiry = Inquiry.from_environment()
    return HttpAnswers(inquiry).answer if inquiry is not None else lambda _: None


class HttpAnswers:
    """Answers to HTTP-01 on the plain port. Any thread: one asks at a time, and after a second in
    vain nobody for some time, because who asks drives connections of others."""

    def __init__(self, inquiry: Inquiry, clock: Callable[[], float] = monotonic) -> None:
        self._inquiry = inquiry
        self._clock = clock
        self._turn = threading.Lock()
        self._silent_until = 0.0
        """Under `_turn`."""

    def answer(self, path: str) -> bytes | None:
        """What to answer to a request for a path, None if it is no challenge of ours."""
        if not path.startswith(CHALLENGES):
            return None
        with self._turn:
            started = self._clock()
            if started < self._silent_until:
                return None
            found = self._inquiry.http_answer(path[len(CHALLENGES) :])
            if found is None and self._clock() - started > 0.9:
                self._silent_until = self._clock() + _BREAK
        return None if found is None else found.encode("ascii", "replace")
