"""A page that asks for thirty parts, sends an upload, and says in its title what came of it."""

from collections.abc import Callable, Iterable
from typing import Any

PAGE = b"""<!doctype html><title>not yet</title><script>
(async () => {
  const parts = await Promise.all([...Array(30).keys()].map(n => fetch("/part/" + n)));
  const texts = await Promise.all(parts.map(part => part.text()));
  const upload = await fetch("/sum", {method: "POST", body: "u".repeat(100000)});
  const protocol = performance.getEntriesByType("navigation")[0].nextHopProtocol;
  const good = texts.filter((text, n) => text === "part " + n).length;
  document.title = [protocol, good, await upload.text()].join(" ");
})();
</script>"""


def answer(path: str, body: bytes) -> bytes:
    """What is sent for a path."""
    if path.startswith("/part/"):
        return f"part {path[6:]}".encode()
    return str(len(body)).encode() if path == "/sum" else PAGE


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """As PEP 3333 has it."""
    body = answer(environ["PATH_INFO"], environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "text/html")])
    return [body]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """As ASGI 3 has it."""
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    sent = b""
    more = True
    while more:
        message = await receive()
        sent += message["body"]
        more = message["more_body"]
    headers = [(b"content-type", b"text/html")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer(scope["path"], sent)})
