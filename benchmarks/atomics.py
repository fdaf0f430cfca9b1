"""`atomics`: every atomic operation of one request, with its object and its line of Python.

Threads that share an object wait for each other where the processor must change memory in one go:
reference counts of objects of other threads, locks. This counts them exactly, however busy the
machine is: a thread that calls the application is followed through one request instruction by
instruction (ptrace), and each locked one is looked up. Linux on x86-64, CPython 3.14.
"""

import argparse
import bisect
import ctypes
import gc
import importlib
import json
import os
import platform
import subprocess
import sys
import types
from collections import Counter
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import report
from benchmarks.calls import WARM_UP, caller_of, load
from benchmarks.chart import Bar, Panel
from benchmarks.machine import conditions
from benchmarks.rounds import say
from benchmarks.servers import python
from benchmarks.sharing import APPS, App
from benchmarks.steps import STEPS
from benchmarks.trial import ROOT
from nogilserve.runtimes.daemon import daemon

__all__ = ["Locked", "decode", "run"]

MARK = 110  # getppid(2): what the thread calls before each request
SHARED_COUNT, MUTEX = 16, 10  # where in an object they stand (3.14, free-threaded)
TOP = 12  # rows of a table
KEPT = 60  # lines that are written down

PEEKUSER, SINGLESTEP, GETREGS, ATTACH, DETACH, SYSCALL = 3, 9, 12, 16, 17, 24
WALL = 0x40000000
RIP = 16 * 8
NAMES = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx"),
    *("rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base"),
    *("ds", "es", "fs", "gs"),
)
NUMBERED = (
    "rax",
    "rcx",
    "rdx",
    "rbx",
    "rsp",
    "rbp",
    "rsi",
    "rdi",
    *(f"r{n}" for n in range(8, 16)),
)
IMMEDIATE = {0x80: 1, 0x83: 1, 0x81: 4, 0xC6: 1, 0xC7: 4}


class Locked(NamedTuple):
    """The memory operand of an instruction that locks: base + scaled * scale + displacement."""

    base: str
    scaled: str
    scale: int
    displacement: int
    segment: str

    def address(self, registers: dict[str, int]) -> int:
        """Where it is."""
        where = self.displacement
        where += registers[self.base] if self.base else 0
        where += registers[self.scaled] * self.scale if self.scaled else 0
        where += registers[self.segment] if self.segment else 0
        return where & (2**64 - 1)


def decode(code: bytes) -> Locked | None:
    """The instruction at the beginning of `code`, if it locks; xchg does without being told."""
    at, lock, segment, rex = 0, False, "", 0
    while code[at] in (0x66, 0xF2, 0xF3, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65, 0xF0):
        lock |= code[at] == 0xF0
        segment = "fs_base" if code[at] == 0x64 else segment
        at += 1
    if code[at] & 0xF0 == 0x40:
        rex, at = code[at], at + 1
    opcode, at = code[at], at + 1
    immediate = IMMEDIATE.get(opcode, 0)
    if opcode == 0x0F:
        immediate, at = (1 if code[at] == 0xBA else 0), at + 1
    elif not lock and opcode not in (0x86, 0x87):
        return None
    mod, rm = code[at] >> 6, code[at] & 7
    at += 1
    if mod == 3 or (opcode == 0x0F and not lock):
        return None
    base, index, scale = NUMBERED[rm | (rex & 1) << 3], "", 1
    size = (0, 1, 4)[mod]
    if rm == 4:
        sib, at = code[at], at + 1
        number = (sib >> 3 & 7) | (rex & 2) << 2
        index, scale = ("" if number == 4 else NUMBERED[number]), 1 << (sib >> 6)
        base = NUMBERED[(sib & 7) | (rex & 1) << 3]
        if mod == 0 and sib & 7 == 5:
            base, size = "", 4
    elif mod == 0 and rm == 5:
        base, size = "rip", 4
    displacement = int.from_bytes(code[at : at + size], "little", signed=True)
    if base == "rip":
        displacement += at + size + immediate
    return Locked(base, index, scale, displacement, segment)


# ---- the process that is followed --------------------------------------------------------------


def _describe(item: Any) -> str:
    """What an object is, without running a line of the application's code."""
    kind = type(item)
    if kind in (str, bytes, int, float):
        return f"{kind.__name__} {item!r:.40}"
    if isinstance(item, type):
        return f"class {item.__module__}.{item.__qualname__}"
    if kind is types.FunctionType:
        return f"function {item.__module__}.{item.__qualname__}"
    if kind is ContextVar:
        return f"ContextVar {item.name}"
    return f"{kind.__module__}.{kind.__qualname__}"


