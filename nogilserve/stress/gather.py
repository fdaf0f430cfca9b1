"""Collects the requests to replay from wherever the command line says."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nogilserve.errors import ConfigError
from nogilserve.stress.answers import Answer
from nogilserve.stress.asks import Ask
from nogilserve.stress.inputs import crawl, from_openapi, load_json, read_har, read_list, read_text
from nogilserve.stress.session import Session, Stage

__all__ = ["Given", "gather", "read_files"]

_USUAL = "/openapi.json"

type Given = tuple[list[Ask], Any]
"""Requests from files, and an OpenAPI document from a file."""


def read_files(own: argparse.Namespace, note: Callable[[str], None]) -> Given:
    """What can be read before the application is started. Raises ConfigError."""
    asks = [ask for path in own.requests for ask in read_list(path)]
    if own.har:
        recorded, others = read_har(own.har, own.har_host)
        asks += recorded
        if others:
            note(f"{own.har}: {others} requests to other hosts are left out (--har-host)")
    document = None
    if own.openapi and (Path(own.openapi).exists() or not own.openapi.startswith("/")):
        if Path(own.openapi).suffix in (".yaml", ".yml"):
            raise ConfigError(f"--openapi {own.openapi}: YAML is not read; convert it to JSON")
        document = load_json(read_text(own.openapi, "--openapi"), own.openapi)
    return asks, document


def gather(own: argparse.Namespace, given: Given, session: Session) -> list[Ask]:
    """All requests, each once. Raises ConfigError, AppImportError."""
    asks, document = given
    asks = list(asks)
    fetch = own.openapi if own.openapi and document is None else ""
    guess = not (own.requests or own.har or own.openapi or own.crawl)
    if document is not None:
        asks += _from_document(document, own.openapi, session)
    if fetch or guess or own.crawl:
        with session.fresh() as stage:
            status, found = _ask_for(stage, fetch or _USUAL) if fetch or guess else (0, None)
            if fetch and found is None:
                answer = f"{status}, " if status else ""
                raise ConfigError(
                    f"--openapi {fetch}: the application answers no JSON there ({answer}"
                    "--openapi FILE takes a document of your own)"
                )
            if found is not None:
                asks += _from_document(found, fetch or _USUAL, session)
            if own.crawl or (guess and not asks):
                asks += _crawled(stage, own, session)
    chosen: list[Ask] = []
    for ask in asks:
        if (not own.methods or ask.method in own.methods) and not any(map(ask.same_as, chosen)):
            chosen.append(ask)
    if not chosen:
        raise ConfigError("there is no request to replay; --requests FILE names some")
    return chosen


def _from_document(document: Any, place: str, session: Session) -> list[Ask]:
    asks, left_out = from_openapi(document, place)
    for text in left_out:
        session.note(text)
    return asks


def _ask_for(stage: Stage, path: str) -> tuple[int, Any]:
    """The status, and a JSON document of the application, None if there is none."""
    answer = stage.client.one(stage.client.prepare(Ask("GET", path), None))
    if answer.status != 200 or "json" not in answer.header("content-type"):
        return answer.status, None
    return answer.status, load_json(answer.text, path)


def _crawled(stage: Stage, own: argparse.Namespace, session: Session) -> list[Ask]:
    start = own.crawl or "/"
    if not start.startswith("/"):
        raise ConfigError(f"--crawl {start}: a path is wanted, such as /")

    def send(ask: Ask) -> Answer:
        return stage.client.one(stage.client.prepare(ask, None))

    hosts = frozenset({"localhost", "127.0.0.1", own.host_header.partition(":")[0].lower()})
    asks = crawl(send, start, own.pages, hosts)
    if len(asks) >= own.pages:
        session.note(f"The crawl ended after {own.pages} pages; --pages allows it more.")
    return asks
