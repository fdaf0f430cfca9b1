"""The directives that answer or change answers: respond, redir, header, log."""

import re
from typing import Final

from nogilserve.caddyfile.document import Table, Translation
from nogilserve.caddyfile.tree import Directive

__all__ = ["header_edits", "read_log", "read_redirect", "read_respond"]

_CODES: Final = {"permanent": 301, "temporary": 302, "": 302}
_NAMES: Final = {
    "scheme": "scheme",
    "host": "host",
    "path": "path",
    "query": "query",
    "uri": "uri",
    "http.request.scheme": "scheme",
    "http.request.host": "host",
    "http.request.uri": "uri",
    "http.request.uri.path": "path",
    "http.request.uri.query": "query",
    "http.request.orig_uri": "uri",
    "http.request.orig_uri.path": "path",
    "http.request.orig_uri.query": "query",
    "hostport": "host",
    "http.request.hostport": "host",
}
_PLACEHOLDER: Final = re.compile(r"\{([a-zA-Z_][\w.]*)\}")


def read_respond(item: Directive, args: tuple[str, ...], result: Translation) -> Table:
    """`respond [body] [status]`, with or without a block."""
    body, status = "", 200
    words = list(args)
    for child in item.children:
        if child.name == "body" and child.args:
            words.insert(0, child.args[0])
        elif child.name == "close":
            result.hint(child, "the connection stays open")
        else:
            result.lost(child, "write respond and respond-status")
    if len(words) == 1 and re.fullmatch(r"[1-5]\d\d", words[0]):
        status = int(words[0])
    elif words:
        body = words[0]
        if len(words) > 1 and words[1].isdecimal():
            status = int(words[1])
    if _PLACEHOLDER.search(body):
        result.lost(item, "the text is always the same; let the application answer")
        return {}
    if status < 200:
        result.lost(item, "a final status is 200 or more")
        return {}
    table: Table = {"respond": body}
    return table if status == 200 else table | {"respond-status": status}


def read_redirect(item: Directive, args: tuple[str, ...], result: Translation) -> Table:
    """`redir TO [STATUS]`."""
    if not args:
        result.lost(item, "it says not where to")
        return {}
    code = args[1] if len(args) > 1 else ""
    if code == "html":
        result.lost(item, "write respond with that page, or redirect")
        return {}
    status = _CODES.get(code) or (int(code) if code.isdecimal() else 0)
    if status not in (301, 302, 303, 307, 308):
        result.lost(item, "redirect-status is one of 301, 302, 303, 307 and 308")
        return {}
    unknown = [name for name in _PLACEHOLDER.findall(args[0]) if name not in _NAMES]
    if unknown:
        result.lost(
            item,
            f"there is no placeholder {{{unknown[0]}}}; there are {{scheme}}, {{host}}, {{path}}, "
            "{query}, {uri} and {rest}",
        )
        return {}
    target = _PLACEHOLDER.sub(lambda match: "{" + _NAMES[match[1]] + "}", args[0])
    return {"redirect": target, "redirect-status": status}


def header_edits(item: Directive, args: tuple[str, ...], result: Translation) -> list[str]:
    """`header FIELD [VALUE]`, or a block of them, as values of `header`."""
    edits = [_edit(item, args, result)] if args else []
    for child in item.children:
        if child.name == "defer":
            result.hint(child, "not needed: fields are always changed last")
        elif child.name == "match":
            result.lost(child, "fields are changed in every response of a site")
        else:
            edits.append(_edit(child, (child.name, *child.args), result))
    return [edit for edit in edits if edit]


def _edit(item: Directive, words: tuple[str, ...], result: Translation) -> str:
    name, values = words[0], words[1:]
    sign, bare = (name[0], name[1:]) if name[:1] in {"+", "-", "?", ">"} else ("", name)
    if sign == "-" and bare.lower() == "server":
        result.set(item, "server-header", False)
        return ""
    if "*" in bare:
        result.lost(item, "name each field")
        return ""
    if sign == "-":
        return f"-{bare}"
    if not values or len(values) > 1:
        result.lost(item, "a value cannot be searched in; set the whole field")
        return ""
    if _PLACEHOLDER.search(values[0]):
        result.lost(item, "the value is always the same; let the application set it")
        return ""
    return f"{'' if sign == '>' else sign}{bare}: {values[0]}"


def read_log(item: Directive, result: Translation) -> Table:
    """`log`, with or without a block: an access log in JSON on standard output by default."""
    table: Table = {"access-log": "-", "access-log-format": "json"}
    for child in item.children:
        words = child.args
        if child.name == "output" and words[:1] == ("file",) and len(words) > 1:
            table["access-log"] = words[1]
            for inner in child.children:
                result.hint(inner, "let logrotate do it, and send SIGUSR1")
        elif child.name == "output" and words[:1] == ("discard",):
            return {}
        elif child.name == "output" and words[:1] in (("stdout",), ("stderr",)):
            if words[0] == "stderr":
                result.hint(child, "the access log goes to standard output")
        elif child.name == "format" and words[:1] in (("console",), ("json",)):
            table["access-log-format"] = "combined" if words[0] == "console" else "json"
        elif child.name == "level":
            result.hint(child, "not needed: an access log has no levels")
        elif child.name == "hostnames":
            result.lost(child, "write access-log in the sites that are to have it")
        else:
            result.lost(child, "see Logging in docs/options.md")
    return table
