"""Deadlines: none early, each within a second, none lost, none twice, pushing back is free."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from nogilserve.engine.wheel import NEVER, Wheel


@dataclass(eq=False)
class Item:
    """What connections are to the wheel. The test moves the deadline as a connection does."""

    deadline: float = NEVER
    due: float = NEVER


def set_deadline(wheel: Wheel[Item], item: Item, deadline: float) -> None:
    """As the connections do it."""
    item.deadline = deadline
    wheel.enter(item)


seconds = st.one_of(
    st.floats(0, 10, allow_nan=False), st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.75, 2.0, 5.0])
)


class WheelModel(RuleBasedStateMachine):
    """A wheel next to what it should do; time only moves forward, as monotonic() does."""

    items = Bundle("items")

    def __init__(self) -> None:
        super().__init__()
        self.wheel: Wheel[Item] = Wheel()
        self.now = 1000.5
        self.waiting: set[Item] = set()
        """Items with a deadline."""

    @rule(target=items, after=seconds)
    def enter(self, after: float) -> Item:
        """A new item."""
        item = Item()
        set_deadline(self.wheel, item, self.now + after)
        self.waiting.add(item)
        return item

    @rule(item=items, after=seconds)
    def change(self, item: Item, after: float) -> None:
        """Another deadline, earlier or later; also for an item that has expired before."""
        set_deadline(self.wheel, item, self.now + after)
        self.waiting.add(item)

    @rule(item=items)
    def suspend(self, item: Item) -> None:
        """No deadline any more, without telling the wheel."""
        item.deadline = NEVER
        self.waiting.discard(item)

    @rule(item=consumes(items))
    def drop(self, item: Item) -> None:
        """An item that is gone for good."""
        self.suspend(item)

    @rule(after=seconds)
    def pass_time(self, after: float) -> None:
        """Time passes and the core looks at its wheel, as it does when `next` has come."""
        self.now += after
        expired = self.wheel.expire(self.now)
        assert len(set(map(id, expired))) == len(expired), "an item expired twice"
        for item in expired:
            assert item in self.waiting, "expired without a deadline"
            assert item.deadline <= self.now, "expired before its deadline"
            item.deadline = NEVER
            self.waiting.discard(item)
        late = [item for item in self.waiting if item.deadline + 1 < self.now]
        assert not late, "not expired a second after the deadline"

    @invariant()
    def is_woken_in_time(self) -> None:
        """`next` is never later than a second after the earliest deadline: the poller waits
        until then."""
        if self.waiting:
            earliest = min(item.deadline for item in self.waiting)
            assert self.wheel.next <= earliest + 1


WheelModel.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestWheel = WheelModel.TestCase


def test_pushing_back_costs_no_entry() -> None:
    """A thousand requests on a connection leave its one entry where it is."""
    wheel: Wheel[Item] = Wheel()
    item = Item()
    set_deadline(wheel, item, 5.0)
    first = item.due
    for request in range(1000):
        set_deadline(wheel, item, 5.0 + request / 100)
    assert item.due == first
    assert wheel.expire(6.0) == []
    assert item.due > first
    assert wheel.expire(16.0) == [item]
    assert wheel.expire(100.0) == []
    assert wheel.next == NEVER


def test_nothing_to_wait_for() -> None:
    """A wheel without entries never wakes anybody, and items without deadline do not enter."""
    wheel: Wheel[Item] = Wheel()
    assert wheel.next == NEVER
    wheel.enter(Item())
    assert wheel.next == NEVER
    assert wheel.expire(1e9) == []


def test_earlier_deadline_moves_the_item_forward() -> None:
    """A nearer deadline is honoured although a later entry exists, and reported once."""
    wheel: Wheel[Item] = Wheel()
    item = Item()
    set_deadline(wheel, item, 60.0)
    set_deadline(wheel, item, 2.0)
    assert wheel.next <= 3.0
    assert wheel.expire(3.0) == [item]
    item.deadline = NEVER
    assert wheel.expire(100.0) == []
