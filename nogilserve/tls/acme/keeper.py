"""The keeper: has a certificate for every name in time, and answers what serving processes ask.

    main thread      looks what is due, starts a thread for each step; looks at the storage
    step threads     one name each (`jobs`), a few at a time
    asking threads   one connection of a serving process each (`questions`)

A remote storage that is away stops nothing: certificates are copied into a local folder, from which
serving processes read them, and what was obtained meanwhile is written when it is back.
"""

import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from nogilserve.errors import StorageError
from nogilserve.tls.acme.copies import Copies, Kept
from nogilserve.tls.acme.jobs import (
    Jobs,
    Outcome,
    Stopped,
    duration,
    find_certificate,
    store,
)
from nogilserve.tls.acme.permission import Gate, matches
from nogilserve.tls.storage.contract import Storage
from nogilserve.tls.storage.folder import FolderStorage
from nogilserve.tls.storage.records import (
    Certificate,
    Plan,
    http_answer_key,
    plan_key,
    tls_answer_key,
)

__all__ = ["Keeper"]

_log = logging.getLogger("nogilserve")

_SYNC: Final = 2.0
"""Seconds between looks whether somebody else has changed a certificate."""
_AT_ONCE: Final = 4
"""Names worked on at the same time."""
_WAITING: Final = 64
"""Names that only clients have named and that wait for their turn; more are refused."""
_AWAY: Final = 5.0
"""Seconds after which a storage that is away is tried again."""
_REPORTED: Final = 1000
"""Names in a report, at most."""
_HOUR: Final = 3600.0
_PATIENCE: Final = 90.0
"""Seconds for which somebody who asks for a certificate is made to wait, at most."""


@dataclass(slots=True)
class _Job:
    """A name that has, or is to have, a certificate. Owner: whoever holds `Keeper._changed`."""

    name: str
    due: float
    on_demand: bool = False
    running: bool = False
    done: int = 0
    """Steps that have come to an end."""
    error: str = ""


