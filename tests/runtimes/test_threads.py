"""Real threads, real sockets: threads inside the application, hand-off, drain, counters."""

import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from http.client import HTTPException
from time import monotonic

import pytest

from nogilserve.engine.http2 import begin
from nogilserve.engine.poller import POLLERS
from nogilserve.messages import Exchange, RequestRecord
from tests.engine.threads import Running
from tests.runtimes.served import SECONDS, Served, echo_target, reply
from tests.support import http2
from tests.support.leaks import Possessions
from tests.support.waiting import Deadline, wait_until
from tests.support.wire import Client


def get(target: str, *fields: str) -> bytes:
    """The bytes of a request."""
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: test", *fields, "", ""]).encode()


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    """Closes the clients of a test."""
    with ExitStack() as stack:
        yield stack


class Hold:
    """An application where /hold waits until the test lets it go, and the rest is quick."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.inside = threading.Semaphore(0)

    def __call__(self, exchange: Exchange) -> None:
        if exchange.request.path.startswith("/hold"):
            self.inside.release()
            self.let_go.wait(60)
        echo_target(exchange)

    def wait_inside(self, count: int) -> None:
        """Wait until that many requests are being held."""
        for _ in range(count):
            assert self.inside.acquire(timeout=SECONDS), "a request was never run"


# ---- threads inside the application


@pytest.mark.parametrize("poller", POLLERS)
@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_all_threads_inside_at_once(
    clients: ExitStack, threads: int, cores: int, poller: str
) -> None:
    """As many requests as threads meet inside the application, round after round.

    In every other round the requests are of a kind never seen, so that nothing was learnt.
    """
    barrier = threading.Barrier(threads)

    def meet(exchange: Exchange) -> None:
        barrier.wait(SECONDS)
        echo_target(exchange)

    with Served(meet, threads=threads, cores=cores, poller=poller) as served:
        group = [clients.enter_context(served.connect()) for _ in range(threads)]
        for number in range(100 if poller == "epoll" else 20):
            if number % 10 == 9:  # other connections, spread over the cores in another way
                group.pop(number % threads).close()
                group.append(clients.enter_context(served.connect()))
            targets = [f"/{number if number % 2 else 'same'}/{i}" for i in range(threads)]
            for client, target in zip(group, targets, strict=True):
                client.send(get(target))
            bodies = [client.receive().body for client in group]
            assert bodies == [target.encode() for target in targets], f"round {number}"


@pytest.mark.parametrize("poller", POLLERS)
def test_new_connections_meet(poller: str) -> None:
    """The same with connections that are new in each round, as impatient clients make them."""
    barrier = threading.Barrier(16)

    def meet(exchange: Exchange) -> None:
        barrier.wait(SECONDS)
        echo_target(exchange)

    with Served(meet, threads=16, cores=2, poller=poller) as served:
        for number in range(15):
            with ExitStack() as stack:
                group = [stack.enter_context(served.connect()) for _ in range(16)]
                for client in group:
                    client.send(get(f"/{number}", "Connection: close"))
                for client in group:
                    assert client.receive().body == b"/%d" % number
                    client.wait_closed()


@pytest.mark.parametrize("poller", POLLERS)
@pytest.mark.parametrize(("threads", "cores"), [(2, 1), (3, 2), (8, 2)])
def test_blocked_calls_do_not_stall_the_others(
    clients: ExitStack, threads: int, cores: int, poller: str
) -> None:
    """With one thread left, every other connection is served, on whatever core it lives."""
    hold = Hold()
    with Served(hold, threads=threads, cores=cores, poller=poller) as served:
        held = [clients.enter_context(served.connect()) for _ in range(threads - 1)]
        for number, client in enumerate(held):
            client.send(get(f"/hold/{number}"))
        hold.wait_inside(threads - 1)
        others = [clients.enter_context(served.connect()) for _ in range(12)]
        for number in range(20):
            for client in others:
                client.send(get(f"/quick/{number}"))
            for client in others:
                assert client.receive().body == b"/quick/%d" % number
        hold.let_go.set()
        for number, client in enumerate(held):
            assert client.receive().body == b"/hold/%d" % number


def test_more_requests_than_threads(clients: ExitStack) -> None:
    """What finds no thread waits, and is answered once threads are free again."""
    hold = Hold()
    with Served(hold, threads=3, cores=2) as served:
        group = [clients.enter_context(served.connect()) for _ in range(12)]
        for number, client in enumerate(group):
            client.send(get(f"/hold/{number}"))
        hold.wait_inside(3)
        assert not hold.inside.acquire(timeout=0.05), "more calls at once than threads"
        hold.let_go.set()
        for number, client in enumerate(group):
            assert client.receive().body == b"/hold/%d" % number


# ---- mix-ups and counters


def exchange_nonces(served: Served, name: str, connections: int, rounds: int) -> tuple[int, int]:
    """Pipeline requests over some connections and check each answer; bytes sent, received."""
    with ExitStack() as stack:
        group = [stack.enter_context(served.connect()) for _ in range(connections)]
        sent = 0
        received = 0
        for number in range(rounds):
            batches = []
            for index, client in enumerate(group):
                kinds = ("fast", "slow", "long", "fast")
                batch = [f"/{kind}/{name}/{index}/{number}/{n}" for n, kind in enumerate(kinds)]
                batches.append(batch)
                data = b"".join(map(get, batch))
                client.send(data)
                sent += len(data)
            for client, batch in zip(group, batches, strict=True):
                for target in batch:
                    head = client.receive_head()
                    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                    body = client.receive_exactly(length)
                    assert body[: len(target)] == target.encode()
                    assert not body[len(target) :].strip(b".")
                    received += len(head) + length
        return sent, received


@pytest.mark.parametrize("poller", POLLERS)
def test_no_response_is_mixed_up_and_the_counters_add_up(poller: str) -> None:
    """Four client threads with eight connections each: every answer carries its own nonce."""
    pause = threading.Event()

    def application(exchange: Exchange) -> None:
        body = exchange.request.target.encode()
        if body.startswith(b"/slow"):
            pause.wait(0.003)
        elif body.startswith(b"/long"):
            body += b"." * 100_000
        reply(exchange, body)

    with Served(application, threads=6, cores=2, poller=poller) as served:
        names = ["a", "b", "c", "d"]
        running = [
            Running(lambda name=name: exchange_nonces(served, name, 8, 4))  # type: ignore[misc]
            for name in names
        ]
        results = [thread.result(60) for thread in running]
        wait_until(lambda: served.counters()["closed"] == 32, SECONDS)
        counters = served.counters()
        assert counters["accepted"] == counters["closed"] == 32
        assert counters["requests"] == 4 * 8 * 4 * 4
        assert counters["received"] == sum(sent for sent, _ in results)
        assert counters["sent"] == sum(received for _, received in results)
        assert counters["active"] == counters["connections"] == counters["idle"] == 0
        assert counters["refused"] == {}


def test_snapshot_while_requests_run(clients: ExitStack) -> None:
    """Active and idle connections are told apart, at any time, from any thread."""
    hold = Hold()
    with Served(hold, threads=4, cores=2) as served:
        group = [clients.enter_context(served.connect()) for _ in range(5)]
        for client in group:
            client.send(get("/"))
            client.receive()
        for client in group[:3]:
            client.send(get("/hold"))
        hold.wait_inside(3)
        now = served.counters()
        assert (now["connections"], now["active"], now["idle"]) == (5, 3, 2)
        hold.let_go.set()
        for client in group[:3]:
            client.receive()
        wait_until(lambda: served.counters()["active"] == 0, SECONDS)
        assert served.counters()["requests"] == 8
        assert served.runtime.unfinished() == 5


def test_hand_offs_are_counted(clients: ExitStack) -> None:
    """A core taken over from a blocked call shows in the counters."""
    hold = Hold()
    with Served(hold, threads=2, cores=1) as served:
        blocked, other = (clients.enter_context(served.connect()) for _ in range(2))
        blocked.send(get("/hold"))
        hold.wait_inside(1)
        assert other.get("/").body == b"/"
        hold.let_go.set()
        blocked.receive()
        assert served.counters()["hand_offs"] >= 1


# ---- the end


@pytest.mark.parametrize("poller", POLLERS)
@pytest.mark.parametrize(("threads", "cores"), [(1, 1), (2, 2), (5, 2)])
def test_everything_ends(threads: int, cores: int, poller: str) -> None:
    """After drain and join no thread and no descriptor is left, used or not."""
    for requests in (0, 1, 5):
        before = Possessions()
        served = Served(echo_target, threads=threads, cores=cores, poller=poller)
        with ExitStack() as stack:
            for _ in range(requests):
                assert stack.enter_context(served.connect()).get("/").status == 200
            assert served.stop()
        served.listener.close()
        assert before.wait_for_no_leak(SECONDS) == []


def test_stop_of_an_idle_server_is_quick(clients: ExitStack) -> None:
    """Idle connections are not waited for, whatever the keep-alive time."""
    with Served(echo_target, threads=4, cores=2, keep_alive=100.0) as served:
        for _ in range(10):
            client = clients.enter_context(served.connect())
            assert client.get("/").status == 200
        begun = monotonic()
        assert served.stop()
        assert monotonic() - begun < 3


def test_stop_with_a_busy_connection_is_quick(clients: ExitStack) -> None:
    """A request that runs at the stop is awaited, its connection's keep-alive time is not."""
    hold = Hold()
    with Served(hold, threads=2, cores=1, keep_alive=100.0) as served:
        client = clients.enter_context(served.connect())
        client.send(get("/hold"))
        hold.wait_inside(1)
        served.runtime.drain()
        assert not served.runtime.join(monotonic() + 0.05)
        hold.let_go.set()
        assert client.receive().body == b"/hold"
        begun = monotonic()
        assert served.stop()
        assert monotonic() - begun < 3


