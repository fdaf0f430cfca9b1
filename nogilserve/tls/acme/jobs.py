"""One step for one name: look what is to be done, get the lock, do it, write down what came of it.

What is shared between replicas is in the storage; nothing is kept here between two steps.
"""

import logging
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nogilserve.errors import StorageError
from nogilserve.tls.acme.settings import Settings
from nogilserve.tls.acme.timing import Ask, Nothing, Obtain, decide, retry_delay
from nogilserve.tls.storage.contract import Lease, Storage
from nogilserve.tls.storage.records import (
    CHANGES,
    IMPORTED,
    Certificate,
    Plan,
    certificate_key,
    plan_key,
)

if TYPE_CHECKING:
    from nogilserve.tls.acme.authority import Authority
    from nogilserve.tls.acme.network import AuthorityError

__all__ = ["Jobs", "Outcome", "Stopped", "duration", "find_certificate", "store"]

_log = logging.getLogger("nogilserve")

_TERM: Final = 10.0
"""Seconds after which another replica goes on where one has died or lost the storage."""
_OTHERS: Final = 3.0
"""Seconds between looks at what another replica is doing."""
_UNSPOKEN: Final = 86400.0
"""Seconds after which an authority that tells no times of renewal is asked whether it does now."""
_ASK_FAILED: Final = 3600.0
_REFUSED: Final = 3600.0
"""Seconds after which it is asked again whether a name that is not allowed is by then."""
_LIMITED: Final = 3600.0
"""Seconds to the next attempt where a rate was limited and nobody says for how long."""
_FORGOTTEN: Final = 7 * 86400.0
"""Seconds after which it is forgotten that a name failed that never had a certificate."""


class Stopped(BaseException):
    """This process is to end: everything is given up, locks are released."""


class Outcome:
    """What came of a step. Immutable."""

    def __init__(self, due: float, error: str = "", *, changed: bool = False) -> None:
        self.due = due
        """When to look again, seconds since the epoch."""
        self.error = error
        """Why there is no new certificate, "" where none was needed or it was obtained."""
        self.changed = changed
        self.elsewhere = False
        """Another replica is at it."""
        self.idle = False
        """Nothing was due."""


def find_certificate(storage: Storage, name: str) -> Certificate | None:
    """The certificate of a name: its own, else an imported one for all names beside it."""
    found = Certificate.decode(storage.read(certificate_key(name)))
    if found is None and "." in name:
        parent = name.partition(".")[2]
        found = Certificate.decode(storage.read(certificate_key(f"*.{parent}")))
    return found


def store(storage: Storage, name: str, certificate: Certificate) -> None:
    """Keep a certificate, and have everybody notice."""
    storage.write(certificate_key(name), certificate.encode())
    storage.write(CHANGES, secrets.token_hex(8).encode())


