"""What stays the same in the answers to one request, learnt from several of them.

A template is text with gaps. It matches what has the same text around the gaps, whatever they hold.
"""

import difflib
import re
from itertools import pairwise
from typing import Final

__all__ = ["Template"]

_WORDS: Final = re.compile(
    r"\{\w+\}|\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?|[\w.+=%~-]+|\s+|[^\w\s]", re.ASCII
)
_MOST_WORDS: Final = 6000
_MOST_SAMPLES: Final = 40
"""Of each process."""
_LONGEST_SAMPLE: Final = 20_000


def _words(text: str) -> list[str]:
    words = _WORDS.findall(text)
    if "".join(words) != text or len(words) > _MOST_WORDS:
        return text.splitlines(keepends=True)
    return words


class Template:
    """Owner: the driving process's thread."""

    def __init__(self) -> None:
        self._words: list[str | None] | None = None
        """None among them is a gap."""
        self._runs: list[str] = []
        """The fixed text between the gaps."""
        self._samples: list[tuple[int, str]] = []
        """Process and text."""

    @property
    def is_known(self) -> bool:
        """Whether anything was learnt."""
        return self._words is not None

    @property
    def gaps(self) -> int:
        """How many there are."""
        return max(len(self._runs) - 1, 0)

    @property
    def fixed(self) -> int:
        """Characters outside of gaps."""
        return sum(map(len, self._runs))

    def learn(self, text: str, process: int = 0) -> None:
        """An answer that is right; `process`: a number for the process that gave it."""
        if len(text) <= _LONGEST_SAMPLE:
            self._samples.append((process, text))
            mine = [number for number, each in enumerate(self._samples) if each[0] == process]
            if len(mine) > _MOST_SAMPLES:
                del self._samples[mine[0]]
        if self._words is None:
            self._words = list(_words(text))
        elif self.values(text) is None:
            self._words = _merged(self._words, _words(text))
        else:
            return
        self._runs = _runs(self._words)

    def values(self, text: str) -> list[str] | None:
        """What stands in the gaps; None if the text does not match."""
        runs = self._runs
        if len(runs) == 1:
            return [] if text == runs[0] else None
        if not text.startswith(runs[0]):
            return None
        found = []
        at = len(runs[0])
        end = len(text) - len(runs[-1])
        for run in runs[1:-1]:
            next_at = text.find(run, at, end)
            if next_at < 0:
                return None
            found.append(text[at:next_at])
            at = next_at + len(run)
        if at > end or not text.endswith(runs[-1]):
            return None
        found.append(text[at:end])
        return found

    def samples(self) -> list[tuple[int, list[str]]]:
        """Process and values of the gaps of what was learnt, in order."""
        found = [(process, self.values(text)) for process, text in self._samples]
        return [(process, values) for process, values in found if values is not None]

    def texts(self) -> list[tuple[int, str]]:
        """Process and text of what was learnt and kept."""
        return self._samples

    def filled(self, gap: int, value: str) -> str:
        """The template for people, with one of its gaps filled."""
        left, right = self._runs[: gap + 1], self._runs[gap + 1 :]
        return "…".join(left) + value + "…".join(right)

    def shown(self, text: str) -> str:
        """The text, its gaps filled with "…" where it matches, as the expected text is shown."""
        return text if self.values(text) is None else self.expected()

    def expected(self) -> str:
        """The template for people."""
        return "…".join(self._runs)


def _runs(words: list[str | None]) -> list[str]:
    runs: list[list[str]] = [[]]
    for word in words:
        if word is None:
            runs.append([])
        else:
            runs[-1].append(word)
    return ["".join(run) for run in runs]


def _merged(old: list[str | None], new: list[str]) -> list[str | None]:
    """What both have in common, gaps elsewhere."""
    if len(old) == len(new):
        same = [mine if mine == other else None for mine, other in zip(old, new, strict=True)]
        if 2 * sum(word is not None for word in same) >= len(same):
            return _single_gaps(same)
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    middle = _aligned(old[head : len(old) - tail], new[head : len(new) - tail])
    return _single_gaps([*old[:head], *middle, *old[len(old) - tail :]])


def _aligned(old: list[str | None], new: list[str]) -> list[str | None]:
    """The same for what has no common beginning or end."""
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=len(old) * len(new) > 4_000_000)
    found: list[str | None] = [None]
    for block in matcher.get_matching_blocks():
        kept = old[block.a : block.a + block.size]
        # Punctuation alone between two gaps is there by chance.
        if any(word is not None and re.search(r"\w", word) for word in kept):
            found += [*kept, None]
    return found


def _single_gaps(words: list[str | None]) -> list[str | None]:
    """Without gaps that follow a gap."""
    kept = words[:1]
    kept += [new for old, new in pairwise(words) if not (old is None and new is None)]
    return kept
