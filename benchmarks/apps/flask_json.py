"""The JSON workload on Flask: routing, request context and serialisation as users have them."""

from flask import Flask, Response, jsonify

from benchmarks.apps.plain import about as describe

__all__ = ["app"]

app = Flask(__name__)
ITEMS = [{"id": n, "name": f"item {n}", "tags": ["a", "b"]} for n in range(5)]


@app.get("/json")
def items() -> Response:
    """A small document made anew for each request."""
    return jsonify(message="Hello, World!", items=ITEMS)


@app.get("/about")
def about() -> Response:
    """What the serving process is."""
    return jsonify(describe())