class Jobs:
    """Any thread: nothing here changes after it was made."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        wait: Callable[[float], None],
        save: Callable[[str, Certificate], None],
        copies: Storage | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`wait` waits for some seconds and raises Stopped when all is to end. `save` keeps a new
        certificate, if it cannot be elsewhere then in memory: it is not lost. `copies`: where
        certificates are as well, that a storage may have lost."""
        self._settings = settings
        self._storage = storage
        self._wait = wait
        self._save = save
        self._copies = copies
        self._clock = clock

    def step(
        self,
        name: str,
        *,
        on_demand: bool = False,
        force: bool = False,
        refusal: Callable[[], str] | None = None,
    ) -> Outcome:
        """Do what is due for a name. `force`: renew it although it is not. `refusal`, asked before
        one is obtained, says why not, or "". Raises StorageError."""
        now = self._clock()
        step = self._decide(name, now)
        if isinstance(step, Obtain) and refusal is not None and (reason := refusal()):
            return Outcome(now + _REFUSED, reason)
        if isinstance(step, Nothing) and not force:
            outcome = Outcome(step.until, self._plan(name).error)
            outcome.idle = True
            return outcome
        lease = self._storage.lock(f"work/{name}", _TERM)
        if lease is None:
            outcome = Outcome(now + _OTHERS)
            outcome.elsewhere = True
            return outcome
        with _kept(lease):
            # Somebody may have done it just before.
            step = self._decide(name, self._clock())
            if force and not isinstance(step, Obtain):
                step = Obtain("it was asked for")
            if isinstance(step, Obtain):
                return self._obtain(name, step.why, on_demand=on_demand)
            if isinstance(step, Ask):
                self._ask(name)
            return Outcome(self._next(name))

    def _plan(self, name: str) -> Plan:
        return Plan.decode(self._storage.read(plan_key(name)))

    def _decide(self, name: str, now: float) -> Obtain | Ask | Nothing:
        certificate = self._certificate(name)
        return decide(certificate, self._plan(name), self._settings.directory, now)

    def _certificate(self, name: str) -> Certificate | None:
        found = find_certificate(self._storage, name)
        if found is None and self._copies is not None:
            found = find_certificate(self._copies, name)  # it will be given back
        return found

    def _next(self, name: str) -> float:
        step = self._decide(name, self._clock())
        return step.until if isinstance(step, Nothing) else self._clock()

    @contextmanager
    def _authority(self) -> Iterator["Authority"]:
        # Third-party code that takes half a second and 25 MB: not before it is needed.
        from nogilserve.tls.acme.authority import Authority

        authority = Authority(self._settings, self._storage, self._wait)
        try:
            yield authority
        finally:
            authority.close()

    def _obtain(self, name: str, why: str, *, on_demand: bool) -> Outcome:
        from nogilserve.tls.acme.network import AuthorityError

        before = Certificate.decode(self._storage.read(certificate_key(name)))
        plan = self._plan(name)
        _log.info("Obtaining a certificate for %s: %s", name, why)
        started = time.monotonic()
        kinds = self._settings.challenges
        turn = plan.turn % len(kinds)
        replaced = before if before and before.issuer == self._settings.directory else None
        try:
            with self._authority() as authority:
                certificate = authority.obtain(
                    name,
                    replaced,
                    (*kinds[turn:], *kinds[:turn]),
                    on_demand=on_demand or (before is not None and before.on_demand),
                )
        except AuthorityError as error:
            return self._failed(name, before, plan, error)
        self._save(name, certificate)
        self._storage.write(plan_key(name), Plan(certificate.fingerprint).encode())
        _log.info(
            "Obtained a certificate for %s in %.1f s, valid for %s",
            name,
            time.monotonic() - started,
            duration(certificate.not_after - self._clock()),
        )
        return Outcome(self._next(name), changed=True)

    def _failed(
        self, name: str, before: Certificate | None, plan: Plan, error: "AuthorityError"
    ) -> Outcome:
        failures = plan.failures + 1 if plan.issuer == self._settings.directory else 1
        wish = error.retry_after
        if wish is None and error.code == "rateLimited":
            wish = _LIMITED
        delay = retry_delay(failures, random.random, reached=error.reached, wish=wish)
        now = self._clock()
        left = before.not_after - now if before else 0.0
        if left > 0:
            state = f"the old one is served on, for {duration(left)}"
        else:
            state = "there is none to serve" if before is None else "the old one has expired"
        _log.error(
            "No new certificate for %s (%s), trying again in %s: %s",
            name,
            state,
            duration(delay),
            error,
        )
        self._storage.write(
            plan_key(name),
            replace(
                plan,
                failures=failures,
                turn=plan.turn + error.unproven,
                issuer=self._settings.directory,
                retry_at=now + delay,
                error=str(error),
            ).encode(),
            ttl=0.0 if before else _FORGOTTEN,
        )
        return Outcome(now + delay, str(error))

    # ---- times of renewal (RFC 9773)

    def _ask(self, name: str) -> None:
        from nogilserve.tls.acme.network import AuthorityError

        certificate = self._certificate(name)
        if certificate is None or certificate.issuer == IMPORTED:
            return
        plan = self._plan(name)
        if plan.fingerprint != certificate.fingerprint:
            plan = replace(plan, fingerprint=certificate.fingerprint, renew_at=0.0, explanation="")
        now = self._clock()
        try:
            with self._authority() as authority:
                window = authority.renewal_window(certificate)
        except AuthorityError as error:
            _log.info("When to renew the certificate of %s is not known: %s", name, error)
            plan = replace(plan, ask_at=now + _ASK_FAILED)
        else:
            if window is None:
                life = certificate.not_after - certificate.not_before
                plan = replace(plan, renew_at=0.0, ask_at=now + min(_UNSPOKEN, life))
            else:
                moment = plan.renew_at
                if not window.start <= moment <= window.end:
                    moment = random.uniform(window.start, window.end)
                    if window.explanation and plan.explanation != window.explanation:
                        _log.warning(
                            "The authority wants the certificate of %s to be renewed in %s: %s",
                            name,
                            duration(moment - now),
                            window.explanation,
                        )
                plan = replace(
                    plan,
                    renew_at=max(moment, 1.0),
                    ask_at=now + window.ask_again,
                    explanation=window.explanation,
                )
        self._storage.write(plan_key(name), plan.encode())


@contextmanager
def _kept(lease: Lease) -> Iterator[None]:
    """Renew a lease in time, by a thread of its own, and release it at the end."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(_TERM / 4):
            try:
                if not lease.renew():
                    return
            except StorageError:
                continue  # it may come back in time

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        lease.release()


def duration(seconds: float) -> str:
    """For people: "40 s", "5 min", "3 h", "60 days"."""
    if seconds < 100:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86400:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"
