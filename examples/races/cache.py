"""Broken on purpose: check, then act. `nogilserve stress cache:app` finds it.

Each name gets an account when it is first asked for. Of two requests that both find it missing,
both open one: the first visitor is told of an account that nobody knows any more.
"""

import uuid

from flask import Flask

app = Flask(__name__)
accounts: dict[str, str] = {}


def account_of(name: str) -> str:
    """The account of somebody, opened when it is first asked for."""
    if name not in accounts:
        accounts[name] = str(uuid.uuid4())
        return accounts[name]
    return accounts[name]


@app.get("/")
def index() -> str:
    """Links, for who follows them."""
    return '<a href="/account/ada">Ada</a> <a href="/account/grace">Grace</a>'


@app.get("/account/<name>")
def account(name: str) -> dict[str, str]:
    """The number of an account."""
    return {"name": name, "account": account_of(name)}
