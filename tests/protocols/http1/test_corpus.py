"""The corpus, replayed on the protocol object in every kind of pieces."""

import random
from itertools import pairwise

import pytest

from tests.corpus import Case, load
from tests.protocols.http1.replay import Outcome, fields, replay

CASES = load("http1")


def check(case: Case, outcome: Outcome) -> None:
    """The outcome is the one that the case expects."""
    assert outcome.status == case.status, f"{case.why}: {outcome.message}"
    got = [(r.request.method, r.request.target, r.body) for r in outcome.received]
    assert got == [(e.method, e.target, e.body) for e in case.requests], case.why
    for received, expected in zip(outcome.received, case.requests, strict=True):
        actual = fields(received.request) | {"trailers": received.trailers}
        for name in ("authority", "path", "query", "headers", "trailers"):
            wanted = getattr(expected, name)
            assert wanted is None or actual[name] == wanted, f"{case.why}: {name}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
class TestCorpus:
    """Every case, cut in every way."""

    def test_whole(self, case: Case) -> None:
        """In one piece the input has the outcome that the corpus says."""
        check(case, replay([case.sent], case.eof))

    def test_cut_anywhere(self, case: Case) -> None:
        """The outcome does not depend on how the bytes are cut."""
        whole = replay([case.sent], case.eof).summary()
        chance = random.Random(case.name)
        size = len(case.sent)
        for _ in range(4):
            cuts = sorted(chance.randrange(size + 1) for _ in range(chance.randrange(1, 8)))
            bounds = [0, *cuts, size]
            pieces = [case.sent[a:b] for a, b in pairwise(bounds) if a < b]
            assert whole == replay(pieces, case.eof).summary(), f"cut at {cuts}"

    def test_byte_by_byte(self, case: Case) -> None:
        """Nor does it when every byte comes alone."""
        whole = replay([case.sent], case.eof).summary()
        pieces = [case.sent[i : i + 1] for i in range(len(case.sent))]
        assert whole == replay(pieces, case.eof).summary()
