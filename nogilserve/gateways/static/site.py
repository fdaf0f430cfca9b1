"""Which folder a request is about, and what is answered: the part that both engines share.

It opens, looks at and reads directories, nothing that waits for a client. Whoever sends the
answers opens the file itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import time
from typing import Final
from urllib.parse import quote

from nogilserve.gateways.negotiation import preferred
from nogilserve.gateways.static.answer import (
    ALLOWED,
    Answer,
    Asked,
    Facts,
    answer_file,
    asked,
    plain,
)
from nogilserve.gateways.static.caching import CacheRules
from nogilserve.gateways.static.listing import FIELDS, entries_of, listing
from nogilserve.gateways.static.lookup import Folder, Located, names_of
from nogilserve.gateways.static.media import media_type, worth_compressing
from nogilserve.gateways.static.recent import SMALL, Recent
from nogilserve.messages import Request

__all__ = ["Site", "StaticRules"]

_SUFFIXES: Final = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
"""Precompressed siblings, by their coding; among equals the first is sent."""
_CODINGS: Final = tuple(_SUFFIXES)
_HARMLESS: Final = frozenset({"accept", "accept-encoding"})
"""Fields of requests for the whole of a file."""
_STALE_NS: Final = 2_000_000_000
"""How much older than its file a sibling may be: builds write the one after the other."""


@dataclass(frozen=True, slots=True)
class StaticRules:
    """What is served, and how. Immutable."""

    folders: tuple[tuple[str, str], ...]
    """Route and directory of each; the route is "/" or like "/static"."""
    excepted: tuple[str, ...] = ()
    """Paths below which the application answers, like "/api"."""
    fallthrough: bool = False
    """What is not there is the application's."""
    spa: str = ""
    """The file that is served in place of pages that are not there; "" for none."""
    listing: bool = False
    indexes: tuple[str, ...] = ("index.html",)
    cache: str = "no-cache"
    immutable: tuple[str, ...] = ()
    precompressed: bool = True
    follow: bool = False
    """Symbolic links may lead out of the directory."""
    root_path: str = ""
    """The prefix that a proxy may leave in front of the routes."""
    below: str = ""
    """The path at which the routes begin, "" or like "/shop"."""


@dataclass(frozen=True, slots=True)
class _Mount:
    prefix: str
    """As in the paths of requests, without the slash at the end."""
    folder: Folder


