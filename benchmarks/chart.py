"""Charts of bars and of lines as SVG, drawn by hand: no plotting library, no fonts to install."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ["Bar", "Curve", "Graph", "Panel", "draw"]

LABEL, BAR, VALUE, GAP = 150, 300, 110, 30  # widths in pixels
ROW, HEAD, TOP, FOOT = 22, 34, 46, 24  # heights in pixels
OURS, THEIRS, BAD = "#0b7285", "#adb5bd", "#e03131"
GRAPH = 220  # height of the plane of a graph
LINES = ("#e8590c", "#5f3dc4", "#2b8a3e", "#c2255c", "#868e96", "#1864ab")  # of others' curves


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; `text` is what stands behind it."""

    label: str
    value: float
    text: str
    ours: bool = False
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars on one scale."""

    title: str
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class Curve:
    """A figure at each of the places of a graph; None where there is none."""

    label: str
    values: list[float | None]
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """Curves over the same places, which stand at equal distances, on a scale from 0."""

    title: str
    places: list[str]
    across: str
    """What the places are."""
    curves: list[Curve]


def _text(x: float, y: float, content: str, extra: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" {extra}>{escape(content)}</text>'


def _panel(panel: Panel, x: float, y: float) -> list[str]:
    parts = [_text(x, y + 20, panel.title, 'font-weight="bold"')]
    top = max((bar.value for bar in panel.bars), default=0) or 1
    for row, bar in enumerate(panel.bars):
        line = y + HEAD + row * ROW
        colour = BAD if bar.bad else OURS if bar.ours else THEIRS
        width = max(bar.value / top * BAR, 1)
        parts.append(_text(x + LABEL - 8, line + 14, bar.label, 'text-anchor="end"'))
        parts.append(
            f'<rect x="{x + LABEL:.0f}" y="{line:.0f}" width="{width:.1f}" height="{ROW - 6}"'
            f' fill="{colour}"/>'
        )
        parts.append(_text(x + LABEL + width + 6, line + 14, bar.text))
    return parts


def _step(top: float) -> float:
    """The distance of the lines of a scale that reaches `top`: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(top / 4))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor * 4 >= top)


def _graph(graph: Graph, x: float, y: float) -> list[str]:
    parts = [_text(x, y + 20, graph.title, 'font-weight="bold"')]
    left, width = x + 70, LABEL + BAR + VALUE - 90
    bottom = y + HEAD + GRAPH
    top = max((value for c in graph.curves for value in c.values if value), default=0) or 1
    step = _step(top)
    scale = GRAPH / (math.ceil(top / step) * step)
    for number in range(math.ceil(top / step) + 1):
        line = bottom - number * step * scale
        parts.append(f'<path d="M{left:.0f} {line:.1f}h{width}" stroke="#dee2e6" fill="none"/>')
        parts.append(_text(left - 8, line + 4, f"{number * step:,.6g}", 'text-anchor="end"'))
    spacing = width / max(len(graph.places) - 1, 1)
    for place, name in enumerate(graph.places):
        parts.append(_text(left + place * spacing, bottom + 18, name, 'text-anchor="middle"'))
    parts.append(_text(left + width / 2, bottom + 36, graph.across, 'text-anchor="middle"'))
    others = itertools.cycle(LINES)
    for row, curve in enumerate(graph.curves):
        colour = OURS if curve.ours else next(others)
        points = [
            (left + place * spacing, bottom - value * scale)
            for place, value in enumerate(curve.values)
            if value is not None
        ]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in points
        ]
        line = bottom + 46 + row * ROW
        parts.append(
            f'<rect x="{left:.0f}" y="{line + 4:.0f}" width="14" height="4" fill="{colour}"/>'
        )
        parts.append(_text(left + 22, line + 12, curve.label))
    return parts


def _height(panel: Panel | Graph) -> int:
    if isinstance(panel, Graph):
        return HEAD + GRAPH + 50 + ROW * len(panel.curves)
    return HEAD + ROW * len(panel.bars)


def draw(title: str, rows: Sequence[Sequence[Panel | Graph]], footer: str) -> str:
    """An SVG document: panels in rows and columns under a title, conditions below."""
    columns = max((len(row) for row in rows), default=1)
    width = GAP + columns * (LABEL + BAR + VALUE + GAP)
    parts: list[str] = [_text(GAP, 30, title, 'font-size="18" font-weight="bold"')]
    y = float(TOP)
    for row in rows:
        for column, panel in enumerate(row):
            x = GAP + column * (LABEL + BAR + VALUE + GAP)
            parts += _graph(panel, x, y) if isinstance(panel, Graph) else _panel(panel, x, y)
        y += max((_height(panel) for panel in row), default=HEAD) + 10
    parts.append(_text(GAP, y + 14, footer, 'fill="#868e96" font-size="11"'))
    height = y + FOOT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}"'
        f' viewBox="0 0 {width} {height:.0f}" font-family="sans-serif" font-size="13"'
        ' fill="#212529">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