def _objects() -> Iterator[tuple[int, str]]:
    """Address and description of everything that lives."""
    seen: set[int] = set()
    named: dict[int, str] = {}
    everything = gc.get_objects()
    for item in everything:
        if type(item) is dict:
            for key, value in item.items():
                if type(key) is str:
                    named.setdefault(id(value), key)
    for item in everything:
        for each in (item, *gc.get_referents(item)):
            if id(each) not in seen:
                seen.add(id(each))
                name = f" ({named[id(each)]})" if id(each) in named else ""
                yield id(each), _describe(each) + name


def target(name: str, path: str, step: str, objects: str) -> None:
    """Call the application for ever on a second thread; its number goes to standard output."""
    app = load(name)
    path = sys.intern(path)
    with caller_of(app, path) as call:
        call(WARM_UP)
    gc.collect()
    # Before some of it is frozen; twice, since looking makes objects whose memory is used again.
    first = set(_objects())
    Path(objects).write_text(json.dumps([entry for entry in _objects() if entry in first]))
    del first
    STEPS[step].prepare()
    thread = daemon(partial(_call_for_ever, app, path), "followed")
    thread.start()
    thread.join()


def _call_for_ever(app: Any, path: str) -> None:
    with caller_of(app, path) as call:
        call(WARM_UP)
        print(_thread_number(), flush=True)
        while True:
            os.getppid()
            call(1)


def _thread_number() -> int:
    return importlib.import_module("threading").get_native_id()  # type: ignore[no-any-return]


# ---- the process that follows ------------------------------------------------------------------


class _Follower:
    """Follows one thread of another process. Owner: the thread that made it."""

    def __init__(self, pid: int, thread: int) -> None:
        self._thread = thread
        self._ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        self._ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_void_p]
        self._ptrace.restype = ctypes.c_long
        self._memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
        self._decoded: dict[int, Locked | None] = {}
        self._do(ATTACH)

    def _do(self, what: int) -> None:
        if self._ptrace(what, self._thread, 0, None):
            raise OSError(ctypes.get_errno(), "ptrace")
        os.waitpid(self._thread, WALL)

    def registers(self) -> dict[str, int]:
        """All of them."""
        room = (ctypes.c_uint64 * len(NAMES))()
        self._ptrace(GETREGS, self._thread, 0, room)
        return dict(zip(NAMES, room, strict=True))

    def to_mark(self) -> None:
        """Let it run until it is about to begin a request."""
        for _ in range(2):  # the end of the system call is a stop, too
            self._do(SYSCALL)
            while self.registers()["orig_rax"] != MARK:
                self._do(SYSCALL)

    def request(self) -> Iterator[tuple[int, int]]:
        """Through one request: the instruction and the address of each that locks."""
        mark = False
        while not mark:
            self._do(SINGLESTEP)
            rip = self._ptrace(PEEKUSER, self._thread, RIP, None)
            if rip not in self._decoded:
                code = os.pread(self._memory, 16, rip)
                self._decoded[rip] = decode(code)
                if code[:2] == b"\x0f\x05":
                    self._decoded.pop(rip)
                    mark = self.registers()["rax"] == MARK
                    continue
            locked = self._decoded[rip]
            if locked is not None:
                yield rip, locked.address(self.registers())

    def close(self) -> None:
        """Let it go."""
        self._ptrace(DETACH, self._thread, 0, None)
        os.close(self._memory)


class _Symbols:
    """Which C function an address is in. Immutable."""

    def __init__(self, pid: int) -> None:
        self._maps: list[tuple[int, int, str]] = []
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            words = line.split()
            if len(words) > 5:
                first, _, last = words[0].partition("-")
                self._maps.append((int(first, 16), int(last, 16), words[5]))
        program = os.path.realpath(f"/proc/{pid}/exe")
        self._base = min((first for first, _, path in self._maps if path == program), default=0)
        listed = subprocess.run(["nm", program], capture_output=True, text=True, check=False)
        table = [line.split() for line in listed.stdout.splitlines()]
        self._table = sorted((int(w[0], 16), w[2]) for w in table if len(w) == 3 and w[1] in "tT")

    def name(self, address: int) -> str:
        """The function, or the library where its functions have no names."""
        path = next((p for first, last, p in self._maps if first <= address < last), "?")
        place = bisect.bisect(self._table, (address - self._base, "~")) - 1
        if "python" in Path(path).name and place >= 0:
            return self._table[place][1].partition(".")[0]
        return Path(path).name


class _Objects:
    """Which object an address is in. Immutable."""

    def __init__(self, listed: list[tuple[int, str]]) -> None:
        self._listed = sorted(listed)

    def what(self, address: int) -> str:
        """The object and the part of it; "": none that was there before the request."""
        place = bisect.bisect(self._listed, (address, "")) - 1
        if place < 0:
            return ""
        start, description = self._listed[place]
        part = {SHARED_COUNT: "count", MUTEX: "lock"}.get(address - start)
        return f"{part} of {description}" if part else ""


