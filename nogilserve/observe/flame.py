"""Flame graphs: stacks that were seen, drawn as one SVG that needs nothing else."""

import zlib
from collections.abc import Mapping
from typing import Final
from xml.sax.saxutils import escape, quoteattr

__all__ = ["svg"]

_WIDTH: Final = 1200
_ROW: Final = 17
_TOP: Final = 44
_SMALLEST: Final = 0.25
"""Pixels below which a box is left out."""
_LETTER: Final = 6.6
"""Pixels of a letter."""

_STYLE: Final = """
  text { font: 11px ui-monospace, Menlo, Consolas, monospace; fill: #1b1b1b; pointer-events: none }
  text.title { font: 600 15px system-ui, sans-serif; fill: #333 }
  text.note { font: 12px system-ui, sans-serif; fill: #666 }
  rect { stroke: #fff; stroke-width: .6 } g.box { cursor: pointer }
  g.box:hover rect { stroke: #000 }
  @media (prefers-color-scheme: dark) {
    svg { background: #16181d } text.title { fill: #eee } text.note { fill: #aaa }
    rect { stroke: #16181d } g.box:hover rect { stroke: #fff } }
"""

_SCRIPT: Final = """
(() => {
  const boxes = [...document.querySelectorAll("g.box")], width = %(width)d;
  const fit = (box, x, w) => {
    const rect = box.querySelector("rect"), text = box.querySelector("text");
    rect.setAttribute("x", x); rect.setAttribute("width", Math.max(w, 0));
    text.setAttribute("x", Math.max(x, 0) + 3);
    const room = Math.floor((Math.min(x + w, width) - Math.max(x, 0) - 5) / %(letter)s);
    const name = box.dataset.name;
    text.textContent = room < 3 ? "" : name.length > room ? name.slice(0, room - 1) + "…" : name;
  };
  const show = (from, to) => {
    for (const box of boxes) {
      const a = +box.dataset.from, b = +box.dataset.to;
      const hidden = b <= from || a >= to;
      box.style.display = hidden ? "none" : "";
      if (!hidden) fit(box, (a - from) / (to - from) * width, (b - a) / (to - from) * width);
    }
  };
  for (const box of boxes) box.addEventListener("click", () => {
    show(+box.dataset.from, +box.dataset.to);
  });
})();
"""


class _Box:
    """A function at a place in the graph, with what it called."""

    __slots__ = ("count", "inner")

    def __init__(self) -> None:
        self.count = 0
        self.inner: dict[str, _Box] = {}


def svg(folded: Mapping[str, int], title: str, *, interactive: bool = True) -> str:
    """The graph of `folded`: how often each "outermost;…;innermost" was seen.

    `interactive`: a click on a box makes it as wide as the picture; needs the permission to run
    scripts, which an SVG within another page may lack.
    """
    root = _Box()
    for line, count in folded.items():
        root.count += count
        box = root
        for name in line.split(";"):
            box = box.inner.setdefault(name, _Box())
            box.count += count
    parts: list[str] = []
    deepest = _draw(root, "all", 0, 0, max(root.count, 1), parts)
    height = _TOP + (deepest + 1) * _ROW + 12
    note = "Click a box to widen it, the lowest one to see all again. " if interactive else ""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="100%" class="flame" role="img" aria-label={quoteattr(title)}>'
    )
    style = f"<style>{_STYLE}</style>" if interactive else ""
    script = _SCRIPT % {"width": _WIDTH, "letter": _LETTER} if interactive else ""
    return (
        f"{head}{style}"
        f'<text class="title" x="10" y="19">{escape(title)}</text>'
        f'<text class="note" x="10" y="36">{note}Wider: seen more often. '
        f"{root.count} stacks.</text>"
        + "".join(parts)
        + (f"<script><![CDATA[{script}]]></script>" if script else "")
        + "</svg>\n"
    )


def _draw(box: _Box, name: str, depth: int, start: int, total: int, parts: list[str]) -> int:
    """Add the boxes from here on; the greatest depth."""
    x = start / total * _WIDTH
    width = box.count / total * _WIDTH
    if width < _SMALLEST:
        return depth - 1
    y = _TOP + depth * _ROW
    room = int((width - 5) / _LETTER)
    shown = "" if room < 3 else name if len(name) <= room else f"{name[: room - 1]}…"
    share = 100 * box.count / total
    parts.append(
        f'<g class="box" data-from="{start}" data-to="{start + box.count}" '
        f"data-name={quoteattr(name)}><title>{escape(name)}\n{box.count} times, {share:.1f} %"
        f'</title><rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{_ROW - 1}" rx="1.5" '
        f'fill="{_colour(name, depth)}"/><text x="{x + 3:.2f}" y="{y + 12}">{escape(shown)}</text>'
        "</g>"
    )
    deepest = depth
    for inner_name, inner in sorted(box.inner.items()):
        deepest = max(deepest, _draw(inner, inner_name, depth + 1, start, total, parts))
        start += inner.count
    return deepest


def _colour(name: str, depth: int) -> str:
    """Threads grey; the same function always the same; the server's own paler than the rest."""
    if depth < 2:
        return "#c9ced6"
    seed = zlib.crc32(name.partition(" (")[0].encode())
    own = "(engine/" in name or "(runtimes/" in name or "(gateways/" in name
    hue, saturation, light = 12 + seed % 42, 88, 66 + seed % 9
    if own:
        hue, saturation, light = 205 + seed % 30, 42, 80
    return f"hsl({hue} {saturation}% {light}%)"
