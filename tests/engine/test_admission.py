"""Counting connections: exact whoever asks, and nothing is kept of those that are gone."""

import threading
from functools import partial

import pytest

from nogilserve.engine.admission import Admission, address_key
from nogilserve.engine.scheduler import Spares
from nogilserve.protocols.proxy import ProxyRules
from tests.engine.fakes import nothing, park_all
from tests.engine.threads import SECONDS

NOBODY = ProxyRules()


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "20010db800000000/64"),
        ("2001:db8::ffff:ffff:ffff:ffff", "20010db800000000/64"),
        ("2001:db8:0:1::1", "20010db800000001/64"),
        ("fe80::1%eth0", "fe80000000000000/64"),
        ("fe80::2%eth1", "fe80000000000000/64"),
        ("not:an:address", "not:an:address"),
    ],
)
def test_address_key(address: str, key: str) -> None:
    """IPv4 addresses count alone, also as mapped ones; of IPv6 a /64 counts as one."""
    assert address_key(address).lstrip("0") == key.lstrip("0")


def test_per_address() -> None:
    """Each address has its own count, which ends with its last connection."""
    admission = Admission(0, 2, NOBODY)
    assert admission.admit("a", ("192.0.2.1", "1")) is None
    assert admission.admit("b", ("192.0.2.1", "2")) is None
    refusal = admission.admit("c", ("192.0.2.1", "3"))
    assert refusal is not None
    assert (refusal.status, refusal.headers) == (503, (("Retry-After", "1"),))
    assert admission.admit("d", ("192.0.2.2", "3")) is None
    assert admission.admit("e", None) is None
    assert admission.counts() == (4, 2)
    for connection in "abcde":
        admission.release(connection)
        admission.release(connection)  # twice is once
    assert admission.counts() == (0, 0)


def test_proxies_do_not_count() -> None:
    """Those that are believed, in header fields or with a PROXY header, have many clients."""
    rules = ProxyRules(headers_from=("10.0.0.1",), protocol_from=("10.0.0.2",))
    admission = Admission(0, 1, rules)
    for number, address in enumerate(["10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2"]):
        assert admission.admit(number, (address, "1")) is None
    assert admission.announced(2, ("192.0.2.9", "1")) is None
    assert admission.announced(3, ("192.0.2.9", "2")) is not None
    assert admission.announced(3, ("10.0.0.1", "2")) is None  # a proxy behind a load balancer
    assert admission.counts() == (4, 1)
    admission.release(2)
    assert admission.counts() == (3, 0)


def test_refused_ones_linger_in_limited_number() -> None:
    """They take no place of those that are admitted, and give theirs back."""
    admission = Admission(1, 0, NOBODY)
    assert admission.admit("in", None) is None
    guests = 0
    while admission.linger(guests):
        guests += 1
    assert 1 < guests < 1000
    assert admission.counts() == (1, 0)
    admission.release(0)
    assert admission.linger("another")
    admission.release("in")
    assert admission.admit("next", None) is None


def test_limits_are_exact_from_many_threads() -> None:
    """Whatever the interleaving, never more are inside than the limit, and in the end none."""
    admission = Admission(5, 3, NOBODY)
    start = threading.Barrier(4)
    most: list[int] = []

    def body(name: int) -> None:
        start.wait(SECONDS)
        for number in range(500):
            key = (name, number)
            if admission.admit(key, (f"192.0.2.{number % 2}", "1")) is None:
                most.append(admission.counts()[0])
            admission.release(key)

    threads = [threading.Thread(target=body, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert 0 < max(most) <= 5
    assert admission.counts() == (0, 0)


def test_tasks_wait_for_the_next_thread() -> None:
    """What nobody can take at once is taken in order, by whoever parks or asks."""
    spares = Spares()
    done: list[int] = []
    assert not spares.offer(nothing)
    for number in range(3):
        assert not spares.offer(partial(done.append, number), wait=True)
    assert spares.tasks() == 3
    first = spares.take()
    assert first is not None
    first()
    for expected in (1, 2):
        task = spares.park()
        assert task is not None
        task()
        assert done[-1] == expected
    assert spares.take() is None
    [thread] = park_all(spares, 1)
    assert spares.offer(nothing, wait=True), "a parked thread takes it at once"
    assert thread.result() is nothing
    assert not spares.tasks()
