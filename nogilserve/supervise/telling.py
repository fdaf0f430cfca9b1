"""What a running server has answered, in lines for people."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = [
    "collected",
    "levels",
    "memory",
    "profile",
    "sentence",
    "stacks",
    "status",
    "threads",
    "watched",
]

_TYPES: Final = 25
_FUNCTIONS: Final = 12
_BAR: Final = 24

_PREPARED: Final = {
    "warmed": "requests to warm up",
    "deferred": "objects deferred",
    "immortal": "immortal",
    "frozen": "frozen",
}

Answer = Mapping[str, Any]


def sentence(answer: Answer) -> list[str]:
    """The answer's own words."""
    return [answer["text"]]


def status(answer: Answer) -> list[str]:
    """The answer to `status`."""
    lines = [answer["text"]]
    if "tenants" not in answer:  # else they stand below theirs
        lines += _generations(answer.get("generations", ()))
    for tenant in answer.get("tenants", ()):
        lines.append(f"{tenant['name']}, {tenant['state']}, used {tenant['idle']:.0f} s ago")
        lines += _generations(tenant["generations"])
    if answer.get("drained"):
        lines.append("  drained: probes say that it takes no new clients (nogilserve drain --off)")
    token = answer.get("admin_token", "")
    lines += [f"  status page: {url}/#token={token}" for url in answer.get("admin", ())]
    return lines


def _generations(generations: Iterable[Answer]) -> list[str]:
    return [
        line
        for generation in generations
        for line in (_generation(generation), *_preparation(generation), *_garbage(generation))
    ]


def _generation(generation: Answer) -> str:
    counters = generation.get("counters", {})
    words = [
        f"generation {generation['number']}",
        f"{generation['state']} for {generation['seconds']:.0f} s",
        f"pid {generation['pid']}",
    ]
    if counters:
        words.append(f"{counters.get('requests', 0)} requests")
        words.append(f"{counters.get('connections', 0)} connections")
        words.append(f"{counters.get('active', 0)} inside the application")
    return "  " + ", ".join(words)


def _preparation(generation: Answer) -> list[str]:
    """What was done to the application before it was served, and what was not."""
    prepared = generation.get("prepared", {})
    words = [
        f"{prepared[name]} {text}"
        for name, text in _PREPARED.items()
        if prepared.get(name) is not None
    ]
    lines = []
    if words:
        lines.append(f"prepared in {prepared.get('longest_seconds', 0):.2f} s: {', '.join(words)}")
    lines += [f"not prepared: {reason}" for reason in prepared.get("left", ())]
    return [f"    {line}" for line in lines]


def _garbage(generation: Answer) -> list[str]:
    """How often it was collected, and how long that took."""
    policy = "/".join(generation.get("prepared", {}).get("gc", ()))
    rows = [
        (age, row["number"], row["seconds"])
        for age, row in generation.get("collections", {}).items()
        if row.get("number") and "seconds" in row
    ]
    if not rows and policy in ("", "default"):
        return []
    number, seconds = sum(row[1] for row in rows), sum(row[2] for row in rows)
    text = f"    garbage: {_times(number)} in {seconds:.3f} s"
    if rows:
        ages = (f"objects of age {age}: {n} in {took:.3f} s" for age, n, took in rows)
        text += f" ({', '.join(ages)})"
    return [text if policy in ("", "default") else f"{text}, --gc {policy}"]


def _times(number: int) -> str:
    return f"{number} collection{'s' * (number != 1)}"


def threads(answer: Answer) -> list[str]:
    """The answer to `threads`."""
    return [
        _problem(number, found) or f"There are {found['now']} threads now"
        for number, found in answer["answers"].items()
    ]


def levels(answer: Answer) -> list[str]:
    """The answer to `log-level`."""
    changed = sum(found.get("processes", 0) for found in answer["answers"].values())
    return [f"Changed in {changed} serving process{'es' * (changed != 1)} and the master"]


def collected(answer: Answer) -> list[str]:
    """The answer to `gc`."""
    return [
        _problem(number, found)
        or f"generation {number}: {found['collected']} objects in "
        f"{found['longest_seconds'] * 1000:.1f} ms"
        for number, found in answer["answers"].items()
    ]


def _problem(number: str, found: Answer) -> str:
    """Why one of several has not answered, "" if it has."""
    return f"generation {number}: {found['error']}" if "error" in found else ""


