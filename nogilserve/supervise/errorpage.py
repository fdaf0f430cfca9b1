"""What is shown instead of an application that cannot be started, with `--reload`.

It is a WSGI application that is served like any other, by a generation of its own, until the next
change. The page asks it now and then whether it is still there; as soon as something else answers,
the browser loads the page anew.
"""

import html
from collections.abc import Iterable
from typing import Any, Final

__all__ = ["PROBE", "ErrorPage", "app"]

PROBE: Final = "/.nogilserve/still-broken"

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>The application cannot be started</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
  color: #222; background: #fff }
h1 { font-size: 1.3rem }
pre { background: #f4f4f4; border-left: 4px solid #c33; overflow-x: auto; padding: 1rem }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #1b1b1b } pre { background: #272727 }
}
</style>
<h1>The application cannot be started</h1>
<p>%(message)s</p>
%(detail)s
<p>This page loads anew as soon as a change has made it work.</p>
<script>
const mark = "%(mark)s";
const look = async () => {
  try {
    const answer = await fetch("%(probe)s", {cache: "no-store"});
    if (await answer.text() !== mark) return location.reload();
  } catch (error) { /* between two generations */ }
  setTimeout(look, 500);
};
setTimeout(look, 500);
</script>
</html>
"""


class ErrorPage:
    """The application. Immutable, so any thread may call it.

    A status of 503 keeps scripts and caches from taking it for what was asked for; where no HTML is
    wanted the text comes plain.
    """

    def __init__(self, message: str, detail: str, mark: str) -> None:
        """`message`: one sentence; `detail`: a traceback or ""; `mark`: no other page has it."""
        self._mark = mark.encode()
        self._text = f"The application cannot be started: {message}\n\n{detail}".encode()
        self._page = (
            _PAGE
            % {
                "message": html.escape(message),
                "detail": f"<pre>{html.escape(detail)}</pre>" if detail else "",
                "mark": mark,
                "probe": PROBE,
            }
        ).encode()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """PEP 3333."""
        kind = "text/plain"
        if environ["PATH_INFO"] == PROBE:
            body = self._mark
        elif "text/html" in environ.get("HTTP_ACCEPT", ""):
            kind, body = "text/html", self._page
        else:
            body = self._text
        start_response(
            "503 Service Unavailable",
            [
                ("Content-Type", f"{kind}; charset=utf-8"),
                ("Content-Length", str(len(body))),
                ("Cache-Control", "no-store"),
            ],
        )
        return [body]


app = ErrorPage("nothing is known yet", "", "")
"""What a generation serves; it sets it first."""
