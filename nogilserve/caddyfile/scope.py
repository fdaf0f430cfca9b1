"""The directives of a site or of a block in it, as the tables of a site and its routes."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from nogilserve.caddyfile.document import Table, Translation
from nogilserve.caddyfile.matchers import Matchers, Where
from nogilserve.caddyfile.pythonblock import PythonBlock, body_size, read_python
from nogilserve.caddyfile.responses import header_edits, read_log, read_redirect, read_respond
from nogilserve.caddyfile.tree import Directive

__all__ = ["ORDER", "Scope", "translate_scope"]

ORDER: Final = ("redirect", "app", "respond", "static-path")
"""Which of several answers for the same paths counts: the order of Caddy's directives."""
_LISTENING: Final = frozenset({"tls", "bind"})
_COMPRESS: Final = {"zstd": "zstd", "gzip": "gzip", "br": "br"}
_NEAREST: Final = {
    "reverse_proxy": "let the application be served here, or put a proxy in front",
    "php_fastcgi": "leave PHP to another server",
    "basic_auth": "check passwords in the application",
    "basicauth": "check passwords in the application",
    "forward_auth": "check passwords in the application",
    "templates": "render them in the application",
    "rewrite": "change the path in the application, or write prefix and redirect",
    "uri": "write prefix, or redirect",
    "request_header": "change the request in a middleware of the application",
    "handle_errors": "error pages are the application's",
    "rate_limit": "limit-concurrency and limit-connections-per-address bound what one may ask for",
    "abort": "write respond with a status",
    "error": "write respond with a status",
    "acme_server": "use another authority",
    "metrics": "set admin-bind",
    "tracing": "trace in the application",
    "vars": "write the value where it is used",
    "map": "decide in the application",
    "invoke": "write the named route's directives there",
    "method": "the method is the client's",
    "push": "browsers have given it up; send Link fields with header",
    "try_files": "write static-spa, or static-fallthrough",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """Where directives stand. Immutable."""

    result: Translation
    matchers: Matchers
    pythons: "list[tuple[PythonBlock, Table, Scope]]"
    """The applications found so far, each with its table and scope."""
    listening: list[Directive]
    """What is about addresses and certificates, for who translates those."""
    path: str = ""
    """Of the route, as clients ask for it."""
    cut: str = ""
    """The part of it that handlers do not see."""
    root: str = "."
    depth: int = 0


@dataclass(slots=True)
class _Filling:
    """A table that is being filled. Owner: `translate_scope`."""

    scope: Scope
    table: Table = field(default_factory=dict)
    spa: str = ""
    later: list[tuple[Where, list[str], Directive]] = field(default_factory=list)
    """Header fields for some paths only: put in place when the routes are known."""


def translate_scope(directives: tuple[Directive, ...], scope: Scope) -> Table:
    """The table of a block, with its routes."""
    scope = replace(scope, matchers=scope.matchers.inner(directives))
    filling = _Filling(_rooted(directives, scope))
    for item in directives:
        if item.name.startswith("@"):
            continue
        known = _KNOWN.get(item.name)
        if known is not None:
            known(item, filling)
        elif item.name in _LISTENING:
            scope.listening.append(item)
        else:
            scope.result.lost(item, _NEAREST.get(item.name, "see docs/sites.md for what there is"))
    _finish(filling)
    return filling.table


def _rooted(directives: tuple[Directive, ...], scope: Scope) -> Scope:
    """With the directory of files, and what is cut off paths, which count for a whole block."""
    for item in directives:
        if item.name == "root":
            where, rest = scope.matchers.split(item, alone=True)
            folder = rest[0] if rest else ""
            if where is None or where.paths or "{" in folder:
                scope.result.lost(item, "write static-path = ROUTE=DIR in a [[site.route]]")
            elif folder:
                scope = replace(scope, root=folder)
        elif item.name == "uri" and item.args[:1] == ("strip_prefix",) and len(item.args) == 2:
            prefix = "/" + item.args[1].strip("/")
            if scope.path == prefix and not scope.cut:
                scope = replace(scope, cut=prefix)
    return scope


def _finish(filling: _Filling) -> None:
    table, result = filling.table, filling.scope.result
    if filling.spa and "static-path" in table:
        table["static-spa"] = filling.spa
    for where, edits, item in filling.later:
        routes = [route for route in table.get("route", ()) if _same(route, where)]
        for route in routes:
            route["header"] = route.get("header", []) + edits
        copies = [] if routes else _copies(filling, where)
        for copy in copies:
            table.setdefault("route", []).append(copy | {"header": edits})
        if not routes and not copies:
            result.lost(item, "write header in the [[site.route]] of that path")
    own = table.get("header", [])
    for route in table.get("route", ()):
        if "header" in route and own:
            route["header"] = own + [edit for edit in route["header"] if edit not in own]


def _copies(filling: _Filling, where: Where) -> list[Table]:
    """Routes for some paths, which answer as all the others do; none where that has no form."""
    table = filling.table
    if filling.scope.path:
        return []
    if "app" in table:
        copy = {key: value for key, value in table.items() if key in _OF_APP}
        return [{**_where(where), **copy, "prefix": "keep"}]
    if "static-path" not in table:
        return []
    kept = {key: value for key, value in table.items() if key.startswith("static-")}
    folder = str(table["static-path"])
    return [
        {**_where(Where((path,), where.exact)), **kept, "static-path": _below(folder, path)}
        for path in where.paths
    ]


def _below(folder: str, path: str) -> str:
    return os.path.normpath(os.path.join(folder, path.strip("/")))


_OF_APP: Final = frozenset({"app", "interface", "lifespan"})


def _same(route: Table, where: Where) -> bool:
    paths = route["path"] if isinstance(route["path"], list) else [route["path"]]
    return tuple(paths) == where.paths and route.get("exact", False) == where.exact


def _where(where: Where) -> Table:
    table: Table = {"path": where.paths[0] if len(where.paths) == 1 else list(where.paths)}
    if where.exact:
        table["exact"] = True
    return table


# ---- blocks and answers -----------------------------------------------------------------------


def _answer(item: Directive, filling: _Filling, where: Where, answer: Table) -> Table:
    """Put an answer into the table, or into that of a route; the table it went to, or a spare."""
    if where.paths:
        target = _where(where) | answer
        filling.table.setdefault("route", []).append(target)
        return target
    table = filling.table
    kind = next(name for name in ORDER if name in answer)
    there = next((name for name in ORDER if name in table), "")
    if there and not (kind == "static-path" and "_beside" in answer and there == "app"):
        later, earlier = str(kind), str(there)
        if ORDER.index(kind) < ORDER.index(there):
            later, earlier = there, kind
            for name in [name for name in table if name in answer or name == there]:
                table.pop(name)
            table.update(answer)
        filling.scope.result.hint(
            item, f"{earlier} answers all of these paths, so {later} is never reached"
        )
        return table
    table.update(answer)
    return table


def _python(item: Directive, filling: _Filling) -> None:
    scope = filling.scope
    where, rest = scope.matchers.split(item)
    if where is None:
        return
    block = read_python(item, rest, scope.result)
    if not block.app:
        return
    answer = block.table()
    if scope.cut or scope.path or where.paths:
        mode = _prefix(item, scope, where)
        if mode:
            answer["prefix"] = mode
    table = _answer(item, filling, where, answer)
    scope.pythons.append((block, table, scope))


def _prefix(item: Directive, scope: Scope, where: Where) -> str:
    if not scope.cut:
        return "keep"
    if scope.cut == scope.path and not where.paths:
        return "strip"
    scope.result.lost(item, "a path of which only a part is cut off; write prefix")
    return ""


def _block(item: Directive, filling: _Filling) -> None:
    """handle, handle_path and route."""
    scope = filling.scope
    where, _ = scope.matchers.split(item)
    if where is None:
        return
    if not where.paths:
        inner = translate_scope(item.children, scope)
        _merge(item, filling, inner)
        return
    strips = item.name == "handle_path"
    if len(where.paths) > 1 and (strips or _serves_files(item)):
        for path in where.paths:
            _route(item, filling, Where((path,), where.exact), strips=strips)
    else:
        _route(item, filling, where, strips=strips)


def _serves_files(item: Directive) -> bool:
    return any(child.name == "file_server" or _serves_files(child) for child in item.children)


def _route(item: Directive, filling: _Filling, where: Where, *, strips: bool) -> None:
    scope = filling.scope
    path = scope.path + where.paths[0]
    inner = translate_scope(
        item.children, replace(scope, path=path, cut=path if strips else scope.cut)
    )
    if not inner:
        scope.result.hint(item, "it does nothing that is needed here")
        return
    table = _where(where) | inner
    if not any(name in inner for name in (*ORDER, "route")):
        kept = {key: value for key, value in filling.table.items() if key in _OF_APP}
        scope.result.lost(item, "it answers nothing itself; write its settings where the answer is")
        if not kept:
            return
    filling.table.setdefault("route", []).append(table)
    for index, (block, owner, place) in enumerate(scope.pythons):
        if owner is inner:
            scope.pythons[index] = (block, table, place)


def _merge(item: Directive, filling: _Filling, inner: Table) -> None:
    """A block for all paths belongs to the table it stands in."""
    answer = {
        key: value
        for key, value in inner.items()
        if key in ORDER
        or key in _OF_APP
        or key.startswith(("redirect", "respond", "static"))
        or key == "prefix"
    }
    target = _answer(item, filling, Where(), answer) if answer else filling.table
    pythons = filling.scope.pythons
    for index, (block, owner, place) in enumerate(pythons):
        if owner is inner:
            pythons[index] = (block, target, place)
    for key, value in inner.items():
        if key == "route":
            filling.table.setdefault("route", []).extend(value)
        elif key == "header":
            filling.table["header"] = filling.table.get("header", []) + value
        elif key not in answer:
            filling.table.setdefault(key, value)


def _respond(item: Directive, filling: _Filling) -> None:
    where, rest = filling.scope.matchers.split(item, alone=True)
    if where is not None and (answer := read_respond(item, rest, filling.scope.result)):
        _answer(item, filling, where, answer)


def _redir(item: Directive, filling: _Filling) -> None:
    where, rest = filling.scope.matchers.split(item, alone=True)
    if where is not None and (answer := read_redirect(item, rest, filling.scope.result)):
        _answer(item, filling, where, answer)


def _file_server(item: Directive, filling: _Filling) -> None:
    scope = filling.scope
    where, rest = scope.matchers.split(item)
    if where is None:
        return
    folder = scope.root
    answer: Table = {}
    if rest[:1] == ("browse",):
        answer["static-listing"] = True
    for child in item.children:
        folder = _file_option(child, answer, folder, scope.result)
    paths = where.paths or ("",)
    for path in paths:
        # What of the path handlers see is a part of the files' paths.
        seen = (scope.path + path)[len(scope.cut) :]
        place = _below(folder, seen)
        _answer(
            item,
            filling,
            Where((path,), where.exact) if path else where,
            {"static-path": place, **answer},
        )


def _file_option(child: Directive, answer: Table, folder: str, result: Translation) -> str:
    match child.name:
        case "root" if child.args:
            return child.args[0]
        case "index":
            answer["static-index"] = list(child.args)
        case "browse":
            answer["static-listing"] = True
        case "precompressed":
            result.hint(child, "not needed: compressed siblings are used anyway")
        case "hide":
            result.hint(child, "names that begin with a dot are never served; move others away")
        case "pass_thru":
            answer["static-fallthrough"] = True
            answer["_beside"] = True
        case _:
            result.lost(child, "see Static files in docs/options.md")
    return folder


# ---- settings ---------------------------------------------------------------------------------


def _encode(item: Directive, filling: _Filling) -> None:
    names = [arg for arg in item.args if arg in _COMPRESS]
    names += [child.name for child in item.children if child.name in _COMPRESS]
    filling.table["compress"] = _COMPRESS[names[0]] if len(names) == 1 else "auto"
    for child in item.children:
        if child.name not in _COMPRESS:
            filling.scope.result.hint(child, "text of at least 512 bytes is compressed")


def _header(item: Directive, filling: _Filling) -> None:
    where, rest = filling.scope.matchers.split(item)
    if where is None:
        return
    edits = header_edits(item, rest, filling.scope.result)
    if edits and where.paths:
        filling.later.append((where, edits, item))
    elif edits:
        filling.table["header"] = filling.table.get("header", []) + edits


def _try_files(item: Directive, filling: _Filling) -> None:
    last = item.args[-1] if item.args else ""
    if re.fullmatch(r"/?[\w./-]+", last) and "{path}" in " ".join(item.args[:-1]):
        filling.spa = last.strip("/")
        return
    filling.scope.result.lost(item, _NEAREST["try_files"])


def _log(item: Directive, filling: _Filling) -> None:
    filling.table.update(read_log(item, filling.scope.result))


def _request_body(item: Directive, filling: _Filling) -> None:
    where, _ = filling.scope.matchers.split(item)
    size = body_size(item)
    if where is None or where.paths or not size:
        filling.scope.result.lost(item, "write limit-request-body where the answer is")
    else:
        filling.table["limit-request-body"] = size


def _nothing(_item: Directive, _filling: _Filling) -> None:
    """Was read beforehand."""


def _uri(item: Directive, filling: _Filling) -> None:
    if item.args[:1] != ("strip_prefix",) or not filling.scope.cut:
        filling.scope.result.lost(item, _NEAREST["uri"])


_KNOWN: Final[dict[str, Callable[[Directive, _Filling], Any]]] = {
    "python": _python,
    "handle": _block,
    "handle_path": _block,
    "route": _block,
    "respond": _respond,
    "redir": _redir,
    "file_server": _file_server,
    "root": _nothing,
    "uri": _uri,
    "encode": _encode,
    "header": _header,
    "try_files": _try_files,
    "log": _log,
    "request_body": _request_body,
}