def stacks(answer: Answer) -> list[str]:
    """The answer to `stacks`: threads with the same stack together."""
    lines: list[str] = []
    for number, found in answer["answers"].items():
        if problem := _problem(number, found):
            lines.append(problem)
        lines += [f"generation {number}: {problem}" for problem in found.get("problems", ())]
        groups: dict[str, list[str]] = {}
        for thread in found.get("threads", ()):
            text = "\n".join(
                f'  File "{file}", line {line}, in {function}'
                for file, line, function in thread["stack"]
            )
            member = f"{thread['member']}/" if "member" in thread else ""
            groups.setdefault(text, []).append(f"{member}{thread['name']}")
        for text, names in groups.items():
            lines += [f"generation {number}, {', '.join(names)}:", text, ""]
    return lines


def profile(found: Answer) -> list[str]:
    """The functions that were seen most, innermost only."""
    leaves: dict[str, int] = {}
    for line, count in found["folded"].items():
        leaf = line.rpartition(";")[2]
        leaves[leaf] = leaves.get(leaf, 0) + count
    total = sum(leaves.values())
    lines = [f"{found['samples']} looks in {found['seconds']:.1f} s, {total} busy stacks"]
    for leaf, count in sorted(leaves.items(), key=lambda item: -item[1])[:_FUNCTIONS]:
        lines.append(f"{100 * count / total:6.1f} %  {leaf}")
    return lines


def memory(answers: Answer, before: Answer | None) -> list[str]:
    """The largest types; with an earlier answer those that have grown most."""
    lines: list[str] = []
    for number, found in answers.items():
        if problem := _problem(number, found):
            lines.append(problem)
            continue
        types = found["types"]
        if before is None or "types" not in before.get(number, {}):
            lines.append(f"generation {number}: {found['objects']} objects, the largest types:")
            rows = [(name, item["count"], item["bytes"]) for name, item in types.items()]
        else:
            grown = found["objects"] - before[number]["objects"]
            lines.append(f"generation {number}: {grown:+} objects, what has grown most:")
            old = before[number]["types"]
            rows = []
            for name, item in types.items():
                was = old.get(name, {"count": 0, "bytes": 0})
                row = (name, item["count"] - was["count"], item["bytes"] - was["bytes"])
                if row[1] or row[2]:
                    rows.append(row)
        rows.sort(key=lambda row: -row[2])
        lines.append(f"{'bytes':>12} {'objects':>9}  type")
        lines += [f"{size:>12} {count:>9}  {name}" for name, count, size in rows[:_TYPES]]
    return lines


# ---- status --watch


def watched(now: Answer, before: Answer) -> list[str]:
    """One picture of `status --watch`; `before`: the one a moment ago, or nothing."""
    lines = status(now["status"])
    seconds = now["at"] - before["at"] if before else 0.0
    for number, look in now["looks"].items():
        present, counters = look.get("now", {}), look.get("totals", {}).get("counters", {})
        was = before.get("looks", {}).get(number, {}).get("totals", {}).get("counters", {})
        lines += ["", f"generation {number}"]
        if seconds and was:
            lines.append("  " + _rates(counters, was, seconds))
        lines += _busy(present)
        lines += [_lane(lane) for lane in present.get("lanes", ()) if lane["state"] != "parked"]
        slowest = present.get("inside", ())[:10]
        if slowest:
            lines.append("  inside the application for longest:")
            lines += [
                f"    {item['seconds']:8.3f} s  {item['method']} {item['path']}" for item in slowest
            ]
    return lines


def _rates(counters: Answer, was: Answer, seconds: float) -> str:
    def rate(name: str) -> float:
        return float(counters.get(name, 0) - was.get(name, 0)) / seconds

    return (
        f"{rate('requests'):.0f} requests/s, {rate('accepted'):.0f} connections/s, "
        f"{rate('sent') / 1e6:.2f} MB/s out, {rate('hand_offs'):.0f} hand-offs/s, "
        f"{rate('steals'):.0f} steals/s"
    )


def _busy(present: Answer) -> list[str]:
    total, busy = present.get("threads", 0), present.get("busy", 0)
    filled = round(_BAR * busy / total) if total else 0
    bar = "█" * filled + "░" * (_BAR - filled)
    states = ", ".join(f"{n} {state}" for state, n in present.get("connections", {}).items())
    return [
        f"  {bar} {busy} of {total} threads inside the application",
        f"  {present.get('open', 0)} connections{f': {states}' if states else ''}",
    ]


def _lane(lane: Answer) -> str:
    what = lane.get("what", "")
    lasting = f" for {lane['seconds']:.3f} s" if "seconds" in lane else ""
    return f"    {lane['name']:<12} {lane['state']}{lasting}  {what}".rstrip()
