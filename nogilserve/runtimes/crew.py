"""A runtime made of members, each with a copy of the application: processes or subinterpreters.

This side imports no application. It accepts connections and hands them to the members
(`feeder`), starts members that died again, and passes on what is asked of the runtime.

    LOADING ──loaded──▶ LOADED ──started──▶ SERVING ──drain──▶ DRAINING
        └────────────────────────┴── channel closed ──┴─────────────┴──▶ ENDING ──▶ GONE
    GONE ──after a delay, unless the runtime stops──▶ LOADING
"""

import atexit
import contextlib
import itertools
import logging
import selectors
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Final

from nogilserve.engine.counters import total
from nogilserve.engine.roles import ListeningSocket
from nogilserve.runtimes.choose import RuntimeName
from nogilserve.runtimes.contract import Served, because, quantity
from nogilserve.runtimes.feeder import Feeder, Seat
from nogilserve.runtimes.intake import Sender, feed_pair
from nogilserve.runtimes.ledger import Ledger
from nogilserve.runtimes.members import (
    DRAINING,
    ENDING,
    GONE,
    LOADED,
    LOADING,
    SERVING,
    Failure,
    Launch,
    Post,
    Watched,
)
from nogilserve.runtimes.spec import Spec
from nogilserve.runtimes.sums import merged, settled, tagged
from nogilserve.runtimes.tenants import WAY_BACK

__all__ = ["Crew"]

_log = logging.getLogger("nogilserve")

_LAST: Final = 10.0
"""Seconds for members to end that were only told to import the application."""
_ANSWER: Final = 0.5
"""Seconds a member may take to answer before its last answer is used."""
_LOOK: Final = 0.02
"""Seconds between looks at a member that is about to end."""
_STABLE: Final = 10.0
"""Seconds after which a member that dies was not dying at once."""
_FIRST_DELAY: Final = 0.25
_LONGEST_DELAY: Final = 15.0
_NOTHING: Final = total([]) | {"active": 0, "connections": 0, "idle": 0}
"""The counters before any member has told its own."""


