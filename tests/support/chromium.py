"""A headless Chromium, driven over its DevTools websocket: the browser of a user.

Debian's package is enough (`apt-get install chromium`); no driver, no further download.
"""

import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

from tests.support.waiting import Deadline, wait_until

__all__ = ["CHROMIUM", "Browser", "Page"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--mute-audio"),
    *("--disable-extensions", "--disable-background-networking", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0"),
)


class Browser:
    """One process, ended on leaving; `page` opens a page."""

    def __init__(self) -> None:
        self.stack = contextlib.ExitStack()
        self.folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={self.folder.name}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            place = Path(self.folder.name) / "DevToolsActivePort"
            wait_until(lambda: place.exists() and place.read_text().count("\n") >= 1, 30)
            port, path = place.read_text().split("\n")[:2]
            self.socket: ClientConnection = self.stack.enter_context(
                connect(
                    f"ws://127.0.0.1:{port}{path}", max_size=None, open_timeout=20, compression=None
                )
            )
        except BaseException:
            self.close()
            raise
        self.numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """A DevTools command and its result; events that come meanwhile are kept."""
        number = next(self.numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        self.socket.send(json.dumps(message))
        deadline = Deadline(30)
        while True:
            heard = json.loads(self.socket.recv(timeout=deadline.left))
            if heard.get("id") == number:
                assert "error" not in heard, f"{method}: {heard['error']}"
                result: dict[str, Any] = heard["result"]
                return result
            self.events.append(heard)

    def page(self, url: str, *, width: int = 1360, height: int = 900, dark: bool = False) -> "Page":
        """Open a page of that size."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        page.call("Page.navigate", url=url)
        return page

    def close(self) -> None:
        """End all its processes."""
        self.stack.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self.folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Page:
    """One page of a browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser = browser
        self.session = session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command for this page."""
        return self.browser.call(method, self.session, **parameters)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, f"{script}: {found['exceptionDetails']}"
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 20) -> None:
        """Until the expression is true."""
        wait_until(lambda: self.run(f"!!({script})"), seconds, f"not true: {script}")

    def text(self, selector: str) -> str:
        """The text of the first element that matches."""
        found = self.run(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")
        return str(found)

    def complaints(self) -> list[str]:
        """What the console, the log and uncaught exceptions have said is wrong."""
        self.run("0")  # what came before is here by then
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            more = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(more["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled" and more["type"] in (
                "error",
                "warning",
                "assert",
            ):
                found.append(str(more["args"]))
            elif event["method"] == "Log.entryAdded" and more["entry"]["level"] == "error":
                found.append(str(more["entry"]))
        return found

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Save what it looks like as PNG."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))
