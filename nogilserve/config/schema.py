"""A JSON Schema of nogilserve.toml, for editors: `python -m nogilserve.config schema`.

Made of the declarations of the options, so it says what they say. What only the checks know, such
as which directories are there, `--check-config` says.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from nogilserve.config.declare import Option
from nogilserve.config.options import OPTIONS
from nogilserve.config.siteread import SITE_ONLY, SITE_TOO
from nogilserve.config.sources import TABLES

__all__ = ["schema", "schema_document"]

_ID: Final = "https://json-schema.org/draft/2020-12/schema"
_CHOICE: Final = re.compile(r"one of ([\w., -]+)")
_NUMBERS: Final = re.compile(r"a whole number from (\d+) to (\d+)")
_JSON_TYPES: Final[dict[type, str]] = {bool: "boolean", int: "integer", float: "number"}
_SPELLED: Final = {"access-log": {"type": ["string", "boolean"]}}


def schema() -> dict[str, Any]:
    """The schema, as plain data."""
    top = [option for option in OPTIONS if option.scope in ("all", "no env")]
    mount = next(option for option in top if option.name == "mount")
    site = _table([*SITE_ONLY, *SITE_TOO, mount])
    site["properties"]["route"] = {
        "type": "array",
        "description": "Paths below the site that are served otherwise.",
        "items": {"$ref": "#/$defs/route"},
    }
    route = json.loads(json.dumps(site))
    del route["properties"]["hosts"]
    document = _table(top)
    document["properties"]["site"] = {
        "type": "array",
        "description": "What is served by host and path, see docs/sites.md.",
        "items": {"$ref": "#/$defs/site"},
    }
    return {
        "$schema": _ID,
        "title": "nogilserve.toml",
        "description": "The configuration of nogilserve; docs/options.md has every option.",
        **document,
        "$defs": {"site": site, "route": route},
    }


def schema_document() -> str:
    """The file nogilserve/nogilserve.schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _table(options: Iterable[Option]) -> dict[str, Any]:
    # Underscores are the same, but editors are to offer the usual spelling.
    properties: dict[str, Any] = {}
    for option in options:
        for name in option.names:
            properties[name] = _property(option, alias=name != option.name)
    underscored = "|".join(name.replace("-", "_") for name in sorted(properties) if "-" in name)
    return {
        "type": "object",
        "properties": properties,
        "patternProperties": {f"^({underscored})$": {}},
        "additionalProperties": False,
    }


def _property(option: Option, *, alias: bool) -> dict[str, Any]:
    value = _SPELLED.get(option.name) or _value(option)
    text = option.help
    if not option.is_flag:
        text += f" Allowed: {option.kind.allowed}."
    if words := option.default_words:
        text += f" Default: {words}."
    result: dict[str, Any] = {"description": text}
    if alias:
        result["deprecated"] = True
        result["description"] = f"The same as {option.name}. {text}"
    if not option.many:
        return result | value
    forms: list[dict[str, Any]] = [value, {"type": "array", "items": value}]
    if option.name in TABLES:
        forms.append({"type": "object", "additionalProperties": {"type": "string"}})
    return result | {"anyOf": forms}


def _value(option: Option) -> dict[str, Any]:
    """One value of an option: a string, and what TOML may write without quotes."""
    kind = option.kind
    natives = [_JSON_TYPES[native] for native in kind.native]
    if "number" in natives:
        natives = [name for name in natives if name != "integer"]
    if option.is_flag:
        return {"type": ["boolean", "string"]}
    if (found := _CHOICE.fullmatch(kind.allowed)) and not natives:
        names = [name.strip() for name in found[1].split(",")]
        return {"type": "string", "enum": names}
    result: dict[str, Any] = {"type": [*natives, "string"] if natives else "string"}
    if numbers := _NUMBERS.fullmatch(kind.allowed):
        result |= {"minimum": int(numbers[1]), "maximum": int(numbers[2])}
    return result
