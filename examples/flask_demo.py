"""A Flask application that shows what a free-threaded server does: `nogilserve flask_demo:app`.

Open `/` in a browser: every route has a button there. All inputs are bounded, so the
application can be left running where others can reach it.
"""

import hashlib
import os
import platform
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask, Response, abort, jsonify, render_template, request

MAX_CPU = 200_000
MAX_SLEEP_MS = 10_000
MAX_LINES = 200
MAX_LINE_MS = 1_000
BLOCK = 64 * 1024

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 1 << 30


def _gil_enabled() -> bool:
    """Whether the GIL is on right now; always true before Python 3.13."""
    is_enabled: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    return is_enabled()


def _bounded(name: str, default: int, low: int, high: int) -> int:
    """Read a whole number from the query string, or answer 400 naming what is allowed."""
    text = request.args.get(name, str(default))
    # isdecimal() alone would let "٣" through, and a long run of digits costs time to convert.
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and low <= int(text) <= high):
        abort(400, f"{name} must be a whole number from {low} to {high}")
    return int(text)


def _about() -> dict[str, Any]:
    """What served this request: the build, the lock, the process, the thread."""
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    return {
        "python": platform.python_version(),
        "build": "free-threaded" if free_threaded else "with GIL",
        "gil": "on" if _gil_enabled() else "off",
        "server": request.environ.get("SERVER_SOFTWARE", "unknown"),
        "cores": os.process_cpu_count() or 1,
        "pid": os.getpid(),
        "thread": threading.current_thread().name,
        "thread_id": threading.get_native_id(),
        "threads_alive": threading.active_count(),
        "time": time.time(),
    }


@app.get("/")
def index() -> str:
    """The page that tries every other route."""
    return render_template("flask_demo.html", about=_about())


@app.get("/json")
def json_route() -> Response:
    """The facts of `_about`, as JSON."""
    return jsonify(_about())


def _digest(read: Callable[[int], bytes]) -> dict[str, Any]:
    """Read to the end in blocks and return size and SHA-256."""
    digest = hashlib.sha256()
    size = 0
    while block := read(BLOCK):
        digest.update(block)
        size += len(block)
    return {"size": size, "sha256": digest.hexdigest()}


@app.route("/upload", methods=["GET", "POST"])
def upload() -> Response | str:
    """Measure what is uploaded: the field `file` of an HTML form, or the bare request body.

    A browser's form gets a page, everyone else gets JSON.
    """
    if request.method == "GET":
        return render_template("flask_upload.html", result=None)
    if request.mimetype == "multipart/form-data":
        file = request.files.get("file")
        if file is None:
            abort(400, "the form has no field called file")
        result = {"name": file.filename, **_digest(file.stream.read)}
    else:
        result = {"name": "", **_digest(request.stream.read)}
    result["thread"] = threading.current_thread().name
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        return render_template("flask_upload.html", result=result)
    return jsonify(result)


@app.get("/stream")
def stream() -> Response:
    """Send one line at a time: `?lines=20&ms=100`. Each arrives as soon as it is made."""
    lines = _bounded("lines", 20, 1, MAX_LINES)
    pause = _bounded("ms", 100, 0, MAX_LINE_MS) / 1000

    def produce() -> Iterator[str]:
        started = time.monotonic()
        for number in range(1, lines + 1):
            passed = time.monotonic() - started
            yield f"line {number} of {lines} after {passed:.2f} s\n"
            if number < lines:
                time.sleep(pause)

    return Response(produce(), mimetype="text/plain", headers={"Cache-Control": "no-store"})


def count_primes(n: int) -> int:
    """How many primes are below `n`, by trial division: pure Python on purpose."""
    found = 1 if n > 2 else 0
    for candidate in range(3, n, 2):
        divisor = 3
        while divisor * divisor <= candidate and candidate % divisor:
            divisor += 2
        if divisor * divisor > candidate:
            found += 1
    return found


@app.get("/cpu")
def cpu() -> Response:
    """Keep one processor busy: count the primes below `?n=`."""
    n = _bounded("n", 50_000, 0, MAX_CPU)
    started = time.perf_counter()
    primes = count_primes(n)
    return jsonify(
        n=n,
        primes=primes,
        seconds=round(time.perf_counter() - started, 4),
        thread=threading.current_thread().name,
    )


@app.get("/sleep")
def sleep() -> Response:
    """Block the thread for `?ms=` milliseconds, as a slow database would."""
    ms = _bounded("ms", 500, 0, MAX_SLEEP_MS)
    time.sleep(ms / 1000)
    return jsonify(slept_ms=ms, thread=threading.current_thread().name)


@app.errorhandler(400)
def bad_request(error: Exception) -> tuple[Response, int]:
    """Say what was wrong as JSON."""
    return jsonify(error=getattr(error, "description", "bad request")), 400
