"""The folder from which serving processes read, kept like the storage that replicas share."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nogilserve.tls.storage.contract import Storage
from nogilserve.tls.storage.folder import FolderStorage
from nogilserve.tls.storage.records import CHANGES, Certificate, plan_key

__all__ = ["Copies", "Kept"]

_log = logging.getLogger("nogilserve")

_USELESS: Final = 30 * 86400.0
"""Seconds after its end for which a certificate is kept that was obtained for a client."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A certificate in the storage. Immutable."""

    mark: object
    """Another one whenever it has changed."""
    names: tuple[str, ...]
    on_demand: bool


class Copies:
    """Owner: the thread that looks."""

    def __init__(self, storage: Storage, folder: FolderStorage, clock: Callable[[], float]) -> None:
        """`folder` may be the storage itself: then nothing is copied, only noticed."""
        self._storage = storage
        self._folder = folder
        self._same = folder is storage
        self._clock = clock
        self._kept: dict[str, Kept] = {}
        self._seen: bytes | None = None
        """The mark of the last change that was looked at."""
        self._looked = False

    def look(self, *, anew: bool = False) -> list[Kept] | None:
        """Bring the folder up to date; certificates that are new, other or gone since the last
        look, None if nobody has changed any. `anew`: look closely, because the storage was away and
        may have lost everything. Raises StorageError."""
        mark = self._storage.read(CHANGES)
        if self._looked and mark == self._seen and not anew:
            return None
        if not self._looked:
            self._storage.keys("answers")  # those whose time is over are removed by the way
        found = self._copy_all()
        changed = [kept for key, kept in found.items() if self._kept.get(key) != kept]
        changed += [kept for key, kept in self._kept.items() if key not in found]
        self._kept, self._seen, self._looked = found, mark, True
        return changed

    def _copy_all(self) -> dict[str, Kept]:
        """Have the folder hold what the storage holds; all certificates by their keys."""
        found: dict[str, Kept] = {}
        stamps = self._folder.stamps("certificates") if self._same else {}
        for key in sorted(stamps) if self._same else self._storage.keys("certificates"):
            before = self._kept.get(key)
            if self._same and before is not None and before.mark == stamps.get(key):
                found[key] = before
                continue
            value = self._storage.read(key)
            certificate = Certificate.decode(value)
            if value is None or certificate is None:
                continue
            if certificate.on_demand and certificate.not_after < self._clock() - _USELESS:
                self._forget(key, certificate)
            elif self._same:
                found[key] = Kept(stamps.get(key), certificate.names, certificate.on_demand)
            else:
                found[key] = self._copy(key, value, certificate)
        if not self._same:
            for key in set(self._folder.keys("certificates")) - found.keys():
                copy = self._put_back(key, None)
                if copy is None:
                    self._folder.remove(key)
                else:
                    found[key] = _kept(copy)
        return found

    def _copy(self, key: str, value: bytes, certificate: Certificate) -> Kept:
        if self._folder.read(key) != value:
            newer = self._put_back(key, certificate)
            if newer is not None:
                return _kept(newer)
            self._folder.write(key, value)
        return _kept(certificate)

    def _put_back(self, key: str, there: Certificate | None) -> Certificate | None:
        """Write a copy to a storage that has lost it, or was away when it was new. None: the copy
        is out of date. `there`: what the storage holds."""
        copy = Certificate.decode(self._folder.read(key))
        if copy is None or copy.not_after <= self._clock():
            return None
        if there is not None and (
            copy.issuer != there.issuer or copy.not_before <= there.not_before
        ):
            return None
        _log.info("%s is not in %s: writing it there", key, self._storage.where)
        self._storage.write(key, copy.encode())
        return copy

    def _forget(self, key: str, certificate: Certificate) -> None:
        """One that was obtained for a client, and not renewed any more."""
        self._storage.remove(key)
        for name in certificate.names:
            self._storage.remove(plan_key(name))


def _kept(certificate: Certificate) -> Kept:
    digest = hashlib.sha256(certificate.encode()).digest()
    return Kept(digest, certificate.names, certificate.on_demand)
