"""A FastAPI application that is safe on several event loops: `nogilserve fastapi_demo:app`.

Notes in memory, behind one lock; the endpoints are of both kinds, asynchronous ones on the event
loops and ordinary functions in their threads. `/docs` tries them in a browser.
"""

import hashlib
import itertools
import threading
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Query
from pydantic import BaseModel, Field

MOST = 100

app = FastAPI(title="Notes")


class Draft(BaseModel):
    """What is posted."""

    title: str = Field(max_length=80, examples=["Milk"])
    text: str = Field(default="", max_length=1000)


class Note(Draft):
    """What is kept."""

    number: int
    author: str


class Notes:
    """The last notes. Any thread: one lock, held for a moment only, so event loops may take it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._notes: dict[int, Note] = {}

    def add(self, draft: Draft, author: str) -> Note:
        """Keep a note; the oldest goes when there are too many."""
        with self._lock:
            note = Note(number=next(self._numbers), author=author, **draft.model_dump())
            self._notes[note.number] = note
            while len(self._notes) > MOST:
                del self._notes[min(self._notes)]
        return note

    def all(self) -> list[Note]:
        """All of them, the newest first."""
        with self._lock:
            return list(reversed(self._notes.values()))

    def get(self, number: int) -> Note | None:
        """One of them, None if it is not there any more."""
        with self._lock:
            return self._notes.get(number)


notes = Notes()


async def author(x_user: Annotated[str, Header(max_length=40)] = "nobody") -> str:
    """Who asks, as a dependency."""
    return x_user


@app.get("/")
async def index(name: Annotated[str, Query(max_length=40, examples=["Ada"])] = "you") -> str:
    """A greeting."""
    return f"Hello, {name}"


@app.get("/notes")
def list_notes() -> list[Note]:
    """All notes, the newest first."""
    return notes.all()


@app.post("/notes", status_code=201)
async def add_note(draft: Draft, author: Annotated[str, Depends(author)]) -> Note:
    """Keep a note."""
    return notes.add(draft, author)


@app.get("/notes/{number}")
async def get_note(number: int) -> Note:
    """One note."""
    note = notes.get(number)
    if note is None:
        raise HTTPException(404, "There is no such note.")
    return note


@app.get("/digest/{text}")
def digest(text: str) -> dict[str, str]:
    """The SHA-256 of a text, computed in a thread."""
    return {"text": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
