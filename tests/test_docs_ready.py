"""The patterns of docs/ready.md do what the page says, from many threads."""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.server import ROOT

TEXT = (ROOT / "docs/ready.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
THREADS = 8


def names(number: int) -> dict[str, Any]:
    """What an example of the page defines."""
    found: dict[str, Any] = {}
    exec(BLOCKS[number], found)
    return found


def at_once(call: Callable[[], object]) -> list[object]:
    """What several threads get that call at the same moment."""
    barrier = threading.Barrier(THREADS)
    results: list[object] = []

    def run() -> None:
        barrier.wait(20)
        results.append(call())

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def test_counter() -> None:
    """No addition is lost."""
    counter = names(0)["Counter"]()
    at_once(lambda: [counter.add() for _ in range(500)])
    assert counter.add(0) == 500 * THREADS


def test_once() -> None:
    """One object, made once."""
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    for _ in range(5):
        made.clear()
        once = names(1)["Once"](make)
        assert set(at_once(once.get)) == set(made)
        assert len(made) == 1


def test_one_for_each_thread(tmp_path: Path) -> None:
    """Each thread has its own connection, and keeps it."""
    connection = names(2)["connection"]
    kept = []

    def twice() -> bool:
        mine = connection(str(tmp_path / "db"))
        mine.execute("select 1")
        kept.append(mine)
        same = connection(str(tmp_path / "db")) is mine
        mine.close()
        return same

    assert at_once(twice) == [True] * THREADS
    assert len(set(map(id, kept))) == THREADS
