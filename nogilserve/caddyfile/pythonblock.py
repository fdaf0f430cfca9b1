"""The directive `python`: an application, and what its processes were to be."""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from nogilserve.caddyfile.document import Table, Translation
from nogilserve.caddyfile.tree import Directive

__all__ = ["PythonBlock", "plain_placeholders", "read_python"]

_APP: Final = {"module_wsgi": "wsgi", "module_asgi": "asgi"}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_ENDLESS: Final = frozenset({"-1", "forever", "none", "inf", "indefinite"})
_PLACEHOLDER: Final = re.compile(r"\{http\.request\.(host(?:\.labels\.\d+)?|uri\.path\.\d+)\}")


@dataclass(slots=True)
class PythonBlock:
    """One application of a Caddyfile. Owner: whoever translates."""

    directive: Directive
    app: str = ""
    interface: str = ""
    lifespan: str = "off"
    body: str = ""
    """How large a request's body may be."""
    process: Table = field(default_factory=dict)
    """What a process has once, by our option: working-dir, venv, python, env-file, env."""

    @property
    def templated(self) -> bool:
        """Whether requests say which application it is."""
        env = self.process.get("env", {})
        texts = [self.app, *_texts(self.process), *env.values()]
        return any("{" in text for text in texts)

    def table(self) -> Table:
        """What a site says of it."""
        table: Table = {"app": self.app, "interface": self.interface}
        if self.interface == "asgi":
            table["lifespan"] = self.lifespan
        if self.body:
            table["limit-request-body"] = self.body
        return table


def _texts(process: Table) -> list[str]:
    found: list[str] = []
    for name in ("working-dir", "venv", "env-file"):
        value = process.get(name, "")
        found += value if isinstance(value, list) else [value]
    return found


def plain_placeholders(text: str) -> str:
    """Caddy's long names of placeholders by their short ones."""
    return _PLACEHOLDER.sub(lambda match: "{" + match[1].removeprefix("uri.") + "}", text)


def read_python(directive: Directive, args: tuple[str, ...], result: Translation) -> PythonBlock:
    """Read a block, or the simple form `python main:app`; `args` without the matcher."""
    block = PythonBlock(directive)
    if args:
        block.app, block.interface = plain_placeholders(args[0]), "wsgi"
    for item in directive.children:
        _read(item, block, result)
    if not block.app:
        result.lost(directive, "it names no application that can be served here")
    return block


def _read(item: Directive, block: PythonBlock, result: Translation) -> None:
    value = plain_placeholders(item.args[0]) if item.args else ""
    process = block.process
    match item.name:
        case "module_wsgi" | "module_asgi":
            block.app, block.interface = value, _APP[item.name]
        case "module_esgi":
            result.lost(item, "ESGI is Caddy Snake's own; serve a WSGI or ASGI application")
        case "lifespan":
            block.lifespan = value.lower()
        case "working_dir":
            process["working-dir"] = value.rstrip("/") or "/"
        case "venv":
            process["venv"] = value
        case "python_path":
            process["python"] = value
        case "env_file":
            process.setdefault("env-file", []).append(value)
        case "env_var":
            content = plain_placeholders(item.args[1]) if len(item.args) > 1 else ""
            process.setdefault("env", {})[item.args[0] if item.args else ""] = content
        case "workers" | "workers_runtime":
            result.hint(item, "not needed: one process uses every processor")
        case "autoreload":
            result.set(item, "reload", True)
        case _:
            _read_rare(item, value, block, result)


def _read_rare(item: Directive, value: str, block: PythonBlock, result: Translation) -> None:
    match item.name:
        case "start_timeout":
            seconds = duration(value)
            if seconds is None:
                result.lost(item, "write ready-timeout")
            else:
                result.set(item, "ready-timeout", seconds)
        case "runtime" if value in ("native", "libuv", "uvloop"):
            result.set(item, "loop", "uvloop" if value == "uvloop" else "asyncio")
        case "runtime":
            result.hint(item, "not needed: WSGI applications run in threads")
        case "max_dynamic_apps":
            result.set(item, "max-tenants", int(value) if value.isdecimal() else value)
        case "request_body":
            block.body = body_size(item)
            if not block.body:
                result.lost(item, "write limit-request-body")
        case "isolation":
            result.lost(item, "run the server in a container, or give tenants a user (tenant-user)")
        case "cache":
            result.lost(item, "one process holds all: a module's variable is shared already")
        case _:
            result.lost(item, "Caddy Snake knows no such subdirective either, as far as is known")


def duration(text: str) -> Any:
    """Seconds of a duration of Go, 0 for one without end, None for what is none."""
    if text in _ENDLESS:
        return 0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None
    factor = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    total = sum(float(number) * factor[unit] for number, unit in parts)
    return int(total) if total == int(total) else round(total, 3)


def body_size(item: Directive) -> str:
    """The size of `request_body SIZE` or `request_body { max_size SIZE }`, "" without one."""
    texts = [child.args[0] for child in item.children if child.name == "max_size" and child.args]
    return (list(item.args) + texts or [""])[-1]