def test_blocked_application_hits_the_deadline(clients: ExitStack) -> None:
    """join says False while a call is blocked, True when it is called again after the call."""
    hold = Hold()
    with Served(hold, threads=3, cores=2) as served:
        group = [clients.enter_context(served.connect()) for _ in range(3)]
        for client in group:
            client.send(get("/hold", "Connection: close"))
        hold.wait_inside(3)
        begun = monotonic()
        assert not served.stop(0.1)
        assert 0.1 <= monotonic() - begun < 5
        assert served.runtime.unfinished() >= 1
        hold.let_go.set()
        for client in group:
            assert client.receive().body == b"/hold"
        assert served.runtime.join(monotonic() + SECONDS)
        served.ended = True


@pytest.mark.parametrize("poller", POLLERS)
def test_what_waits_to_be_accepted_is_served(clients: ExitStack, poller: str) -> None:
    """Connections made before the stop are answered, accepted by then or not."""
    hold = Hold()
    with Served(hold, threads=2, cores=2, poller=poller) as served:
        blocked = [clients.enter_context(served.connect()) for _ in range(2)]
        for client in blocked:
            client.send(get("/hold"))
        hold.wait_inside(2)  # nobody accepts now
        waiting = [clients.enter_context(served.connect()) for _ in range(50)]
        for number, client in enumerate(waiting):
            client.send(get(f"/{number}"))
        served.runtime.drain()
        hold.let_go.set()
        for number, client in enumerate(waiting):
            answer = client.receive()
            assert answer.body == b"/%d" % number
        for client in blocked:
            assert client.receive().body == b"/hold"
        assert served.stop()


