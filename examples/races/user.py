"""Broken on purpose: the current user in a global variable. `nogilserve stress user:app` finds it.

It works as long as one request runs at a time. Then somebody is greeted by the name of another, or
reads another's letters.
"""

from flask import Flask, request

app = Flask(__name__)
current_user = "nobody"


def letters() -> list[str]:
    """The letters of the current user."""
    return [f"Dear {current_user}, …"]


@app.before_request
def remember() -> None:
    """Note who asks."""
    global current_user
    current_user = request.args.get("user", "nobody")


@app.get("/")
def index() -> dict[str, object]:
    """A greeting."""
    return {"user": current_user, "letters": letters()}
