"""The options as text for readers: help, docs/options.md, and the settings in force as TOML."""

import re
from collections.abc import Iterator
from typing import Any, Final

from nogilserve.config.declare import SECRET, Option
from nogilserve.config.loading import Resolved
from nogilserve.config.options import OPTIONS, SECTIONS, SETTINGS
from nogilserve.config.site import Site
from nogilserve.config.siteread import SITE_ONLY, SITE_TOO
from nogilserve.config.sources import PREFIX, make_parser

__all__ = ["help_text", "options_document", "settings_document"]

_INTRODUCTION = f"""\
# Options

<!-- Made by `python -m nogilserve.config`; change the declarations in nogilserve/config. -->

`nogilserve APP [options]` serves the application APP. Every setting can be written in four places;
the first that has it wins:

1. the **command line**. `--foo_bar` is the same as `--foo-bar`; every on/off option has a `--no-…`
   form;
2. an **environment variable** `{PREFIX}…`. Several values are separated by commas, an empty
   variable counts as not set, an unknown name is an error. `NOGILSERVE_SERVICE_HOST`,
   `NOGILSERVE_PORT_80_TCP` and their like are left alone: Kubernetes sets them in every container
   beside a Service called `nogilserve` (and `NOGILSERVE_PORT=tcp://…` too, which is refused: give
   the Service another name or set `enableServiceLinks: false`);
3. a **file**: the one given with `--config`, else `nogilserve.toml` in the working directory, else
   `[tool.nogilserve]` in its `pyproject.toml`. Keys are the long options without dashes in front;
   `_` and `-` are the same;
4. the **conventional variables** `PORT` (listen on `0.0.0.0:$PORT`), `WEB_CONCURRENCY`
   (`--workers`) and `FORWARDED_ALLOW_IPS` (`--forwarded-allow-ips`).

A list (a repeatable option such as `--bind`) is taken whole from the first place that has it.
Durations are seconds or carry a unit (`500ms`, `30s`, `2m`, `1h`), sizes are bytes or carry one
(`64KiB`, `10MB`; a bare `k`, `m`, `g` is binary). Relative paths start at the working directory,
those of `--config` and `--chdir` where the command was started. Variables from `--env-file` and
`--env` count as if they had been exported, for the application and for the settings.

`--host` and `--port` complete each other across places: `--port 80` keeps the host that a file
names. The other ways to say where to listen replace what lower places say. Sockets passed by
systemd (`LISTEN_FDS`) are used when no place says where to listen; `PORT` does not count.

Exit status: 0 when all went well, 1 when an address could not be listened on or another failure
ended the process, 2 when the configuration is wrong (nothing was bound), 3 when the application
cannot be found or imported, 130 when SIGINT came before it was. `--check-config` ends with 0, 2
or 3.
"""


_MOUNT: Final = tuple(option for option in SETTINGS if option.name == "mount")
_SITES_INTRODUCTION: Final = """
## In a [[site]] of the file

A file may have any number of `[[site]]` tables, and `[[site.route]]` tables below them; see
[Sites](sites.md). `hosts` stands in a `[[site]]` only, everything else in both.
"""


def help_text() -> str:
    """The text of `--help`."""
    return make_parser().format_help()


def options_document() -> str:
    """docs/options.md."""
    parts = [_INTRODUCTION]
    for section in SECTIONS:
        parts.append(f"\n## {section}\n")
        parts.extend(_entry(option) for option in OPTIONS if option.section == section)
    parts.append(_SITES_INTRODUCTION)
    parts.extend(_site_entry(option) for option in SITE_ONLY)
    names = ", ".join(f"[`{option.name}`](#{_anchor(option)})" for option in (*SITE_TOO, *_MOUNT))
    parts.append(f"\n### Options of the server\n\nAlso, for the site alone: {names}.\n")
    return "".join(parts)


def _site_entry(option: Option) -> str:
    value = "" if option.is_flag else f" {option.metavar}"
    lines = [f"### `{option.name}{value}`", "", option.help, ""]
    if not option.is_flag:
        lines.append(f"- Allowed: {option.kind.allowed}{'; or a list of them' * option.many}")
    lines.append(f"- Default: {option.default_words or 'none'}")
    return "\n" + "\n".join(lines) + "\n"


def _anchor(option: Option) -> str:
    """The heading of an option as the usual renderers of Markdown link to it."""
    title = option.flag if option.is_flag else f"{option.flag} {option.metavar}"
    if option.bare:
        title = f"{option.flag} [{option.metavar}]"
    return re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")


def _entry(option: Option) -> str:
    value = "" if option.is_flag else f" {option.metavar}"
    if option.bare:
        value = f" [{option.metavar}]"
    lines = [f"### `{option.flag}{value}`", "", option.help, ""]
    others = [flag for flag in option.flags if flag != option.flag]
    if others:
        lines.append("- Also written: " + ", ".join(f"`{flag}`" for flag in others))
    if option.scope != "argv":
        if not option.is_flag:
            lines.append(f"- Allowed: {option.kind.allowed}")
        lines.append(f"- Default: {option.default_words or 'none'}")
        lines.append(f"- {_elsewhere(option)}")
    else:
        lines.append("- Command line only")
    return "\n" + "\n".join(lines) + "\n"


def _elsewhere(option: Option) -> str:
    variable = f"`{PREFIX}{option.name.replace('-', '_').upper()}`"
    if option.scope == "no file":
        return f"Environment: {variable}"
    if option.scope == "no env":
        return f"File: `{option.name}`"
    return f"Environment: {variable} · File: `{option.name}`"


def settings_document(resolved: Resolved) -> str:
    """The settings in force as a nogilserve.toml, each with where it comes from."""
    lines = []
    for option in SETTINGS:
        value = getattr(resolved.config, option.field)
        origin = resolved.origins.get(option.field, "default")
        if option.field == "env":
            names = ", ".join(name for name, _ in value)
            lines.append(f"# env: {names or 'none'} (values are not shown)  # {origin}")
        elif option.field in SECRET and value:
            lines.append(f"# {option.name} is set, and not shown  # {origin}")
        elif value is None or (value == "" and not option.bare):
            lines.append(f"# {option.name} is not set")
        else:
            lines.append(f"{option.name} = {_toml(option, value)}  # {origin}")
    for site in resolved.config.sites:
        lines += ["", f"[[site]]  # {site.origin}", *_site_settings(site)]
    return "\n".join(lines) + "\n"


def _site_settings(site: Site) -> Iterator[str]:
    """A row of the routing table as the [[site]] that makes it."""
    settings = dict(site.settings)
    for option in (*SITE_ONLY, *SITE_TOO):
        if option.field in settings:
            value = settings[option.field]
        elif option.field == "path":
            value = (site.path,)
        else:
            value = getattr(site, option.field, option.default)
        given = option.field in settings or option.scope == "site"
        if option.field == "env" and settings.get("env"):
            yield f"# env: {', '.join(name for name, _ in value)} (values are not shown)"
        elif given and value not in (option.default, None):
            yield f"{option.name} = {_toml(option, value)}"


_BARE: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?|true|false")
"""Numbers and booleans of TOML."""


def _toml(option: Option, value: Any) -> str:
    texts = [
        text if not option.many and _BARE.fullmatch(text) and option.kind.native else _quoted(text)
        for text in option.shown(value)
    ]
    return f"[{', '.join(texts)}]" if option.many else texts[0]


def _quoted(text: str) -> str:
    """A TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(_escape(char) for char in escaped) + '"'


def _escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if char < " " or char == "\x7f" else char