class Loop:
    """A client that asks again and again on one connection until the server ends it."""

    def __init__(self, served: Served) -> None:
        self.client = served.connect()
        self.answered = 0
        self.lost_first = False
        """The very first request of the connection was not answered."""

    def run(self) -> None:
        """Until the connection ends; only an idle connection may be closed on a request."""
        deadline = Deadline(SECONDS)
        with self.client:
            while deadline.require("the server never ended the connection"):
                target = f"/{id(self)}/{self.answered}"
                try:
                    self.client.send(get(target))
                    answer = self.client.receive()
                except (HTTPException, OSError):
                    self.lost_first = self.answered == 0
                    return
                assert answer.body == target.encode()
                self.answered += 1
                if answer.get("connection") == "close":
                    return


@pytest.mark.parametrize("poller", POLLERS)
def test_nothing_is_lost_when_stopped_under_load(poller: str) -> None:
    """Every request that was begun before the stop is answered, and the counters agree."""
    with Served(echo_target, threads=4, cores=2, poller=poller) as served:
        loops = [Loop(served) for _ in range(12)]
        running = [Running(loop.run) for loop in loops]
        wait_until(lambda: served.counters()["requests"] > 300, SECONDS)
        assert served.stop()
        for thread in running:
            thread.result()
        assert not any(loop.lost_first for loop in loops)
        assert served.counters()["requests"] == sum(loop.answered for loop in loops)
        assert served.counters()["connections"] == 0


def test_drain_may_be_joined_in_steps(clients: ExitStack) -> None:
    """A deadline in the past only looks: nothing is broken by asking often."""
    hold = Hold()
    with Served(hold, threads=2, cores=2) as served:
        client: Client = clients.enter_context(served.connect())
        client.send(get("/hold", "Connection: close"))
        hold.wait_inside(1)
        served.runtime.drain()
        for _ in range(20):
            assert not served.runtime.join(monotonic() - 1)
        hold.let_go.set()
        assert client.receive().body == b"/hold"
        assert served.runtime.join(monotonic() + SECONDS)
        served.ended = True


def has_run(served: Served, requests: int) -> bool:
    """Whether so many requests are counted."""
    return bool(served.counters()["requests"] == requests)


def test_stop_waits_for_a_request_whose_connection_has_ended() -> None:
    """A client of HTTP/2 leaves while its request runs apart, being of a slow kind, and then the
    engine stops: the request is counted and noted all the same."""
    holds, records = [Hold() for _ in range(3)], queue.SimpleQueue[RequestRecord]()
    begun = iter(holds)
    head = http2.headers(1, [(":path", "/hold") if f[0] == ":path" else f for f in http2.GET])

    def application(exchange: Exchange) -> None:
        (echo_target if exchange.request.path == "/" else next(begun))(exchange)

    with Served(application, threads=3, http2=begin, record=records.put) as served:
        for done, hold in enumerate(holds, 1):
            with served.connect() as client, served.connect() as other:
                client.send(http2.PREFACE + http2.settings() + head)
                hold.wait_inside(1)
                # Somebody waits for the core: so the monitor finds the call before blocked.
                other.send(get("/"))
                assert other.receive().status == 200
                if hold is not holds[-1]:
                    hold.let_go.set()
                    wait_until(partial(has_run, served, 2 * done), SECONDS)
        wait_until(lambda: not served.counters()["connections"], SECONDS)
        assert not served.stop(0.3)
        holds[-1].let_go.set()
        assert served.stop()
        assert served.counters()["requests"] == 6
        assert [records.get_nowait().target for _ in range(6)].count("/hold") == 3
