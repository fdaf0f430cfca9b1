"""The Flask example, served for real, under concurrent clients."""

import hashlib
import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.apps.served import Served

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SIZE = 100 * 1000 * 1000


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    """The example as its README starts it."""
    with Served("flask_demo:app", "--threads", "16", cwd=EXAMPLES) as running:
        yield running
    assert "Traceback" not in running.log


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    """A common client."""
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as connection:
        yield connection


def test_page(client: httpx.Client) -> None:
    """The page is HTML, names what served it, and loads nothing from elsewhere."""
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "free-threaded" in answer.text or "with GIL" in answer.text
    assert "http://" not in answer.text.replace(str(client.base_url), "")
    assert "https://" not in answer.text


def test_json(client: httpx.Client) -> None:
    """The facts as JSON."""
    facts = client.get("/json").json()
    assert facts["gil"] in ("on", "off")
    assert facts["cores"] >= 1
    assert facts["thread"]


def test_bad_numbers(client: httpx.Client) -> None:
    """What is out of bounds is a 400 that says what is allowed."""
    for target in ("/cpu?n=200001", "/cpu?n=-1", "/sleep?ms=x", "/stream?lines=0", "/cpu?n=\u0663"):
        answer = client.get(target)
        assert answer.status_code == 400
        assert "whole number" in answer.json()["error"]


def test_form_upload(client: httpx.Client) -> None:
    """The HTML form's encoding, answered with JSON or with a page as the client prefers."""
    content = bytes(range(256)) * 5000
    digest = hashlib.sha256(content).hexdigest()
    files = {"file": ("a b.bin", content)}
    answer = client.post("/upload", files=files, headers={"Accept": "application/json"})
    assert (answer.json()["size"], answer.json()["sha256"]) == (len(content), digest)
    page = client.post("/upload", files=files, headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    assert digest in page.text


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_upload_of_100_mb(server: Served, coding: str) -> None:
    """A large bare body arrives complete, chunked as well: Werkzeug is told its length."""
    block = bytes(range(256)) * 4000
    blocks = [block] * (SIZE // len(block)) + [block[: SIZE % len(block)]]
    digest = hashlib.sha256()
    for piece in blocks:
        digest.update(piece)
    connection = http.client.HTTPConnection(*server.address, timeout=60)
    try:
        headers = {"Content-Length": str(SIZE)} if coding == "length" else {}
        headers["Accept"] = "application/json"
        connection.request(
            "POST", "/upload", iter(blocks), headers, encode_chunked=coding == "chunked"
        )
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    assert (answer["size"], answer["sha256"]) == (SIZE, digest.hexdigest())


def test_stream_arrives_line_by_line(client: httpx.Client) -> None:
    """The first of three lines is there long before the last, which is made two seconds later."""
    moments = []
    with client.stream("GET", "/stream?lines=3&ms=1000") as answer:
        for line in answer.iter_lines():
            moments.append(time.monotonic())
            assert line.startswith(f"line {len(moments)} of 3")
    assert len(moments) == 3
    assert moments[2] - moments[0] > 0.5


def test_sixteen_clients_at_once(server: Served) -> None:
    """Every route from sixteen clients at once; blocking ones are served by many threads."""
    threads: set[str] = set()

    def visit(number: int) -> None:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http:
            for turn in range(5):
                content = f"{number}-{turn}".encode() * 1000
                answer = http.post("/upload", content=content)
                assert answer.json()["sha256"] == hashlib.sha256(content).hexdigest()
                n = 100 * number + turn
                assert http.get(f"/cpu?n={n}").json()["n"] == n
                threads.add(http.get("/sleep?ms=50").json()["thread"])
                assert http.get("/stream?lines=2&ms=1").text.count("\n") == 2
                assert "<title>" in http.get("/").text
                assert http.get("/nothing").status_code == 404

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(visit, range(16)))
    assert len(threads) > 4
