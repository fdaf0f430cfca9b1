"""What stays the same in the heads of the answers to one request: a template for each field."""

from nogilserve.stress.templates import Template

__all__ = ["Head"]


class Head:
    """Of answers with one status. Owner: the driving process's thread."""

    def __init__(self) -> None:
        self._answers = 0
        self._fields: dict[str, tuple[Template, int]] = {}
        """By name: its values, and how many answers had it."""

    def learn(self, text: str, process: int) -> None:
        """A head that is right, in the form of `answers.head_text`."""
        self._answers += 1
        for name, value in _fields(text).items():
            template, count = self._fields.get(name, (Template(), 0))
            template.learn(value, process)
            self._fields[name] = (template, count + 1)

    def matches(self, text: str) -> bool:
        """Whether it has all fields that are always there, no others than those that were there
        once, and values as they were."""
        given = _fields(text)
        return all(name in self._fields for name in given) and all(
            count < self._answers if name not in given else template.values(given[name]) is not None
            for name, (template, count) in self._fields.items()
        )

    def expected(self) -> str:
        """What is expected, for people."""
        return "\n".join(
            f"{name}{template.expected()}"
            for name, (template, _) in sorted(self._fields.items(), key=_place)
        )

    def shown(self, text: str) -> str:
        """The text, with the fields that are as expected as `expected` shows them."""
        lines = []
        for name, value in sorted(_fields(text).items(), key=_place):
            known = self._fields.get(name)
            lines.append(f"{name}{known[0].shown(value) if known else value}")
        return "\n".join(lines)


def _place(field: tuple[str, object]) -> tuple[bool, str]:
    """The status line stands first."""
    return not field[0].startswith("status "), field[0]


def _fields(text: str) -> dict[str, str]:
    """The values of each name, which keeps its colon; the status line is one of them."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, value = line.partition(": ")
        if not colon:
            name, _, value = line.partition(" ")
            name += " "
        else:
            name += ": "
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found
