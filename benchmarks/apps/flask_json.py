"""The JSON workload on Flask: routing, request context and serialisation as users have them."""

from flask import Flask, Response, jsonify

from benchmarks.apps.documents import document, made
from benchmarks.apps.plain import about as describe

__all__ = ["app"]

app = Flask(__name__)


@app.get("/json")
def items() -> Response:
    """A small document of data that all requests share."""
    return jsonify(document())


@app.get("/made")
def made_items() -> Response:
    """The same document of new data."""
    return jsonify(made())


@app.get("/about")
def about() -> Response:
    """What the serving process is."""
    return jsonify(describe())