class Site:
    """Owner: a core; its threads may overlap. What it keeps has its own rules, see Recent;
    nothing else changes."""

    def __init__(self, rules: StaticRules) -> None:
        self._rules = rules
        self._recent = Recent()
        self._cache = CacheRules(rules.cache, rules.immutable)
        self._spa = rules.spa.strip("/").split("/") if rules.spa else []
        roots = {_wire(rules.below), _wire(rules.root_path + rules.below)}
        self._excepted = tuple(root + _wire(path) for root in roots for path in rules.excepted)
        folders = [
            (_wire(route), Folder(path, follow=rules.follow)) for route, path in rules.folders
        ]
        mounts = [_Mount(root + route, folder) for root in roots for route, folder in folders]
        # The longest first: /static/vendor before /static.
        self._mounts = tuple(sorted(mounts, key=lambda mount: -len(mount.prefix)))
        self.prefixes = tuple(mount.prefix or "/" for mount in self._mounts)
        """What the path of a request begins with, if it may be ours."""

    def answer(self, request: Request, *, fresh: bool = False) -> Answer | None:
        """What to answer; None: the application is to. Raises OSError.

        `fresh`: what was found before does not count.
        """
        path = request.path
        question = asked(request)
        fields = question.fields
        key = f"{path} {fields.get('accept-encoding', '')}"
        known = None if fresh else self._recent.find(key)
        if known is None or question.method not in {"GET", "HEAD"}:
            return self._search(question, request, key)
        # A page may be the answer to some and not to others, but then it is not kept.
        if fields.keys() <= _HARMLESS:
            if known.whole is not None:
                return known.whole
            small = known.facts.size <= SMALL
            return replace(known.answer, entry=known) if small else known.answer
        return replace(answer_file(question, known.facts), source=known.answer.source)

    def _search(self, question: Asked, request: Request, key: str) -> Answer | None:
        path = request.path
        for mount in self._mounts:
            prefix = mount.prefix
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/"}:
                break
        else:
            return None
        for excepted in self._excepted:
            if path.startswith(excepted) and path[len(excepted) : len(excepted) + 1] in {"", "/"}:
                return None
        if question.method not in {"GET", "HEAD"}:
            return self._other_method(question.method)
        rest = path[len(prefix) + 1 :]
        names = names_of(rest)
        found = None if names is None else mount.folder.locate(names)
        answer = None
        if found is not None and names is not None:
            if found.is_folder:
                bare = not path.endswith("/")
                answer = self._folder(question, request, mount, names, found, key, bare=bare)
            elif found.is_file:
                answer = self._file(question, mount.folder, names, found, key)
        return answer or self._missing(question, mount.folder, rest)

    def _other_method(self, method: str) -> Answer | None:
        if self._rules.fallthrough:
            return None
        if method == "OPTIONS":
            return Answer("204 No Content", [("Allow", ALLOWED)])
        return plain("405 Method Not Allowed", ("Allow", ALLOWED))

    def _missing(self, question: Asked, folder: Folder, rest: str) -> Answer | None:
        """There is nothing to serve at this path."""
        rules = self._rules
        if self._spa and _is_page(question, rest, sure=rules.fallthrough):
            page = folder.locate(self._spa)
            if page is not None and page.is_file:
                return self._file(question, folder, self._spa, page)
        return None if rules.fallthrough else plain("404 Not Found")

    def _folder(
        self,
        question: Asked,
        request: Request,
        mount: _Mount,
        names: list[str],
        found: Located,
        key: str,
        *,
        bare: bool,
    ) -> Answer | None:
        """A directory: its index, or what is in it. `bare`: asked for without a slash."""
        inside = [name for name in names if name]
        index = self._index(mount.folder, inside)
        if index is None and not self._rules.listing:
            return None
        if bare:
            # Relative (RFC 3986 §4.2): the same behind a proxy that takes a prefix off, and
            # nothing in the path can make another host of it. Its links begin below the slash.
            place = f"./{request.path.rpartition('/')[2]}/"
            query = f"?{request.query}" if request.query else ""
            return plain("301 Moved Permanently", ("Location", place + query))
        if index is not None:
            return self._file(question, mount.folder, [*inside, index[0]], index[1], key)
        title = request.path
        return Answer("200 OK", FIELDS, source=found, title=title)

    def _index(self, folder: Folder, inside: list[str]) -> tuple[str, Located] | None:
        for name in self._rules.indexes:
            found = folder.locate([*inside, name])
            if found is not None and found.is_file:
                return name, found
        return None

    def _file(
        self,
        question: Asked,
        folder: Folder,
        names: Sequence[str],
        found: Located,
        key: str = "",
    ) -> Answer:
        """A file. `key`: under which it is kept, if it is what the path names."""
        name = names[-1]
        kind = media_type(name)
        varies = self._rules.precompressed and worth_compressing(kind)
        source, coding = found, ""
        if varies:
            for wanted in preferred(question.fields.get("accept-encoding"), _CODINGS):
                sibling = folder.locate([*names[:-1], name + _SUFFIXES[wanted]])
                if sibling is not None and sibling.is_file and not _is_stale(sibling, found):
                    source, coding = sibling, wanted
                    break
        facts = Facts(
            size=source.status.st_size,
            mtime_ns=source.status.st_mtime_ns,
            modified=min(source.status.st_mtime_ns // 1_000_000_000, int(time())),
            content_type=kind,
            coding=coding,
            varies=varies,
            cache=self._cache.value("/".join(names)),
        )
        answer = replace(answer_file(question, facts), source=source)
        if key and answer.parts and question.fields.keys() <= _HARMLESS:
            path = folder.path_of([*names[:-1], name + _SUFFIXES.get(coding, "")])
            entry = self._recent.put(key, path, source.status, facts, answer)
            answer = replace(answer, entry=entry)
        return answer

    def list(self, answer: Answer) -> bytes:
        """The page of an answer that is a listing. Reads a directory: may take its time, and raise
        OSError."""
        assert answer.source is not None
        mount = next(m for m in self._mounts if answer.title.startswith(m.prefix + "/"))
        entries, left_out = entries_of(mount.folder, answer.source)
        top = answer.title == mount.prefix + "/"
        return listing(answer.title, entries, left_out, top=top)


def _wire(path: str) -> str:
    """A route as it stands in the paths of requests; "" for "/"."""
    return quote(path.rstrip("/"), safe="/!$&'()*+,;=:@-._~")


def _is_stale(sibling: Located, original: Located) -> bool:
    """Whether a compressed file was left behind when its original changed."""
    return sibling.status.st_mtime_ns < original.status.st_mtime_ns - _STALE_NS


def _is_page(question: Asked, rest: str, *, sure: bool) -> bool:
    """Whether a request seems to be for a page rather than for what belongs to one.

    Who goes to a page says text/html. Others may ask for anything: where nobody else could
    answer (not `sure`), for a page if the name has no dot in it.
    """
    accept = question.fields.get("accept", "*/*").lower()
    if "text/html" in accept:
        return True
    return not sure and "*/*" in accept and "." not in rest.rpartition("/")[2]