class Keeper:
    """Any thread: what changes belongs to `_changed`, a condition, which is held for no system
    call. One thread calls `run`."""

    def __init__(
        self,
        domains: Iterable[str],
        jobs: Callable[[Callable[[float], None], Callable[[str, Certificate], None]], Jobs],
        storage: Storage,
        local: FolderStorage,
        gate: Gate | None,
        rate: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`jobs` is made with a way to wait and one to save. `local` is `storage` itself, or the
        folder with copies. `gate`: for names that only clients name; None: there are no such;
        `rate`: how many of them an hour are new, 0: any number."""
        self._storage = storage
        self._local = local
        self._gate = gate
        self._clock = clock
        self._ended = threading.Event()
        self._jobs = jobs(self._wait, self._save)
        self._changed = threading.Condition()
        self._names = {name: _Job(name, 0.0) for name in domains}
        self._queue: list[tuple[float, str]] = [(0.0, name) for name in sorted(self._names)]
        """A heap of times and names; those that do not agree with the job are void."""
        self._wanted: set[str] = set()
        """Names that only clients have named, and that had no turn yet."""
        self._rate = rate
        self._recent: deque[float] = deque()
        """When names came of the last hour that only clients have named."""
        self._told = False
        """That there are too many; until there are not."""
        self._working = 0
        self._version = 1
        self._unsaved: dict[str, Certificate] = {}
        self._copies = Copies(storage, local, clock)
        self._next_look = 0.0
        self._away = False
        """Owner: the thread of `run`, like the two above."""

    # ---- the main thread

    def run(self) -> None:
        """Keep certificates until `stop` is called."""
        while not self._ended.is_set():
            now = self._clock()
            if now >= self._next_look:
                self._look()
                self._next_look = self._clock() + _SYNC
            with self._changed:
                started = self._begin(self._clock())
                if not started:
                    self._changed.wait(max(0.01, min(self._due(), self._next_look) - self._clock()))
            for thread in started:
                thread.start()

    def follow(self, domains: Iterable[str]) -> None:
        """Keep certificates for these names from now on, and for those that only clients name. Any
        thread."""
        wanted = set(domains)
        with self._changed:
            for name, job in list(self._names.items()):
                if not job.on_demand and name not in wanted:
                    del self._names[name]  # a step that is at it comes to its end
            for name in sorted(wanted):
                known = self._names.get(name)
                if known is None or known.on_demand:
                    job = self._names[name] = known or _Job(name, 0.0)
                    job.on_demand = False
                    if not job.running:
                        self._plan(job, 0.0)
            self._changed.notify_all()

    def stop(self, timeout: float) -> None:
        """Give up what is in progress, which takes `timeout` seconds at most. Any thread."""
        self._ended.set()
        deadline = time.monotonic() + timeout
        with self._changed:
            self._changed.notify_all()
            while self._working and time.monotonic() < deadline:
                self._changed.wait(deadline - time.monotonic())

    def ended(self) -> bool:
        """Whether `stop` was called."""
        return self._ended.is_set()

    def _begin(self, now: float) -> list[threading.Thread]:
        """Take what is due, as far as there is room; under the condition."""
        threads = []
        while self._working < _AT_ONCE and (job := self._first()) is not None and job.due <= now:
            heapq.heappop(self._queue)
            job.running = True
            self._working += 1
            threads.append(
                threading.Thread(
                    target=self._step, args=(job,), name=f"work-{job.name}", daemon=True
                )
            )
        return threads

    def _plan(self, job: _Job, due: float) -> None:
        """Have a job done at a time; under the condition."""
        job.due = due
        heapq.heappush(self._queue, (due, job.name))

    def _first(self) -> _Job | None:
        """What is due first; under the condition. Entries that were overtaken are dropped."""
        while self._queue:
            due, name = self._queue[0]
            job = self._names.get(name)
            if job is not None and not job.running and job.due == due:
                return job
            heapq.heappop(self._queue)
        return None

    def _due(self) -> float:
        """When the next is due; under the condition."""
        if self._working >= _AT_ONCE:
            return self._next_look
        job = self._first()
        return self._next_look if job is None else job.due

    def _look(self) -> None:
        """Look what others have changed, and bring the copies up to date."""
        try:
            self._save_again()
            changed = self._copies.look(anew=self._away)
        except StorageError as error:
            if not self._away:
                _log.error("%s; serving what is there, and trying again", error)
            self._away = True
            return
        if self._away:
            _log.info("%s is back", self._storage.where)
        self._away = False
        if changed is not None:
            self._learn(changed)

    def _learn(self, changed: list[Kept]) -> None:
        """Look again at the names whose certificates have changed; tell serving processes."""
        now = self._clock()
        with self._changed:
            for kept in changed:
                if self._gate is not None and kept.on_demand and kept.names[0] not in self._names:
                    job = self._names[kept.names[0]] = _Job(kept.names[0], now, on_demand=True)
                    self._plan(job, now)
                for job in self._jobs_of(kept.names):
                    if job.due > now and not job.running:
                        self._plan(job, now)
            self._version += 1
            self._changed.notify_all()

    def _jobs_of(self, names: Iterable[str]) -> "Iterator[_Job]":
        """The jobs that a certificate of these names may concern; under the condition."""
        for name in names:
            if name.startswith("*."):
                yield from (job for job in self._names.values() if matches(name, job.name))
            elif name in self._names:
                yield self._names[name]

    # ---- steps

    def _wait(self, seconds: float) -> None:
        if self._ended.wait(seconds):
            raise Stopped

    def _step(self, job: _Job) -> None:
        try:
            outcome = self._run_step(job)
        except Stopped:
            outcome = Outcome(self._clock() + _AWAY, "the server is stopping")
        except StorageError as error:
            if str(error) != job.error:
                _log.error("Nothing can be done about %s, trying again: %s", job.name, error)
            outcome = Outcome(self._clock() + _AWAY, str(error))
        except Exception as error:  # an error of ours must not end the others
            _log.critical("internal error in the keeper, about %s", job.name, exc_info=True)
            outcome = Outcome(self._clock() + 600, f"internal error: {error!r}")
        if outcome.idle and outcome.error and not job.done:
            _log.warning(
                "No new certificate for %s, trying again in %s; the last attempt, of an earlier "
                "start or another replica, failed: %s",
                job.name,
                duration(outcome.due - self._clock()),
                outcome.error,
            )
        # What is not obtained for a client is not tried again by itself: another client will ask.
        forget = job.on_demand and outcome.error and not self._valid(job.name)
        with self._changed:
            if forget:
                self._names.pop(job.name, None)
            if not outcome.elsewhere:
                self._wanted.discard(job.name)
            job.running = False
            job.error = outcome.error
            self._plan(job, outcome.due)
            job.done += not outcome.elsewhere
            self._working -= 1
            self._version += outcome.changed
            self._changed.notify_all()

    def _run_step(self, job: _Job) -> Outcome:
        if job.on_demand and self._gate is not None:
            refusal = partial(self._gate.refusal, job.name)
            return self._jobs.step(job.name, on_demand=True, refusal=refusal)
        return self._jobs.step(job.name)

    def _save(self, name: str, certificate: Certificate) -> None:
        """Keep a new certificate. It is served whatever happens to the storage."""
        if self._local is not self._storage:
            try:
                store(self._local, name, certificate)
            except StorageError as error:
                _log.error("%s", error)
        try:
            store(self._storage, name, certificate)
        except StorageError as error:
            _log.error("%s; the new certificate of %s is written when it works again", error, name)
            with self._changed:
                self._unsaved[name] = certificate

    def _save_again(self) -> None:
        with self._changed:
            unsaved = dict(self._unsaved)
        for name, certificate in unsaved.items():
            store(self._storage, name, certificate)
            with self._changed:
                if self._unsaved.get(name) is certificate:
                    del self._unsaved[name]

    # ---- what serving processes ask

    def wait_for_change(self, seen: int, timeout: float) -> int:
        """The number of the newest change of certificates, once it is another than `seen`, or
        after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != seen or self.ended(), timeout)
            return self._version

    def http_answer(self, token: str) -> str | None:
        """The answer to HTTP-01 for a token; None if nobody knows it. Raises StorageError."""
        try:
            found = self._storage.read(http_answer_key(token))
        except ValueError:
            return None
        return None if found is None else found.decode("ascii", "replace")

    def tls_answer(self, name: str) -> str | None:
        """The certificate, behind its key, that answers TLS-ALPN-01 for a name; None if there is
        none. Raises StorageError."""
        try:
            found = self._storage.read(tls_answer_key(name))
        except ValueError:
            return None
        return None if found is None else found.decode("ascii", "replace")

    def want(self, name: str) -> str:
        """Have a certificate for a name, and wait for it; "" once it is there to be served, else
        why there is none. Raises StorageError."""
        if self._valid(name):
            return ""
        with self._changed:
            job = self._names.get(name)
        if job is None:
            refusal = self._refusal(name)
            if refusal:
                return refusal
            with self._changed:
                if name not in self._names:
                    if len(self._wanted) >= _WAITING:
                        return f"{len(self._wanted)} other names are waiting already"
                    if self._too_many(name):
                        return f"{self._rate} new names came within an hour (--on-demand-rate)"
                    self._wanted.add(name)
                    self._names[name] = _Job(name, 0.0, on_demand=True)
                    self._plan(self._names[name], 0.0)
                    self._changed.notify_all()
                job = self._names[name]
        with self._changed:
            done = job.done
            failing = done and job.error and job.due > self._clock() and not job.running
            if not failing:
                self._changed.wait_for(lambda: job.done != done or self.ended(), _PATIENCE)
            error = job.error
        if self._valid(name):
            return ""
        return error or "it is not there yet"

    def _too_many(self, name: str) -> bool:
        """Count one more, unless that would be too many; under the condition. What the list names
        is none that anybody could make up."""
        assert self._gate is not None
        if not self._rate or self._gate.lists(name):
            return False
        now = self._clock()
        while self._recent and not now - _HOUR < self._recent[0] <= now:  # or the clock was set
            self._recent.popleft()
        full = len(self._recent) >= self._rate
        if not full:
            self._recent.append(now)
        elif not self._told:
            _log.warning(
                "%d new names came on demand within an hour, further ones are refused for %s "
                "(--on-demand-rate); the next one was %s",
                self._rate,
                duration(self._recent[0] + _HOUR - now),
                name,
            )
        self._told = full
        return full

    def report(self) -> list[dict[str, str | float | bool]]:
        """Names that are looked after: until when their certificates are valid, in seconds since
        the epoch, 0 for none; whether the last attempt failed."""
        with self._changed:
            jobs = [(job.name, bool(job.error)) for job in self._names.values()][:_REPORTED]
        found: list[dict[str, str | float | bool]] = []
        for name, failing in jobs:
            certificate = find_certificate(self._local, name)
            end = certificate.not_after if certificate is not None else 0.0
            found.append({"name": name, "not_after": end, "failing": failing})
        return found

    def _refusal(self, name: str) -> str:
        """Why no certificate is obtained for an unknown name; also one that failed elsewhere."""
        if self._gate is None:
            return "no certificates are obtained on demand"
        refusal = self._gate.refusal(name)
        if refusal:
            return refusal
        plan = Plan.decode(self._storage.read(plan_key(name)))
        return plan.error if plan.failures and plan.retry_at > self._clock() else ""

    def _valid(self, name: str) -> bool:
        try:
            found = find_certificate(self._local, name)
        except ValueError:
            return False
        return found is not None and self._clock() < found.not_after
