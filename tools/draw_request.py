"""Draw the way of a request through the code: docs/pictures/request.svg.

    ./dev run python tools/draw_request.py

Each step names a function and what it does with the next one. Both are looked up in the source: a
picture that is no longer true cannot be drawn, and a test compares it with the file.
"""

import ast
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs/pictures/request.svg"

LANES = ("system", "engine", "protocols", "gateways", "application")
COLOURS = ("#e8e8e8", "#d6e6ff", "#d8f3e3", "#fff0cf", "#fbdce2")


@dataclass(frozen=True, slots=True)
class Step:
    """A function on the way, and the names that occur in it because it calls the next one."""

    function: str
    """module:Class.method below nogilserve; "" for what is not ours."""
    says: str
    lane: str
    calls: tuple[str, ...] = ()


WSGI = (
    Step("engine.core:Core.drive", "asks what is ready", "engine", ("poll",)),
    Step("", "epoll_wait: many at once", "system"),
    Step("engine.core:Core._take_up", "takes one", "engine", ("on_event",)),
    Step("engine.connection:Connection.on_event", "reads", "engine", ("recv", "advance")),
    Step("", "recv", "system"),
    Step(
        "engine.connection:Connection.advance",
        "bytes go in, a request comes out",
        "engine",
        ("receive_request", "run"),
    ),
    Step(
        "protocols.http1.receiver:Receiver.receive_request",
        "parses, or knows it already",
        "protocols",
    ),
    Step(
        "engine.connection:Connection.run",
        "others may take the core",
        "engine",
        ("release", "gateway", "acquire"),
    ),
    Step(
        "gateways.wsgi:WsgiGateway.run",
        "makes the environ",
        "gateways",
        ("_environ", "_app", "send_whole"),
    ),
    Step("", "your application", "application"),
    Step(
        "engine.exchange:HttpExchange.send_whole", "all in one piece", "engine", ("whole", "send")
    ),
    Step("protocols.http1.connection:Http1Connection.whole", "writes the head", "protocols"),
    Step("", "send", "system"),
    Step("engine.connection:Connection._after", "has the core back: next request", "engine"),
)

ASGI = (
    Step(
        "engine.loop.selector:DirectSelector.select",
        "the loop asks what is ready",
        "engine",
        ("poll", "serve"),
    ),
    Step("", "epoll_wait: many at once", "system"),
    Step("engine.loop.direct:DirectTransport._read", "reads", "engine", ("recv", "data_received")),
    Step("", "recv", "system"),
    Step(
        "engine.loop.connection:HttpConnection.data_received",
        "bytes go in, a request comes out",
        "engine",
        ("receive_request", "_begin"),
    ),
    Step(
        "protocols.http1.receiver:Receiver.receive_request",
        "parses, or knows it already",
        "protocols",
    ),
    Step(
        "engine.loop.connection:HttpConnection._begin",
        "begins an eager task",
        "engine",
        ("spawn", "http"),
    ),
    Step(
        "gateways.asgi.gateway:AsgiGateway.http", "makes the scope", "gateways", ("_scopes", "_app")
    ),
    Step("", "your application", "application"),
    Step(
        "gateways.asgi.http:HttpCall.send",
        "start and body",
        "gateways",
        ("_prepare", "send_whole"),
    ),
    Step(
        "engine.loop.exchange:HttpExchange.send_whole",
        "in one piece",
        "engine",
        ("whole", "write_whole"),
    ),
    Step("protocols.http1.connection:Http1Connection.whole", "writes the head", "protocols"),
    Step(
        "engine.loop.direct:DirectTransport.send_held",
        "sends, with others' responses",
        "engine",
        ("write",),
    ),
    Step("", "send", "system"),
)


def untrue(steps: tuple[Step, ...]) -> list[str]:
    """Steps that the code does not take."""
    wrong = []
    for step in steps:
        if not step.function:
            continue
        module, _, name = step.function.partition(":")
        path = ROOT / "nogilserve" / Path(*module.split(".")).with_suffix(".py")
        found: ast.AST | None = ast.parse(path.read_text())
        for part in name.split("."):
            found = next(
                (node for node in getattr(found, "body", []) if getattr(node, "name", "") == part),
                None,
            )
        if found is None:
            wrong.append(f"there is no {step.function}")
            continue
        used = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(found)}
        wrong += [f"{step.function} has no {call}" for call in step.calls if call not in used]
    return wrong


TIP = (
    '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0L8 4L0 8z" fill="#555"/></marker>'
)
WIDTH, ROW, BOX, TOP = 190, 52, 38, 96


def drawn(steps: tuple[Step, ...], title: str, left: int) -> list[str]:
    """The parts of the picture for one kind of application."""
    parts = [f'<text x="{left}" y="26" class="title">{escape(title)}</text>']
    for index, lane in enumerate(LANES):
        x = left + index * WIDTH
        height = len(steps) * ROW + 12
        parts.append(
            f'<rect x="{x}" y="{TOP - 46}" width="{WIDTH - 8}" height="{height + 44}" rx="8" '
            f'fill="{COLOURS[index]}" opacity="0.35"/>'
            f'<text x="{x + 10}" y="{TOP - 24}" class="lane">{lane}</text>'
        )
    before: tuple[int, int] | None = None
    for number, step in enumerate(steps):
        column = LANES.index(step.lane)
        x, y = left + column * WIDTH + 6, TOP + number * ROW
        middle = x + (WIDTH - 20) // 2
        if before is not None:
            parts.append(
                f'<path d="M{before[0]} {before[1]} C{before[0]} {before[1] + 12}, '
                f'{middle} {y - 12}, {middle} {y - 1}" class="way" marker-end="url(#tip)"/>'
            )
        name = step.function.partition(":")[2] or step.says
        note = step.says if step.function else ""
        parts.append(
            f'<rect x="{x}" y="{y}" width="{WIDTH - 20}" height="{BOX}" rx="5" '
            f'fill="{COLOURS[column]}" stroke="#777"/>'
            f'<text x="{middle}" y="{y + (15 if note else 23)}" class="name">{escape(name)}</text>'
        )
        if note:
            short = note if len(note) <= 34 else note[:33] + "…"
            parts.append(
                f'<text x="{middle}" y="{y + 30}" class="note">{escape(short)}'
                f"<title>{escape(step.function)}: {escape(note)}</title></text>"
            )
        before = (middle, y + BOX)
    return parts


def picture() -> str:
    """The whole drawing. SystemExit where the code has changed its way."""
    if wrong := untrue(WSGI) + untrue(ASGI):
        raise SystemExit("the picture is no longer true: " + "; ".join(wrong))
    second = len(LANES) * WIDTH + 40
    width = 2 * len(LANES) * WIDTH + 60
    height = TOP + max(len(WSGI), len(ASGI)) * ROW + 20
    style = (
        "text{font-family:sans-serif;fill:#222}.title{font-size:17px;font-weight:bold}"
        ".lane{font-size:13px;fill:#555}.name{font-size:11.5px;text-anchor:middle;"
        "font-family:monospace}.note{font-size:10px;text-anchor:middle;fill:#444}"
        ".way{fill:none;stroke:#555;stroke-width:1.4}"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        "<title>The way of a request</title>",
        f"<style>{style}</style>",
        f"<defs>{TIP}</defs>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        *drawn(WSGI, "WSGI, on a core that a thread holds", 16),
        *drawn(ASGI, "ASGI, on an event loop per core", second),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    TARGET.write_text(picture())
    print(TARGET.relative_to(ROOT), file=sys.stderr)
