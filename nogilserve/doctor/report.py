"""What the doctor has to say, as plain values: made from the facts of the child process."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from nogilserve.apps.origin import origin_of
from nogilserve.doctor.packages import TROUBLE, WAITING
from nogilserve.doctor.scan import Written
from nogilserve.doctor.threadbound import THREAD_BOUND
from nogilserve.runtimes.choose import Facts, choose

__all__ = ["Extension", "Finding", "Preparing", "Python", "Report", "report_of"]

type Verdict = Literal["keeps it off", "switches it on", "declares to keep it off", "unknown"]
type Area = Literal["gil", "package", "loop", "thread", "lifespan", "prepare", "cache"]


@dataclass(frozen=True, slots=True)
class Python:
    """The interpreter and its GIL. Immutable."""

    version: str
    free_threaded: bool
    gil_before: bool
    """Whether the GIL was on before the application was imported, …"""
    gil_after: bool
    """… and afterwards."""
    other: str = ""
    """On a build with a GIL: the path of a free-threaded interpreter on this machine, or ""."""


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension module that does not belong to Python. Immutable."""

    module: str
    distribution: str
    version: str
    classifier: bool
    """Whether the distribution's metadata declares support for free threading."""
    gil: Verdict


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that stands between the application and free threading. Immutable."""

    problem: bool
    """False: it is worth a look, no more."""
    area: Area
    where: str
    """Of what: a module, a package, a variable ("main:pool")."""
    what: str
    """What that is, in a word or two."""
    why: str
    """What is wrong with it and what to do; the same sentence for findings of one kind."""


@dataclass(frozen=True, slots=True)
class Preparing:
    """What `--prepare` did to the application in the doctor's process. Immutable."""

    steps: Sequence[str]
    objects: Mapping[str, int]
    """By what was done to them: "deferred", "immortal", "frozen"."""
    seconds: float
    left: Sequence[str]
    """What was not done, and why."""


@dataclass(frozen=True, slots=True)
class Report:
    """All of it. Immutable."""

    app: str
    interface: str
    python: Python
    runtime: str
    reason: str
    cores: int
    threads: int
    threads_reason: str
    extensions: Sequence[Extension]
    standard_extensions: int
    """How many extension modules of the standard library are loaded."""
    findings: Sequence[Finding]
    lifespan: str
    """Of an ASGI application: "started", "failed", "none" (it has none), "off" (it was not to be
    started); "" where there can be none, or where the process has ended in it."""
    prepare: Preparing | None
    """None: the process has ended before."""

    def is_ready(self, *, strict: bool = False) -> bool:
        """Whether nothing was found that is a problem; `strict`: nothing at all."""
        return not any(finding.problem or strict for finding in self.findings)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"format": 1, "ready": self.is_ready()}


def report_of(facts: Mapping[str, Any], written: Sequence[tuple[str, str, Written]]) -> Report:
    """The report on what the child found.

    `facts`: those of `doctor.probe`, with "switched" (every module that switches the GIL on),
    "version", "other", "cores", "threads" (the default), "forced" (`sys.flags.gil`) and
    "obstacle" (to subinterpreters).
    `written`: module, file and what the scan of it found.
    """
    extensions = _extensions(facts)
    choice = choose(
        "auto",
        Facts(
            free_threaded=facts["free_threaded"],
            version=(int(facts["version"].split(".")[0]), int(facts["version"].split(".")[1])),
            cores=facts["cores"],
            gil_on=bool(facts["gil_after"] if facts["forced"] is None else facts["forced"]),
            culprits=() if facts["forced"] else tuple(facts["culprits"]),
            obstacle=facts["obstacle"],
        ),
    )
    findings = [*_about_gil(facts), *_about_packages(facts), *_about_objects(facts)]
    findings += _about_life(facts)
    findings += [_about_cache(*each) for each in written]
    findings.sort(key=lambda finding: not finding.problem)
    threads, why = _threads(facts)
    return Report(
        app=facts["name"],
        interface=facts["interface"],
        python=Python(
            facts["version"],
            facts["free_threaded"],
            facts["gil_before"],
            facts["gil_after"],
            facts["other"],
        ),
        runtime=choice.runtime,
        reason=choice.reason or _without_reason(facts),
        cores=facts["cores"],
        threads=threads,
        threads_reason=why,
        extensions=extensions,
        standard_extensions=sum(each["standard"] for each in facts["extensions"]),
        findings=findings,
        lifespan=facts["lifespan"],
        prepare=None if facts["prepare"] is None else Preparing(**facts["prepare"]),
    )


def _without_reason(facts: Mapping[str, Any]) -> str:
    if not facts["gil_after"] or facts["forced"] == 0:
        return "the GIL stays off, so all cores share one copy of the application"
    return "there is one core"


