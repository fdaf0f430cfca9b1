"""Broken on purpose: a counter without a lock. `nogilserve stress counter:app` finds it.

`hits += 1` reads, adds and writes back. Two requests that read the same number write the same
number, and one of the hits is lost.
"""

from flask import Flask

app = Flask(__name__)
hits = 0


@app.get("/")
def hit() -> dict[str, int]:
    """Count this request."""
    global hits
    hits += 1
    return {"hits": hits}
