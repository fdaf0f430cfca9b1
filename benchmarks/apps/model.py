"""A WSGI application with about 100 MB of loaded objects, as with a model of scikit-learn's size.

Half of it are Python objects (a vocabulary, and decision trees as nested tuples), half are the
buffers of arrays: numpy's where it is installed, as with scikit-learn, else the standard library's.
A request asks the trees about one row and looks words up: it reads, and with that counts
references to, a random part of the objects.
"""

import array
import importlib
import json
import random
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.apps.plain import about as describe

__all__ = ["TREES", "app", "predict"]

WORDS, TREES, DEPTH, ASKED = 150_000, 20, 12, 40
ROWS, COLUMNS = 100_000, 64
FEATURES = 30

Node = tuple[int, float, Any, Any]
"""Feature, limit, what is below it, what is not; a leaf is a float."""


def _tree(chance: random.Random, depth: int) -> Node | float:
    if not depth:
        return chance.random()
    below, above = _tree(chance, depth - 1), _tree(chance, depth - 1)
    return (chance.randrange(FEATURES), chance.random(), below, above)


def _matrix(chance: random.Random) -> Any:
    size = ROWS * COLUMNS
    try:
        numpy = importlib.import_module("numpy.random")
    except ImportError:
        return array.array("d", chance.randbytes(8 * size))
    return numpy.default_rng(1).random(size)


_chance = random.Random(1)
VOCABULARY = {f"word-{number:x}": number + 1000 for number in range(WORDS)}
FOREST = [_tree(_chance, DEPTH) for _ in range(TREES)]
MATRIX = _matrix(_chance)


def predict(seed: int) -> dict[str, float]:
    """What the forest says of a row, and the numbers of some words."""
    chance = random.Random(seed)
    row = [chance.random() for _ in range(FEATURES)]
    total = 0.0
    for node in FOREST:
        while isinstance(node, tuple):
            node = node[2] if row[node[0]] < node[1] else node[3]
        total += node
    words = sum(VOCABULARY[f"word-{chance.randrange(WORDS):x}"] for _ in range(ASKED))
    return {"score": total / TREES, "words": words}


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """/predict for a random row; /about."""
    known = environ["PATH_INFO"] == "/predict"
    document = predict(random.getrandbits(32)) if known else describe()
    body = json.dumps(document).encode()
    fields = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", fields)
    return [body]
