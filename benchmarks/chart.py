"""Bar charts as SVG, drawn by hand: no plotting library, no fonts to install."""

from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ["Bar", "Panel", "draw"]

LABEL, BAR, VALUE, GAP = 150, 300, 110, 30  # widths in pixels
ROW, HEAD, TOP, FOOT = 22, 34, 46, 24  # heights in pixels
OURS, THEIRS, BAD = "#0b7285", "#adb5bd", "#e03131"


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


def draw(title: str, rows: list[list[Panel]], footer: str) -> str:
    """An SVG document: panels in rows and columns under a title, conditions below."""
    columns = max((len(row) for row in rows), default=1)
    width = GAP + columns * (LABEL + BAR + VALUE + GAP)
    parts: list[str] = [_text(GAP, 30, title, 'font-size="18" font-weight="bold"')]
    y = float(TOP)
    for row in rows:
        for column, panel in enumerate(row):
            parts += _panel(panel, GAP + column * (LABEL + BAR + VALUE + GAP), y)
        y += HEAD + ROW * max((len(panel.bars) for panel in row), default=0) + 10
    parts.append(_text(GAP, y + 14, footer, 'fill="#868e96" font-size="11"'))
    height = y + FOOT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}"'
        f' viewBox="0 0 {width} {height:.0f}" font-family="sans-serif" font-size="13"'
        ' fill="#212529">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
