"""Hooks of mkdocs: links to files of the repository that are no pages become their names, and
headings have the anchors that they have on GitHub: links work in both.
"""

import re
from typing import Any

__all__ = ["on_config", "on_page_markdown"]

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")


def on_config(config: Any) -> Any:
    """Dashes stay as many as there are: `--app APP` → `--app-app`."""
    config["mdx_configs"]["toc"]["slugify"] = _anchor
    return config


def _anchor(title: str, separator: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", separator)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """`[text](../deploy/x)` → text (`deploy/x`)."""

    def named(match: re.Match[str]) -> str:
        text, path = match[1], match[2]
        return f"`{path}`" if text.strip("`") in path else f"{text} (`{path}`)"

    return _OUTSIDE.sub(named, markdown)
