"""A process that runs trials of micro-benchmarks when it is told to; see `guard`.

Which nogilserve it measures is up to its PYTHONPATH. A line "NAME<tab>COUNT" is answered with the
nanoseconds of processor time that the operations took, or with "!" and why they cannot be made.
"""

import gc
import sys
import time

from benchmarks.micro_operations import Operation, WrongAnswer, make

__all__ = ["main"]

_WARM_UP = 1500


def _made(name: str) -> Operation | str:
    try:
        operation = make(name)
        for _ in range(_WARM_UP // 100):  # until the bytecode is specialised
            operation.prepare(100)
            operation.run(100)
    except (ImportError, AttributeError, TypeError, OSError, WrongAnswer) as exc:
        return f"{type(exc).__name__}: {exc}"
    return operation


def _trial(operation: Operation, count: int) -> int:
    operation.prepare(count)
    began = time.thread_time_ns()
    operation.run(count)
    return time.thread_time_ns() - began


def main() -> int:
    """Serve trials until standard input ends."""
    made: dict[str, Operation | str] = {}
    gc.disable()  # whether a collection falls into a trial is chance
    for line in sys.stdin:
        name, count = line.rstrip("\n").split("\t")
        if name not in made:
            made[name] = _made(name)
        operation = made[name]
        answer = f"!{operation}" if isinstance(operation, str) else _trial(operation, int(count))
        print(answer, flush=True)
    for operation in made.values():
        if not isinstance(operation, str):
            operation.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