class Crew:
    """Owner: the thread that made it; `snapshot`, `unfinished`, `running` and `dump_stacks` are for
    any thread. The keeper, a thread of its own, reads the channels and replaces members.

    What threads share is in the posts, under `_changed`; no system call is made holding it.
    """

    def __init__(self, spec: Spec, launch: Launch) -> None:
        size = spec.members
        self._spec = spec
        self._launch = launch
        self._ledger = Ledger(size)
        self._posts = [Post(index) for index in range(size)]
        self._changed = threading.Condition()
        self._past: dict[str, Any] = {}
        """Counters of members that are gone. Under `_changed`."""
        self._past_look: dict[str, Any] = {}
        """The same of what members have told of themselves in detail. Under `_changed`."""
        self._tokens = itertools.count(1)
        self._seats = [Seat(index, self._ledger) for index in range(size)]
        self._watched: list[Watched] = []
        """Under `_changed`."""
        self._feeder: Feeder | None = None
        self._on_stopped: Callable[[], None] = lambda: None
        self._patient = False
        self._passed_on = False
        """Nothing is handed to members any more: they may drain."""
        self._stopping = False
        """No member is replaced any more."""
        self._closed = False
        self._selector = selectors.DefaultSelector()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._selector.register(self._reader, selectors.EVENT_READ, None)
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self.served = Served("", "wsgi", "")

    # ---- the runtime's contract; see there

    def load(self, kind: RuntimeName, reason: str, culprits: tuple[str, ...] = ()) -> None:
        """Start all members and have them import the application.

        `reason`: why it is this kind; `culprits`: what switched the GIL on. Raises Failure; then
        nothing is left of the members.
        """
        # For whoever never starts what was loaded: only asks, or cannot listen.
        atexit.register(self.abandon)
        try:
            for post in self._posts:
                self._begin(post)
            self._keeper.start()
            self._await_all(LOADED)
        except BaseException:
            self.abandon()
            raise
        name, interface = self._posts[0].info
        how = (
            f"runtime {kind}, {self._spec.members} with "
            f"{quantity(self._spec.config.threads, 'thread')} each"
        )
        self.served = Served(name, interface, because(how, reason), culprits, kind)

    def start(self, listeners: Sequence[ListeningSocket]) -> None:
        """Begin to accept. Raises what starting a member raised there."""
        try:
            for post in self._posts:
                self._send(post, "start")
            self._await_all(SERVING)
        except Failure as failure:
            self.abandon()
            failure.raised()
        except BaseException:
            self.abandon()
            raise
        self._feeder = Feeder(self._seats, self._spec.config.poller)
        self._feeder.start()
        self.accept(listeners)

    def accept(self, listeners: Sequence[ListeningSocket]) -> None:
        """After `start`: watch these listening sockets too."""
        assert self._feeder is not None
        for listener in listeners:
            ends = [feed_pair() for _ in self._posts]
            senders = [Sender(end) for end, _ in ends]
            watched = Watched(
                int(listener.socket.family),
                listener.server,
                senders,
                [end for _, end in ends],
                listener.role,
            )
            with self._changed:
                self._watched.append(watched)
                serving = [post for post in self._posts if post.state == SERVING]
            for post in serving:
                self._send_intake(post, watched)
            self._feeder.watch(listener, senders)

    def drain(
        self, on_stopped: Callable[[], None] = lambda: None, *, patient: bool = False
    ) -> None:
        """Stop accepting, then have the members finish; see the contract."""
        self._patient = patient
        if self._stopping:
            self._wake()
            return
        self._on_stopped = on_stopped
        self._stopping = True
        if self._feeder is not None:
            self._feeder.stop()

    def join(self, deadline: float) -> bool:
        """After `drain`: wait for the end, at most until `deadline`. False: not yet."""
        if self._closed:
            return True
        if not self._passed_on:
            feeder = self._feeder
            if feeder and not feeder.stopped.wait(max(deadline - monotonic(), 0)):
                return False
            self._passed_on = True
            self._on_stopped()
            self._wake()

        def ended() -> bool:
            return all(post.state == GONE for post in self._posts)

        with self._changed:
            if not self._changed.wait_for(ended, max(deadline - monotonic(), 0)):
                return False
        self._close()
        return True

    @property
    def accepting(self) -> bool:
        """Whether the listening sockets are still watched."""
        return self._feeder is not None and not self._feeder.stopped.is_set()

    def snapshot(self) -> dict[str, Any]:
        """The counters of all members, those that are gone included. Any thread."""
        self._ask("snapshot")
        with self._changed:
            known = [dict(post.answers.get("snapshot") or {}) for post in self._posts]
            known += [_NOTHING, self._past]
        if self._feeder is not None:
            known.append({"refused": dict(self._feeder.refused)})
        return merged(known)

    def look(self) -> dict[str, Any]:
        """What all members do now, those that are gone included in what only grows. Any thread."""
        return self.inquire("look", {}, _ANSWER)

    def inquire(
        self, question: str, arguments: Mapping[str, Any], seconds: float
    ) -> dict[str, Any]:
        """What all members answer within that time, added up; each item of a list says whose it is.
        Any thread."""
        token = f"{question} {next(self._tokens)}"
        asked: list[Post] = []
        with self._changed:
            for post in self._posts:
                if post.state in (SERVING, DRAINING):
                    post.awaited.add(token)
                    asked.append(post)
        for post in asked:
            if not self._send(post, "inquire", (token, question, dict(arguments))):
                with self._changed:
                    post.awaited.discard(token)

        def answered() -> bool:
            return not any(token in post.awaited for post in asked)

        with self._changed:
            self._changed.wait_for(answered, seconds)
            for post in asked:
                post.awaited.discard(token)
                if (answer := post.answers.pop(token, None)) is not None:
                    post.answers[question] = tagged(answer, member=post.index)
            known = [post.answers.get(question) or {} for post in self._posts]
            if question == "look":
                known.append(self._past_look)
            else:
                for post in asked:
                    post.answers.pop(question, None)
        return merged(known)

    def unfinished(self) -> int:
        """Connections that are open, or on their way to a member, but for those that members have
        given up while they warmed up. Any thread."""
        try:
            open_now = sum(seat.load() for seat in self._seats)
        except ValueError:  # the counters are given back: nothing is left
            return 0
        with self._changed:
            told = [post.answers.get("snapshot") or {} for post in self._posts]
        given_up: int = sum(answer.get("abandoned", 0) for answer in told)
        return max(open_now - given_up, 0)  # some may have ended since that was told

    def running(self) -> list[str]:
        """The requests inside the application, "GET /path" each. Any thread."""
        self._ask("running")
        with self._changed:
            return [text for post in self._posts for text in post.answers.get("running") or ()]

    def dump_stacks(self) -> None:
        """Have every member write the stacks of its threads to standard error. Any thread."""
        self._ask("dump_stacks")

    def reopen_logs(self) -> None:
        """Have every member open the file of its access log anew. Any thread."""
        self._ask("reopen_log")

    def abandon(self) -> None:
        """End everything at once, whatever state it is in."""
        self._stopping = True
        for post in self._posts:
            if post.handle is not None:
                post.handle.kill()
        if self._feeder is not None:
            self._feeder.stop()
        if self._keeper.ident is None:
            for post in self._posts:
                if post.channel is not None:
                    post.channel.close()
            # An interpreter that is still there when the process ends makes Python complain.
            deadline = monotonic() + _LAST
            for post in self._posts:
                if post.handle is not None:
                    post.handle.ended(max(deadline - monotonic(), 0))
            self._close()
        else:
            self.join(monotonic() + _ANSWER)

    # ---- any thread

    def _ask(self, what: str) -> None:
        """Put a question to all members, and wait for their answers, but not for long."""
        asked: list[Post] = []
        with self._changed:
            for post in self._posts:
                if post.state in (SERVING, DRAINING) and what not in post.awaited:
                    post.awaited.add(what)
                    asked.append(post)
        for post in asked:
            if not self._send(post, "ask", what):
                with self._changed:
                    post.awaited.discard(what)

        def answered() -> bool:
            return not any(what in post.awaited for post in asked)

        with self._changed:
            self._changed.wait_for(answered, _ANSWER)

    def _send(
        self, post: Post, name: str, data: object = None, sockets: Sequence[socket.socket] = ()
    ) -> bool:
        channel = post.channel
        if channel is None:
            return False
        try:
            channel.send(name, data, sockets)
        except OSError:  # it is ending; the keeper sees that
            return False
        return True

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._writer.send(b"!")

    def _await_all(self, state: str) -> None:
        """Wait until every member is in that state; raises the first failure."""

        def decided() -> bool:
            return any(post.failure for post in self._posts) or all(
                post.state == state for post in self._posts
            )

        with self._changed:
            # In slices: on Windows a wait without end cannot be interrupted.
            while not self._changed.wait_for(decided, _ANSWER):
                pass
            failure = next((post.failure for post in self._posts if post.failure), None)
        if failure is not None:
            raise failure

    # ---- the keeper (and, before it runs, the owner)

    def _begin(self, post: Post) -> None:
        """Launch a member."""
        handle, channel = self._launch(post.index, self._ledger)
        post.started = monotonic()
        post.due = 0.0
        post.told = None
        post.begun = False
        with self._changed:
            post.handle = handle
            post.channel = channel
            post.state = LOADING
            post.failure = None
            post.awaited.clear()
        self._selector.register(channel, selectors.EVENT_READ, post)

    def _send_intake(self, post: Post, watched: Watched) -> None:
        """Let a member take the connections of a listening socket."""
        assert post.handle is not None
        watched.senders[post.index].peer = post.handle.pid
        intake = watched.intakes[post.index]
        back = [] if WAY_BACK.socket is None else [WAY_BACK.socket]
        what = (watched.family, watched.server, watched.role, WAY_BACK.servers)
        self._send(post, "accept", what, [intake, *back])

    def _keep(self) -> None:
        """The body of the keeper."""
        try:
            while not self._closed:
                for key, _ in self._selector.select(self._patience()):
                    if key.data is None:
                        with contextlib.suppress(BlockingIOError):
                            self._reader.recv(4096)
                    else:
                        self._hear(key.data)
                for post in self._posts:
                    self._look_after(post)
                if self._stopping and all(post.state == GONE for post in self._posts):
                    return
        except Exception:
            _log.critical("internal error while looking after members", exc_info=True)

    def _patience(self) -> float | None:
        """Seconds until something is due; None: nothing is."""
        if any(post.state == ENDING for post in self._posts):
            return _LOOK
        due = [post.due for post in self._posts if post.due]
        return max(min(due) - monotonic(), 0) if due else None

    def _hear(self, post: Post) -> None:
        """A message of a member, or its end."""
        channel = post.channel
        assert channel is not None
        try:
            name, data, _ = channel.receive()
        except (EOFError, OSError):
            self._selector.unregister(channel)
            channel.close()
            self._lost(post)
            return
        missing: list[Watched] = []
        with self._changed:
            if name == "loaded":
                post.state = LOADED
                post.info = data
            elif name == "started":
                post.state = SERVING
                missing = self._watched.copy()
            elif name == "failed":
                post.failure = Failure(*data)
            elif name == "answer":
                question, value = data
                if question in post.awaited:  # else nobody waits for it any more
                    post.answers[question] = value
                    post.awaited.discard(question)
            elif name == "stopped":
                post.answers["snapshot"] = data
                post.state = DRAINING
            self._changed.notify_all()
        if name == "loaded" and self._feeder is not None and not self._stopping:
            post.begun = True
            self._send(post, "start")
        elif name == "started":
            for watched in missing:
                self._send_intake(post, watched)
            self._open_seat(post, True)
        elif name == "failed" and self._feeder is not None:
            _log.error("%s: %s\n%s", self._name(post), *data[1:])

    def _name(self, post: Post) -> str:
        return post.handle.name if post.handle else f"member {post.index}"

    def _open_seat(self, post: Post, opened: bool) -> None:
        self._seats[post.index].opened = opened
        if self._feeder is not None:
            self._feeder.wake()

    def _lost(self, post: Post) -> None:
        """The channel of a member is closed: it has ended, or is about to."""
        self._open_seat(post, False)
        with self._changed:
            post.state = ENDING
            post.channel = None
            post.awaited.clear()
            self._changed.notify_all()

    def _look_after(self, post: Post) -> None:
        """Notice the end of a member; start the next one when it is time; tell it to drain."""
        # One that is about to serve has to get its intakes first.
        ready = post.channel is not None and not (post.begun and post.state == LOADED)
        if ready and self._passed_on and post.told is not self._patient:
            post.told = self._patient
            self._send(post, "drain", self._patient)
        if post.state == ENDING:
            assert post.handle is not None
            how = post.handle.ended()
            if how is not None:
                self._bury(post, how)
        elif post.due and monotonic() >= post.due and not self._stopping:
            try:
                self._begin(post)
            except OSError as exc:
                _log.error("cannot start another member: %s", exc)
                self._again_later(post)
        if self._stopping:
            post.due = 0.0

    def _bury(self, post: Post, how: str) -> None:
        name = self._name(post)
        self._ledger.bury(post.index)
        if self._feeder is not None and not self._stopping:
            delay = self._again_later(post)
            later = f" in {delay:g} s" if delay else ""
            _log.error("%s ended %s; another one is started%s", name, how, later)
        with self._changed:
            last = post.answers.pop("snapshot", None)
            if last:
                self._past = merged([self._past, settled(last)])
            if look := post.answers.get("look"):
                gone = {"totals": look["totals"]}
                self._past_look = merged([self._past_look, gone])
            post.answers.clear()
            if post.failure is None and not self._stopping:
                post.failure = Failure("app", f"{name} ended {how}")
            post.state = GONE
            self._changed.notify_all()

    def _again_later(self, post: Post) -> float:
        """Decide when the next one is launched: at once, later each time it dies at once."""
        if monotonic() - post.started > _STABLE:
            post.deaths = 0
        delay = min(_FIRST_DELAY * 2 ** (post.deaths - 1), _LONGEST_DELAY) if post.deaths else 0.0
        post.deaths += 1
        post.due = monotonic() + delay
        return delay

    def _close(self) -> None:
        """Everything has ended: give back what is left."""
        if self._closed:
            return
        atexit.unregister(self.abandon)
        self._wake()
        if self._keeper.ident is not None:
            self._keeper.join()
        self._closed = True
        if self._feeder is not None:
            self._feeder.close()
        for watched in self._watched:
            watched.close()
        self._selector.close()
        self._reader.close()
        self._writer.close()
        self._ledger.close()
