"""Applications that set OpenTelemetry up as users do, make spans of their own, and tell at /spans
what was exported."""

import json
from collections.abc import Iterable
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

EXPORTER = InMemorySpanExporter()
PROVIDER = TracerProvider()
PROVIDER.add_span_processor(SimpleSpanProcessor(EXPORTER))
trace.set_tracer_provider(PROVIDER)
TRACER = trace.get_tracer("application")


def plain(span: ReadableSpan) -> dict[str, Any]:
    """A span as data."""
    assert span.context is not None
    return {
        "name": span.name,
        "kind": span.kind.name,
        "trace": f"{span.context.trace_id:032x}",
        "id": f"{span.context.span_id:016x}",
        "parent": f"{span.parent.span_id:016x}" if span.parent else "",
        "status": span.status.status_code.name,
        "attributes": dict(span.attributes or {}),
    }


def spans() -> bytes:
    """All that were exported, as JSON."""
    return json.dumps([plain(span) for span in EXPORTER.get_finished_spans()]).encode()


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """WSGI."""
    if environ["PATH_INFO"] == "/spans":
        body = spans()
    else:
        with TRACER.start_as_current_span("work"):
            body = b"done"
        if environ["PATH_INFO"] == "/fail":
            raise RuntimeError("as it was told to")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """ASGI 3."""
    if scope["type"] == "lifespan":
        return
    if scope["path"] == "/spans":
        body = spans()
    else:
        with TRACER.start_as_current_span("work"):
            body = b"done"
        if scope["path"] == "/fail":
            raise RuntimeError("as it was told to")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
