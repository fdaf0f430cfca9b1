"""Flask's hello of Caddy Snake's published table."""

from flask import Flask, Response, jsonify

from benchmarks.apps.plain import about as describe

__all__ = ["app"]

app = Flask(__name__)


@app.get("/hello")
def hello() -> Response:
    """A JSON object of one member."""
    return jsonify(message="Hello, World!")


@app.get("/about")
def about() -> Response:
    """What the serving process is."""
    return jsonify(describe())
