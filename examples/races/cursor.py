"""Broken on purpose: one sqlite cursor for all threads. `nogilserve stress cursor:app` finds it.

A cursor belongs to one statement at a time. While one request is between `execute` and `fetchone`,
another one executes its own statement, and the first gets the other's row.
"""

import sqlite3

from flask import Flask, abort

app = Flask(__name__)
database = sqlite3.connect(":memory:", check_same_thread=False)
cursor = database.cursor()
cursor.execute("CREATE TABLE items (name TEXT PRIMARY KEY, price INTEGER)")
cursor.executemany("INSERT INTO items VALUES (?, ?)", [("tea", 3), ("cake", 5), ("bread", 2)])
database.commit()


@app.get("/")
def index() -> str:
    """Links, for who follows them."""
    return "".join(f'<a href="/price/{name}">{name}</a> ' for name in ("tea", "cake", "bread"))


@app.get("/price/<name>")
def price(name: str) -> dict[str, int]:
    """What something costs."""
    cursor.execute("SELECT price FROM items WHERE name = ?", [name])
    row = cursor.fetchone()
    if row is None:
        abort(404)
    return {"price": row[0]}
