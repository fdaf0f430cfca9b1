"""Which requests a directive is for: paths, and named matchers that come down to paths."""

from collections.abc import Mapping
from dataclasses import dataclass

from nogilserve.caddyfile.document import Translation
from nogilserve.caddyfile.tree import Directive

__all__ = ["Matchers", "Where"]


@dataclass(frozen=True, slots=True)
class Where:
    """Paths that a directive is for. Immutable."""

    paths: tuple[str, ...] = ()
    """(): all."""
    exact: bool = False


EVERYWHERE = Where()


class Matchers:
    """The named matchers that are in scope. Owner: whoever translates."""

    def __init__(self, result: Translation, known: Mapping[str, Directive] | None = None) -> None:
        self._result = result
        self._known = dict(known or {})

    def inner(self, directives: tuple[Directive, ...]) -> "Matchers":
        """Those of a block, with those outside of it."""
        own = {item.name: item for item in directives if item.name.startswith("@")}
        return Matchers(self._result, self._known | own)

    def split(
        self, directive: Directive, *, alone: bool = False
    ) -> tuple[Where | None, tuple[str, ...]]:
        """Where a directive counts, and its further arguments; None: that is no path, as was noted.

        `alone`: a single argument is no matcher, even if it looks like one.
        """
        args = directive.args
        if not args or not (args[0] == "*" or args[0].startswith(("/", "@"))):
            return EVERYWHERE, args
        if alone and len(args) == 1 and not args[0].startswith("@"):
            return EVERYWHERE, args
        first, rest = args[0], args[1:]
        if first.startswith("@"):
            return self._named(directive, first), rest
        return self._paths(directive, (first,)), rest

    def _named(self, directive: Directive, name: str) -> Where | None:
        definition = self._known.get(name)
        if definition is None:
            self._result.lost(directive, f"there is no matcher {name}")
            return None
        conditions = (
            [Directive(definition.args[0], definition.args[1:], definition.line, definition.place)]
            if definition.args
            else list(definition.children)
        )
        if len(conditions) == 1 and conditions[0].name == "path":
            return self._paths(directive, conditions[0].args)
        kinds = ", ".join(item.name for item in conditions)
        self._result.lost(
            directive,
            f"its matcher {name} asks for {kinds}; sites here are told apart by host and path, "
            "the rest is the application's",
        )
        return None

    def _paths(self, directive: Directive, patterns: tuple[str, ...]) -> Where | None:
        paths: list[str] = []
        exact: set[bool] = set()
        for pattern in patterns:
            if pattern in ("*", "/*"):
                return EVERYWHERE
            body = pattern.removesuffix("*")
            if "*" in body or "{" in body:
                self._result.lost(
                    directive, f"{pattern} is no beginning of a path; give its directory a route"
                )
                return None
            below = pattern != body
            if below and not body.endswith("/"):
                self._result.hint(directive, f"only whole segments count: {body} and {body}/…")
            paths.append(body.rstrip("/") or "/")
            exact.add(not below)
        if len(exact) > 1:
            self._result.hint(directive, "all of its paths stand for what is below them, too")
        return Where(tuple(dict.fromkeys(paths)), exact == {True})