def _extensions(facts: Mapping[str, Any]) -> list[Extension]:
    found = []
    for each in facts["extensions"]:
        if each["standard"] and each["module"] not in facts["switched"]:
            continue
        origin = origin_of(each["module"])
        found.append(
            Extension(
                each["module"],
                origin.distribution,
                origin.version,
                origin.declares,
                _verdict(each, facts),
            )
        )
    return found


def _verdict(extension: Mapping[str, Any], facts: Mapping[str, Any]) -> Verdict:
    if extension["module"] in facts["switched"]:
        return "switches it on"
    if facts["free_threaded"]:
        return "keeps it off"
    return "declares to keep it off" if extension["declares"] else "unknown"


def _about_gil(facts: Mapping[str, Any]) -> list[Finding]:
    found = []
    for module in facts["switched"]:
        origin = origin_of(module)
        distribution = f"{origin.distribution} {origin.version}".strip()
        why = f"switches the GIL on; {origin.advice}"
        found.append(Finding(True, "gil", module, distribution, why))
    if facts["free_threaded"] and facts["forced"] is not None:
        forced = facts["forced"]
        effect = "is on from the start" if forced else "stays off whatever extensions declare"
        why = f"the GIL {effect}; the doctor has looked at the application without that"
        found.append(Finding(bool(forced), "gil", "PYTHON_GIL or -X gil", f"{forced}", why))
    if not facts["free_threaded"]:
        there = f" ({facts['other']} is one)" if facts["other"] else ""
        why = (
            "it always has the GIL; ask the doctor on a free-threaded build, which shows what "
            f"extensions do{there}"
        )
        found.append(Finding(False, "gil", "Python", f"{facts['version']} with a GIL", why))
    return found


def _about_packages(facts: Mapping[str, Any]) -> list[Finding]:
    return [
        Finding(problem, "package", name, "imported", why)
        for name, (problem, why) in TROUBLE.items()
        if name in facts["imported"]
    ]


_ONE_LOOP: Final = (
    "belongs to one event loop, so the application is served on one; make it in the lifespan and "
    "yield it as part of the state, or wrap what makes it in nogilserve.per_loop"
)
_MANY_LOOPS: Final = "belongs to one event loop; asyncio.run in two threads makes two"


def _about_objects(facts: Mapping[str, Any]) -> list[Finding]:
    asgi = facts["interface"] == "asgi"
    found = [
        Finding(asgi, "loop", where, kind, _ONE_LOOP if asgi else _MANY_LOOPS)
        for kind, where in facts["loop_bound"]
    ]
    for entry, where in facts["thread_bound"]:
        problem, why = THREAD_BOUND[entry]
        found.append(Finding(problem, "thread", where, entry.replace(":", "."), why))
    return found


_UNSEEN: Final = "objects that it would have made are not known"
_STEPS: Final[dict[str, tuple[bool, Area, str, str]]] = {
    # step: (is it a problem, area, what, what follows)
    "lifespan": (False, "lifespan", "startup", f"; {_UNSEEN}"),
    "shutdown": (False, "lifespan", "shutdown", ""),
    "prepare": (True, "prepare", "--prepare", "; serve it with --prepare none"),
}


def _about_life(facts: Mapping[str, Any]) -> Iterator[Finding]:
    if facts["ended"]:
        problem, area, what, follows = _STEPS[facts["step"]]
        why = f"the process {facts['ended']}{follows}"
        yield Finding(problem, area, facts["name"], what, why)
    if facts["lifespan"] == "failed":
        yield Finding(False, "lifespan", facts["name"], "startup", f"{facts['why']}; {_UNSEEN}")


def _about_cache(module: str, file: str, written: Written) -> Finding:
    place = f"{written.function}(), {file}:{written.line}"
    why = _LOSES if written.loses else _CHANGES
    return Finding(False, "cache", f"{module}:{written.name}", place, why)


_LOSES: Final = (
    "is read, changed and written back without a lock by what looks like a view: threads "
    "overwrite each other's changes"
)
_CHANGES: Final = (
    "is changed without a lock by what looks like a view: each change is whole, but two threads "
    "may both find something missing, or find it gone"
)


def _threads(facts: Mapping[str, Any]) -> tuple[int, str]:
    """What to give to --threads, and why."""
    default: int = facts["threads"]
    if facts["interface"] == "asgi":
        return default, "the default: for asyncio.to_thread, as many for each event loop"
    waiting = [name for name in WAITING if name in facts["imported"]]
    if facts["pools"]:
        where, limit = min(facts["pools"], key=lambda pool: int(pool[1]))
        if limit < default:
            most = max(limit, facts["cores"])
            return most, f"{where} gives out {limit} connections at most: more threads wait for one"
    if waiting:
        return default, f"it waits for others ({', '.join(waiting[:3])}); more if calls mostly wait"
    return default, "the default; threads beyond the cores are for calls that wait"
