"""The small document of the JSON workload, from data that all requests share or from new data."""

from typing import Any

__all__ = ["document", "made"]

ITEMS = [{"id": n, "name": f"item {n}", "tags": ["a", "b"]} for n in range(5)]


def document() -> dict[str, Any]:
    """A new document with items that are there for good, as from a cache in the process."""
    return {"message": "Hello, World!", "items": ITEMS}


def made() -> dict[str, Any]:
    """The same with items made for this request, as from a database."""
    items = [{"id": n, "name": f"item {n}", "tags": ["a", "b"]} for n in range(5)]
    return {"message": "Hello, World!", "items": items}