@dataclass(frozen=True, slots=True)
class Followed:
    """What one request of an application did. Immutable."""

    app: str
    step: str
    total: int
    shared: int
    """On objects that were there before the request: what other threads may meet at."""
    objects: dict[str, int]
    """Atomic operations by object; those on nothing that was there before are under "other"."""
    lines: dict[str, int]
    """Those on objects, by innermost line of Python: where there are most."""
    functions: dict[str, int]
    """All, by C function."""


def follow(app: App, step: str, objects: Path) -> Followed:
    """Follow one request."""
    command = "import sys; from benchmarks.atomics import target; target(*sys.argv[1:])"
    argv = python("-c", command, app.app, app.path, step, str(objects))
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            thread = int(process.stdout.readline())
            return _follow(app, step, process.pid, thread, objects)
        finally:
            process.kill()


def _follow(app: App, step: str, pid: int, thread: int, objects: Path) -> Followed:
    remote = importlib.import_module("_remote_debugging")
    unwinder = remote.RemoteUnwinder(pid, all_threads=True)
    symbols = _Symbols(pid)
    known = _Objects([tuple(entry) for entry in json.loads(objects.read_text())])
    touched: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    follower = _Follower(pid, thread)
    try:
        follower.to_mark()
        for instruction, address in follower.request():
            functions[symbols.name(instruction)] += 1
            what = known.what(address)
            touched[what or "other"] += 1
            if what:
                lines[f"{_line(unwinder, thread)}: {what}"] += 1
    finally:
        follower.close()
    total = sum(touched.values())
    shared = total - touched["other"]
    kept = dict(lines.most_common(KEPT))
    return Followed(app.name, step, total, shared, dict(touched), kept, dict(functions))


def _line(unwinder: Any, thread: int) -> str:
    try:
        stacks = unwinder.get_stack_trace()
    except (OSError, RuntimeError, SystemError, UnicodeDecodeError):
        return "?"  # between two frames
    for stack in stacks:
        if stack.thread_id == thread and stack.frame_info:
            path, line, function = stack.frame_info[0][:3]
            return f"{'/'.join(Path(path).parts[-2:])}:{line} {function}"
    return "?"


def _table(title: str, counts: dict[str, int]) -> str:
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP]
    cells = [[name.replace("|", "\\|"), f"{count}"] for name, count in rows]
    return report.table((title, "operations"), cells)


def panels(found: Sequence[Followed], across: int = 2) -> list[list[Panel]]:
    """A chart for each application, with a bar for each step."""
    charts = [
        Panel(
            f"{name}: atomic operations on shared objects per request",
            [
                Bar(STEPS[one.step].title, one.shared, f"{one.shared}", ours=True)
                for one in found
                if one.app == name
            ],
        )
        for name in dict.fromkeys(one.app for one in found)
    ]
    return [charts[start : start + across] for start in range(0, len(charts), across)]


def describe(found: Sequence[Followed], head: str) -> str:
    """All of it as text."""
    steps = dict.fromkeys(one.step for one in found)
    cells = [
        [name, *(f"{one.shared} of {one.total}" for one in found if one.app == name)]
        for name in dict.fromkeys(one.app for one in found)
    ]
    header = ("application", *(STEPS[step].title for step in steps))
    parts = [f"# Atomic operations of one request\n\n{head}\n", report.table(header, cells) + "\n"]
    for one in found:
        title = f"{one.app}, {STEPS[one.step].title}"
        parts += [
            f"## {title}: {one.shared} of {one.total} on shared objects\n",
            _table("object", one.objects) + "\n",
            _table("line: object", one.lines) + "\n",
            _table("C function", one.functions) + "\n",
        ]
    return "\n".join(parts)


def run(options: argparse.Namespace) -> int:
    """Follow one request of each application; 2 where that cannot be done."""
    if platform.machine() != "x86_64" or sys.platform != "linux":
        say("only on Linux on x86-64")
        return 2
    setting = conditions()
    found = []
    options.results.mkdir(parents=True, exist_ok=True)
    objects = options.results / "atomics-objects.json"
    for name in options.apps:
        for step in options.steps:
            try:
                one = follow(APPS[name], step, objects)
            except OSError as exc:
                say(f"this process may not follow another one: {exc}")
                return 2
            finally:
                objects.unlink(missing_ok=True)
            say(f"{name}, {step}: {one.shared} of {one.total}")
            found.append(one)
    text = describe(found, report.footer(setting))
    print(text)
    report.save(options, "atomics", setting, {"requests": found}, text, panels(found))
    return 0
