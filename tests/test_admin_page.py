"""The status page in a real browser. `NOGILSERVE_SCREENSHOTS=docs/status` keeps pictures of it."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chromium import CHROMIUM, Browser, Page
from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.test_admin import ADMIN, TOKEN

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")

PICTURES = os.environ.get("NOGILSERVE_SCREENSHOTS", "")
SECONDS = 30.0
"""Of traffic before a picture is taken."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server with an admin address."""
    with Server(
        "tests.apps.observed:app",
        *("--admin", "127.0.0.1:0", "--admin-token", TOKEN, "--threads", "6", "--workers", "2"),
        *("--metrics-route", "/api", "--metrics-route", "/compute"),
    ) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser, shared by all tests."""
    with Browser() as started:
        yield started


@pytest.fixture
def page(server: Server, browser: Browser) -> Page:
    """The status page, opened by somebody who has the token, with its first numbers."""
    opened = browser.page(f"{url(server)}/#token={TOKEN}")
    opened.wait("document.querySelectorAll('.tile').length >= 8")
    return opened


def url(server: Server) -> str:
    """Of the admin address."""
    return f"http://127.0.0.1:{server.wait_log(ADMIN)[1]}"


def get(server: Server, path: str, times: int = 1) -> None:
    """Ask the application."""
    with server.connect() as client:
        for _ in range(times):
            client.get(path)


def tile(page: Page, name: str) -> str:
    """What the tile of that name says."""
    return str(
        page.run(
            "[...document.querySelectorAll('.tile')]"
            f".find(t => t.firstChild.textContent === '{name}')?.textContent ?? ''"
        )
    )


def test_it_shows_what_happens(server: Server, page: Page) -> None:
    """Requests, a slow one with its stack, errors with tracebacks and processes appear by
    themselves, without a complaint in the console."""
    assert "#" not in page.run("location.href")  # the token is not left where others look
    page.wait("document.querySelectorAll('.lane').length === 6")
    page.wait("/Prepared in .* frozen/.test(document.querySelector('#prepared').textContent)")
    page.wait("/[1-9][0-9]* in all/.test(document.querySelector('#gc-note').textContent)")
    get(server, "/api/users?page=2", 20)
    page.wait("document.querySelector('#routes').textContent.includes('/api')")
    wait_until(lambda: "in all" in tile(page, "Requests"), 10)
    get(server, "/fail")
    page.wait(
        "document.querySelector('#errors summary')?.textContent.includes('as it was told to')"
    )
    assert "Traceback" in page.text("#errors pre")
    with server.connect() as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        page.wait("document.querySelector('#slowest tr.click')?.textContent.includes('/wait')")
        page.run("document.querySelector('#slowest tr.click').click()")
        page.wait("document.querySelector('#stack pre')?.textContent.includes('wait_here')")
        assert "GET /wait" in page.text("#lanes")
        get(server, "/go")
        assert client.receive().status == 200
    page.wait("document.querySelector('#stack').textContent.includes('has ended')")
    for word in ("master", "generation 1", "admin"):
        assert word in page.text("#processes")
    assert page.complaints() == []


def test_its_buttons_work(server: Server, page: Page) -> None:
    """More threads, fewer, drain and back, garbage, a flame graph, a reload."""

    def press(button: str, says: str) -> None:
        page.run(f"document.getElementById('{button}').click()")
        page.wait(f"document.getElementById('toast').textContent.includes({says!r})")

    press("do-more", "There are 7 threads now")
    page.wait("document.getElementById('threads').textContent === '7 threads'")
    press("do-fewer", "There are 6 threads now")
    press("do-drain", "Not ready")
    page.wait("document.getElementById('badges').textContent.includes('drained')")
    page.wait("document.getElementById('do-drain').textContent === 'Undrain'")
    press("do-drain", "Ready for new clients again")
    press("do-gc", "objects collected")
    page.run("document.getElementById('do-profile').click()")
    get(server, "/compute", 6)
    page.wait("document.querySelector('#flame[open] svg.flame g.box')", 20)
    assert "compute (" in page.text("#drawing svg")
    page.run("document.getElementById('shut').click()")
    press("do-reload", "has taken over")
    page.wait("document.querySelector('#processes').textContent.includes('generation 2')")
    assert page.complaints() == []


def test_without_the_token(server: Server, browser: Browser) -> None:
    """Whoever lacks the token sees numbers, but neither queries nor tracebacks, and can press
    nothing until it is given."""
    get(server, "/fail")
    page = browser.page(url(server))
    # Tabs of one browser share nothing: the token is kept for a tab.
    page.wait("document.querySelectorAll('.lane').length >= 6")
    assert page.run("document.getElementById('do-reload').disabled")
    assert "token" in page.text("#errors")
    assert "RuntimeError" not in page.text("#errors")
    page.run(
        "document.getElementById('do-token').click();"
        f"document.getElementById('given').value = '{TOKEN}';"
        "document.querySelector('#ask form button').click()"
    )
    page.wait("!document.getElementById('do-reload').disabled")
    page.wait("document.querySelector('#errors summary')")
    assert page.complaints() == []


def test_nothing_is_looked_up_while_nobody_looks(server: Server, browser: Browser) -> None:
    """When the last page is closed the thread that feeds pages ends."""
    page = browser.page(f"{url(server)}/")
    page.wait("document.querySelectorAll('.lane').length >= 6")
    (admin,) = [
        pid
        for pid in os.listdir("/proc")
        if pid.isdecimal()
        and b"supervise.admin.server" in command_of(pid)
        and is_child(pid, server)
    ]

    def threads() -> set[str]:
        names = Path(f"/proc/{admin}/task").glob("*/comm")
        return {name.read_text().strip() for name in names}

    assert "feed" in threads()
    for target in browser.call("Target.getTargets")["targetInfos"]:
        if target["type"] == "page" and url(server) in target["url"]:
            browser.call("Target.closeTarget", targetId=target["targetId"])
    wait_until(lambda: "feed" not in threads(), 20)


def command_of(pid: str) -> bytes:
    """The command line of a process, b"" if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def is_child(pid: str, server: Server) -> bool:
    """Whether the server has started that process."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1]) == server.pid


@pytest.mark.timeout(300)
@pytest.mark.skipif(not PICTURES, reason="pictures are taken where NOGILSERVE_SCREENSHOTS says")
def test_pictures(server: Server, browser: Browser) -> None:
    """Pictures for the documentation: light, dark, phone."""
    until = time.monotonic() + 3 * SECONDS + 15

    def ask(path: str, pause: float) -> None:
        wait = threading.Event()
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                get(server, path)
            wait.wait(pause)

    kinds = (("/", 0.01), ("/api/users", 0.02), ("/compute", 0.2), ("/compute", 0.4), ("/fail", 3))
    threads = [threading.Thread(target=ask, args=kind) for kind in kinds]
    for thread in threads:
        thread.start()
    for name, width, height, dark in (
        ("light", 1360, 1000, False),
        ("dark", 1360, 1000, True),
        ("phone", 390, 1300, False),
    ):
        page = browser.page(f"{url(server)}/#token={TOKEN}", width=width, height=height, dark=dark)
        page.wait(f"past.columns.length >= {SECONDS}", 2 * SECONDS)
        page.screenshot(Path(PICTURES) / f"status-{name}.png")
    for thread in threads:
        thread.join()
