"""Requests from an OpenAPI 3 document: examples, defaults, else something that fits the schema."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from nogilserve.errors import ConfigError
from nogilserve.stress.asks import Ask
from nogilserve.stress.inputs.faults import checked

__all__ = ["from_openapi"]

_METHODS: Final = ("get", "head", "options", "post", "put", "patch", "delete")
_DEEPEST: Final = 6
_TEXTS: Final = {
    "date": "2026-01-02",
    "date-time": "2026-01-02T03:04:05Z",
    "time": "03:04:05Z",
    "email": "someone@example.com",
    "uuid": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
    "uri": "http://example.com/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "hostname": "example.com",
    "byte": "YWJj",
    "binary": "abc",
    "password": "secret",
}


def from_openapi(document: object, place: str) -> tuple[list[Ask], list[str]]:
    """The requests, in the order of the document, and what was left out and why.

    `place`: the name of the document for messages. Raises ConfigError for what is no OpenAPI 3.
    """
    if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
        raise ConfigError(f"{place}: it has no paths: this is no OpenAPI document")
    version = str(document.get("openapi", document.get("swagger", "")))
    if not version.startswith("3."):
        raise ConfigError(f"{place}: it is of version {version or 'unknown'}; OpenAPI 3 is read")
    maker = _Maker(document, place)
    asks, left_out = [], []
    base = _base(document)
    for path, item in document["paths"].items():
        item = maker.resolved(item)
        for method in _METHODS:
            operation = item.get(method) if isinstance(item, dict) else None
            if not isinstance(operation, dict):
                continue
            label = f"{method.upper()} {path}"
            try:
                asks.append(
                    maker.ask(method, base + str(path), item.get("parameters"), operation, label)
                )
            except _Unknown as error:
                left_out.append(f"{label} is left out: {error}")
    return asks, left_out


def _base(document: dict[str, Any]) -> str:
    """The path that all requests begin with."""
    servers = document.get("servers")
    if isinstance(servers, list) and servers and isinstance(servers[0], dict):
        path = urlsplit(str(servers[0].get("url", ""))).path.rstrip("/")
        return "" if "{" in path else path
    return ""


class _Unknown(Exception):
    """There is nothing to make a value from."""


@dataclass(frozen=True, slots=True)
class _Maker:
    """Owner: the driving process's thread."""

    document: dict[str, Any]
    place: str

    def resolved(self, value: Any) -> Any:
        """What a reference within the document stands for."""
        for _ in range(_DEEPEST):
            if not (isinstance(value, dict) and isinstance(value.get("$ref"), str)):
                return value
            reference = value["$ref"]
            if not reference.startswith("#/"):
                raise _Unknown(f"{reference} is in another document")
            value = self.document
            for step in reference[2:].split("/"):
                step = step.replace("~1", "/").replace("~0", "~")
                if not isinstance(value, dict) or step not in value:
                    raise ConfigError(f"{self.place}: {reference} leads nowhere")
                value = value[step]
        raise _Unknown("its references go round in circles")

    def ask(
        self, method: str, path: str, shared: Any, operation: dict[str, Any], label: str
    ) -> Ask:
        """A request for an operation; `shared`: the parameters of its path."""
        query: list[tuple[str, str]] = []
        headers: list[tuple[str, str]] = []
        cookies: list[str] = []
        for parameter in self._parameters(shared, operation.get("parameters")):
            name, where = str(parameter.get("name")), parameter.get("in")
            known = self._example(parameter)
            if known is _NOTHING and not (parameter.get("required") or where == "path"):
                continue
            value = _as_text(self._parameter(parameter) if known is _NOTHING else known)
            if where == "path":
                path = path.replace("{" + name + "}", quote(value, safe=""))
            elif where == "query":
                query.append((name, value))
            elif where == "header":
                headers.append((name, value))
            elif where == "cookie":
                cookies.append(f"{name}={value}")
        left = re.search(r"\{[^{}]*\}", path)
        if left:
            raise _Unknown(f"the document does not describe {left[0]}")
        if cookies:
            headers.append(("Cookie", "; ".join(cookies)))
        body, kind = self._body(operation.get("requestBody"))
        if kind:
            headers.append(("Content-Type", kind))
        target = quote(path, safe="/%:@!$&'()*+,;=~") + (f"?{urlencode(query)}" if query else "")
        where_from = f"{self.place}: {label}"
        return checked(Ask(method.upper(), target, tuple(headers), body, where_from), where_from)

    def _parameters(self, *lists: Any) -> Iterator[dict[str, Any]]:
        """Each parameter once; an operation's own wins over that of its path."""
        found: dict[tuple[Any, Any], dict[str, Any]] = {}
        for each in lists:
            for parameter in each if isinstance(each, list) else ():
                parameter = self.resolved(parameter)
                if isinstance(parameter, dict):
                    found[parameter.get("name"), parameter.get("in")] = parameter
        yield from found.values()

    def _parameter(self, parameter: dict[str, Any]) -> Any:
        schema = parameter.get("schema")
        if schema is None:
            for media in (parameter.get("content") or {}).values():
                schema = media.get("schema")
        return self.value(schema or {}, 0)

    def _example(self, owner: Mapping[str, Any]) -> Any:
        """What the document gives as an example or default, `_NOTHING` if there is none."""
        if "example" in owner:
            return owner["example"]
        examples = owner.get("examples")
        if isinstance(examples, dict) and examples:
            first = self.resolved(next(iter(examples.values())))
            if isinstance(first, dict) and "value" in first:
                return first["value"]
        if isinstance(examples, list) and examples:
            return examples[0]
        schema = self.resolved(owner.get("schema")) if "schema" in owner else None
        if isinstance(schema, dict):
            found = self._example(schema)
            return schema.get("default", _NOTHING) if found is _NOTHING else found
        return owner.get("default", _NOTHING)

    def _body(self, described: Any) -> tuple[bytes, str]:
        """Body and content type."""
        described = self.resolved(described)
        content = described.get("content") if isinstance(described, dict) else None
        if not isinstance(content, dict) or not content:
            return b"", ""
        for kind, media in content.items():
            plain = kind.partition(";")[0].strip().lower()
            if plain == "application/json" or plain.endswith("+json"):
                return json.dumps(self._media(media)).encode(), kind
        for kind, media in content.items():
            plain = kind.partition(";")[0].strip().lower()
            if plain == "application/x-www-form-urlencoded":
                value = self._media(media)
                return urlencode(
                    {key: _as_text(each) for key, each in value.items()}
                ).encode(), kind
            if plain == "multipart/form-data":
                return _multipart(self._media(media))
            if plain.startswith("text/"):
                return _as_text(self._media(media)).encode(), kind
        raise _Unknown(f"no body of type {', '.join(content)} can be made up")

    def _media(self, media: Any) -> Any:
        example = self._example(media)
        return self.value(media.get("schema") or {}, 0) if example is _NOTHING else example

    def value(self, schema: Any, depth: int) -> Any:
        """Something that fits a schema, as far as that can be told."""
        schema = self.resolved(schema)
        if not isinstance(schema, dict):
            return "text"
        known = self._example(schema)
        if known is not _NOTHING:
            return known
        if schema.get("enum"):
            return schema["enum"][0]
        if "const" in schema:
            return schema["const"]
        if depth > _DEEPEST:
            return None
        if schema.get("allOf"):
            parts = [self.value(each, depth + 1) for each in schema["allOf"]]
            merged: dict[str, Any] = {}
            for part in parts:
                if not isinstance(part, dict):
                    return part
                merged.update(part)
            return merged
        for several in ("anyOf", "oneOf"):
            if schema.get(several):
                return self.value(schema[several][0], depth + 1)
        return self._of_type(schema, depth)

    def _of_type(self, schema: dict[str, Any], depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((each for each in kind if each != "null"), "null")
        if kind == "object" or (kind is None and "properties" in schema):
            properties = schema.get("properties", {})
            wanted: Sequence[str] = schema.get("required") or list(properties)
            return {
                name: self.value(properties[name], depth + 1)
                for name in properties
                if name in wanted
            }
        if kind == "array":
            count = max(int(schema.get("minItems", 1)), 1)
            return [self.value(schema.get("items") or {}, depth + 1) for _ in range(count)]
        if kind in ("integer", "number"):
            return _number(schema, kind == "integer")
        if kind == "boolean":
            return True
        if kind == "null":
            return None
        return _text(schema)


_NOTHING: Final = object()


def _number(schema: dict[str, Any], whole: bool) -> int | float:
    """A number within the bounds that the schema sets; 1 if nothing fits."""
    bounds = {
        name: value
        for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
        if isinstance(value := schema.get(name), int | float) and not isinstance(value, bool)
    }
    step = bounds.get("multipleOf", 1) or 1
    low = bounds.get("minimum", bounds.get("exclusiveMinimum"))
    high = bounds.get("maximum", bounds.get("exclusiveMaximum"))
    candidates: list[int | float] = [1, step, 0]
    for bound in (low, high):
        if bound is not None:
            nearest = math.floor(bound / step)
            candidates += [(nearest + each) * step for each in (1, 0, -1)]
    if low is not None and high is not None:
        candidates.append((low + high) / 2)
    fitting = (each for each in candidates if _fits(each, bounds))
    value = next((each for each in fitting if not whole or each == int(each)), 1)
    return int(value) if whole else value


def _fits(value: float, bounds: Mapping[str, float]) -> bool:
    return (
        value >= bounds.get("minimum", value)
        and value <= bounds.get("maximum", value)
        and value > bounds.get("exclusiveMinimum", value - 1)
        and value < bounds.get("exclusiveMaximum", value + 1)
        and not ("multipleOf" in bounds and value % bounds["multipleOf"])
    )


def _text(schema: dict[str, Any]) -> str:
    kind = "binary" if "contentMediaType" in schema else str(schema.get("format", ""))
    text = _TEXTS.get(kind, "text")
    least = int(schema.get("minLength", 0))
    text += "x" * (least - len(text))
    return text[: schema["maxLength"]] if "maxLength" in schema else text


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(map(_as_text, value))
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _multipart(fields: Any) -> tuple[bytes, str]:
    """A form as browsers send it (RFC 7578); what was made up for a binary field is a file."""
    boundary = "ngs-boundary"
    parts = []
    for name, value in fields.items() if isinstance(fields, dict) else ():
        is_file = value == _TEXTS["binary"]
        file = f'; filename="{name}.bin"' if is_file else ""
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
            f"{_as_text(value)}\r\n"
        )
    text = "".join(parts) + f"--{boundary}--\r\n"
    return text.encode(), f"multipart/form-data; boundary={boundary}"
