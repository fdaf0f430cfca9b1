"""The global options of a Caddyfile."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nogilserve.caddyfile.document import Translation
from nogilserve.caddyfile.pythonblock import duration
from nogilserve.caddyfile.tree import Directive

__all__ = ["Ports", "read_options"]

_NOT_NEEDED: Final = {
    "admin": "the admin interface is off unless admin-bind is set; see docs/operations.md",
    "order": "not needed: the longest path wins",
    "persist_config": "not needed: the file is the configuration",
    "skip_install_trust": "nothing is installed into the system's trust store anyway",
    "renew_interval": "not needed: certificates are renewed in time",
    "ocsp_interval": "not needed",
    "ocsp_stapling": "not needed",
    "metrics": "set admin-bind for metrics",
}


_SIMPLE: Final = {
    "email": "acme-email",
    "acme_ca": "acme-directory",
    "acme_ca_root": "acme-ca-bundle",
}


@dataclass(slots=True)
class Ports:
    """What the global options say about listening. Owner: whoever translates."""

    http: str = "80"
    https: str = "443"
    redirects: bool = True
    """http:// is redirected to https://."""
    automatic: bool = True
    """Hosts are served over TLS unless something else is said."""
    internal: bool = False
    """Certificates of our own authority for every host."""
    binds: tuple[str, ...] = ()
    on_demand: bool = False


def read_options(directives: list[Directive], result: Translation) -> Ports:
    """Translate them; what concerns listening is returned."""
    ports = Ports()
    for item in directives:
        value = item.args[0] if item.args else ""
        if item.name in _SIMPLE:
            result.set(item, _SIMPLE[item.name], value)
        elif item.name in _BLOCKS:
            _BLOCKS[item.name](item, result)
        elif item.name in _NOT_NEEDED:
            result.hint(item, _NOT_NEEDED[item.name])
        elif not _listening(item, value, ports, result):
            result.lost(item, "see docs/options.md for what there is")
    return ports


def _listening(item: Directive, value: str, ports: Ports, result: Translation) -> bool:
    match item.name:
        case "http_port":
            ports.http = value
        case "https_port":
            ports.https = value
        case "default_bind":
            ports.binds = item.args
        case "auto_https":
            _auto_https(item, ports, result)
        case "local_certs":
            ports.internal = True
        case "debug":
            result.set(item, "log-level", "debug")
        case "grace_period":
            _seconds(item, value, "graceful-timeout", result)
        case _:
            return False
    return True


def _auto_https(item: Directive, ports: Ports, result: Translation) -> None:
    for word in item.args:
        if word == "off":
            ports.automatic = ports.redirects = False
        elif word == "disable_redirects":
            ports.redirects = False
        else:
            result.lost(
                item,
                "certificates come from domain or certfile, redirects from "
                "redirect-http: leave out what you do not want",
            )


def _seconds(item: Directive, value: str, name: str, result: Translation) -> None:
    seconds = duration(value)
    if seconds is None:
        result.lost(item, f"write {name}")
    else:
        result.set(item, name, seconds)


def _log(item: Directive, result: Translation) -> None:
    levels = {"debug": "debug", "info": "info", "warn": "warning", "error": "error"}
    for child in item.children:
        if child.name == "level" and child.args:
            result.set(child, "log-level", levels.get(child.args[0].lower(), "error"))
        else:
            result.lost(child, "messages go to standard error as text; redirect that")


def _on_demand(item: Directive, result: Translation) -> None:
    for child in item.children:
        if child.name == "ask" and child.args:
            result.set(child, "on-demand-ask", child.args[0])
        elif child.name == "permission" and child.args[:1] == ("python_dir",):
            words = {inner.name: inner.args[0] for inner in child.children if inner.args}
            root, suffix = words.get("root", ""), words.get("domain_suffix", "")
            label = f"{{host.labels.{len(suffix.strip('.').split('.'))}}}"
            result.set(child, "on-demand-dir", f"{root.rstrip('/')}/{label}")
            result.hint(child, f"any name with such a directory is taken, not only below {suffix}")
        elif child.name == "permission" and child.args[:1] == ("http",):
            result.set(child, "on-demand-ask", (*child.args[1:], "")[0])
        elif child.name in ("interval", "burst"):
            result.hint(child, "see on-demand-rate, new names an hour")
        else:
            result.lost(child, "write on-demand-ask, on-demand-dir or on-demand-allow")


def _servers(item: Directive, result: Translation) -> None:
    for child in item.children:
        value = child.args[0] if child.args else ""
        if child.name == "timeouts":
            names = {
                "read_header": "header-timeout",
                "read_body": "body-timeout",
                "write": "write-timeout",
                "idle": "keep-alive",
            }
            for inner in child.children:
                if inner.name in names and inner.args:
                    _seconds(inner, inner.args[0], names[inner.name], result)
                else:
                    result.lost(inner, "see Timeouts in docs/options.md")
        elif child.name == "max_header_size":
            result.set(child, "limit-request-head", value)
        elif child.name == "trusted_proxies" and value == "static":
            result.add("forwarded-allow-ips", *_networks(child.args[1:]))
        elif child.name == "protocols":
            _protocols(child, result)
        else:
            result.lost(child, "see docs/options.md for what there is")


def _networks(words: tuple[str, ...]) -> list[str]:
    private = ["192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "127.0.0.1/8", "fd00::/8", "::1"]
    return [net for word in words for net in (private if word == "private_ranges" else [word])]


def _protocols(item: Directive, result: Translation) -> None:
    known = {"h1", "h2"}
    if not set(item.args) <= known:
        result.lost(item, "HTTP/1.1 and HTTP/2 are spoken; HTTP/3 is left to a proxy")
    if "h2" not in item.args:
        result.set(item, "http", "1")


def _storage(item: Directive, result: Translation) -> None:
    if item.args[:1] == ("file_system",):
        roots = [child.args[0] for child in item.children if child.name == "root" and child.args]
        result.set(item, "storage", (*item.args[1:], *roots, "")[0])
    else:
        result.lost(item, "storage is a directory or redis://…")


def _account(item: Directive, result: Translation) -> None:
    names = {"key_id": "acme-eab-kid", "mac_key": "acme-eab-hmac-key"}
    for child in item.children:
        if child.name in names and child.args:
            result.set(child, names[child.name], child.args[0])


_BLOCKS: Final[dict[str, Callable[[Directive, Translation], None]]] = {
    "log": _log,
    "on_demand_tls": _on_demand,
    "servers": _servers,
    "storage": _storage,
    "acme_eab": _account,
}
