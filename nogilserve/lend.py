"""What the server depends on, lent to an interpreter that does not have it.

A generation may run with another Python than its master: that of a virtual environment. There the
package itself is imported from where the master has it, and so is what it needs; nothing
else of the master's packages shows. The finder comes first: the application's own copy of one
of these names is not used, because a process has one of each.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Final

__all__ = ["borrow", "borrowed", "lendable", "lines_to_borrow"]

_LENT: Final = ("h11", "wsproto", "h2", "hpack", "hyperframe", "jh2")
"""Top-level names. Extension modules are found only where they were built for the interpreter."""


class _Lender:
    """A finder for `sys.meta_path`. Immutable."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        self.folders = dict(folders)

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """The module, if it is one that is lent."""
        folder = self.folders.get(name)
        return None if folder is None else PathFinder.find_spec(name, [folder], target)


def lendable() -> dict[str, str]:
    """By name, the folder in which each of what can be lent lies."""
    from importlib.util import find_spec  # for who lends: a master stays small without

    found = {}
    for name in _LENT:
        spec = find_spec(name)
        if spec is not None and spec.origin:
            found[name] = os.path.dirname(os.path.dirname(spec.origin))
    return found


def borrow(folders: Mapping[str, str], packages: Sequence[str] = ()) -> None:
    """Import these names from these folders. `packages`: folders of packages to add as a virtual
    environment would, before the interpreter's own."""
    sys.meta_path.insert(0, _Lender(folders))
    if packages:
        import site  # rarely: the interpreter of a virtual environment does this itself

        before = list(sys.path)
        for folder in packages:
            site.addsitedir(folder)
        new = [entry for entry in sys.path if entry not in before]
        own = [entry for entry in before if not _of_packages(entry)]
        sys.path[:] = [*own, *new, *(entry for entry in before if entry not in own)]


def borrowed() -> dict[str, str] | None:
    """What this interpreter has borrowed; None: it is the one the server is installed for."""
    for finder in sys.meta_path:
        if isinstance(finder, _Lender):
            return finder.folders
    return None


def lines_to_borrow() -> str:
    """Code with which an interpreter that this one starts borrows the same, "" for nothing. It
    follows what makes the package importable."""
    folders = borrowed()
    return "" if folders is None else f"from nogilserve import lend; lend.borrow({folders!r}); "


def _of_packages(entry: str) -> bool:
    return os.path.basename(entry) in ("site-packages", "dist-packages")
