"""The sites of a Caddyfile as those of a nogilserve.toml, and what all of them need together."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from nogilserve.caddyfile.addresses import Address, is_internal, parse_address
from nogilserve.caddyfile.document import Table, Translation
from nogilserve.caddyfile.matchers import Matchers
from nogilserve.caddyfile.optionsblock import Ports, read_options
from nogilserve.caddyfile.processes import settle_processes
from nogilserve.caddyfile.pythonblock import PythonBlock
from nogilserve.caddyfile.scope import ORDER, Scope, translate_scope
from nogilserve.caddyfile.tree import Caddyfile, Directive, SiteBlock

__all__ = ["translate"]


@dataclass(slots=True)
class _Site:
    """A block that is being translated. Owner: `translate`."""

    block: SiteBlock
    addresses: list[Address]
    table: Table
    tls: list[Directive] = field(default_factory=list)
    binds: tuple[str, ...] = ()

    @property
    def here(self) -> Directive:
        """For notes about the site as a whole."""
        line = self.block.line
        return Directive(", ".join(self.block.addresses), (), line, f"line {line}")


def translate(caddyfile: Caddyfile) -> Translation:
    """All of it."""
    result = Translation()
    ports = read_options(caddyfile.options, result)
    pythons: list[tuple[PythonBlock, Table, Scope]] = []
    sites: list[_Site] = []
    for name, inside in caddyfile.named_routes.items():
        first = inside[0].line if inside else 0
        named = Directive(f"&({name})", (), first, f"line {first}")
        result.lost(named, "write the named route's directives where it is used")
    for block in caddyfile.sites:
        listening: list[Directive] = []
        scope = Scope(result, Matchers(result), pythons, listening)
        site = _Site(block, _addresses(block, result), {})
        site.table = translate_scope(block.directives, scope)
        site.tls = [item for item in listening if item.name == "tls"]
        site.binds = tuple(arg for item in listening if item.name == "bind" for arg in item.args)
        sites.append(site)
    plain, secure = _listen(sites, ports, result)
    sites = _without_redirects(sites, plain, secure, result)
    for site in sites:
        _place(site, result)
    for site in sites:
        _drop_repeated(site, result)
    settle_processes(pythons, result)
    _tell_ports_apart(sites, result)
    return result


def _addresses(block: SiteBlock, result: Translation) -> list[Address]:
    found = []
    for text in block.addresses:
        address = parse_address(text)
        if address is None:
            item = Directive(text, (), block.line, f"line {block.line}")
            result.lost(item, "write hosts, and bind for the port")
        else:
            found.append(address)
    return found


def _place(site: _Site, result: Translation) -> None:
    """Put a site into the document, for each path that its addresses have."""
    table = site.table
    if not any(key in table for key in ("app", "redirect", "respond", "static-path", "route")):
        result.hint(site.here, "it serves nothing, and is left out")
        return
    whole = dict(table)
    for path in dict.fromkeys(address.path for address in site.addresses):
        hosts = [item.host for item in site.addresses if item.path == path]
        placed: Table = {}
        if "" not in hosts:
            placed["hosts"] = list(dict.fromkeys(hosts))
        if path:
            placed["path"] = path
            if "app" in whole:
                placed["prefix"] = "keep"
        placed |= {key: value for key, value in whole.items() if key != "route"}
        if "route" in whole:
            placed["route"] = whole["route"]
        if path == site.addresses[0].path:
            table.clear()
            table.update(placed)  # the same object: its application is known by it
            placed = table
        result.sites.append(placed)


def _drop_repeated(site: _Site, result: Translation) -> None:
    """Of several answers for one path the first of Caddy's order counts."""
    rows = list(_rows(site.table, ""))
    rows.sort(key=lambda row: row[2])
    seen: set[tuple[str, bool]] = set()
    for table, paths, _ in rows:
        exact = bool(table.get("exact"))
        left = [path for path in paths if (path, exact) not in seen]
        seen |= {(path, exact) for path in paths}
        if len(left) == len(paths):
            continue
        again = ", ".join(path for path in paths if path not in left)
        result.hint(site.here, f"{again} is answered twice; what Caddy asks first is kept")
        if left and "route" not in table:
            cut = len(paths[0]) - len(_paths(table)[0].rstrip("/"))
            table["path"] = [path[cut:] or "/" for path in left]
        else:
            result.drop(table)


def _rows(table: Table, above: str) -> Iterator[tuple[Table, list[str], int]]:
    """Every table that answers, the whole paths it answers for, and how early Caddy asks it."""
    whole = [(above + path).rstrip("/") or "/" for path in _paths(table)]
    kinds = [index for index, name in enumerate(ORDER) if name in table]
    if kinds:
        yield table, whole, kinds[0]
    for path in whole:
        for route in table.get("route", ()):
            yield from _rows(route, path.rstrip("/"))


def _paths(table: Table) -> list[str]:
    path = table.get("path", "/")
    return list(path) if isinstance(path, list) else [path]


# ---- listening --------------------------------------------------------------------------------


def _listen(
    sites: list[_Site], ports: Ports, result: Translation
) -> tuple[list[_Site], list[_Site]]:
    """Translate where sites listen; those in plain HTTP, and those over TLS."""
    plain: dict[str, None] = {}
    secure: dict[str, None] = {}
    in_plain: list[_Site] = []
    over_tls: list[_Site] = []
    for site in sites:
        for address in site.addresses:
            encrypted = _encrypted(address, site, ports)
            port = address.port or (ports.https if encrypted else ports.http)
            for bind in _interfaces(site, ports, result):
                where = f"{bind}:{port}" if not bind.startswith("unix:") else bind
                (secure if encrypted else plain)[where] = None
            (over_tls if encrypted else in_plain).append(site)
            if encrypted:
                _certificate(site, address, ports, result)
            elif address.host.startswith("*") and not address.scheme and port != ports.http:
                result.hint(
                    site.here,
                    "served in plain HTTP; certificates for * are proved by DNS, which is not done "
                    "here: write certfile, or on-demand-allow",
                )
    for site in sites:
        if site not in over_tls:
            for item in site.tls:
                result.hint(item, "the site is served in plain HTTP")
    if secure:
        result.settings = {"bind": list(secure), **result.settings}
        # Who only redirects is not served: every other site in plain HTTP needs its port.
        needed = [site for site in in_plain if not _only_redirects(site)]
        taken = {item.port or ports.http for site in needed for item in site.addresses}
        if ports.redirects and ports.http not in taken:
            result.settings["redirect-http"] = int(ports.http)
            for where in [where for where in plain if where.endswith(f":{ports.http}")]:
                plain.pop(where)
        if plain:
            result.settings["insecure-bind"] = list(plain)
    else:
        result.settings = {"bind": list(plain), **result.settings}
    return in_plain, over_tls


def _encrypted(address: Address, site: _Site, ports: Ports) -> bool:
    if address.scheme:
        return address.scheme == "https"
    if site.tls:
        return True
    if address.port == ports.http or not ports.automatic:
        return False
    if address.host.startswith("*") and address.port not in ("", ports.https):
        return False  # nobody gives a certificate for it there; a note says so
    return bool(address.host) or address.port == ports.https


def _interfaces(site: _Site, ports: Ports, result: Translation) -> Iterable[str]:
    """The hosts of addresses to listen on, "" for every interface."""
    found = []
    for text in site.binds or ports.binds or ("",):
        if text.startswith("unix/"):
            found.append("unix:" + text.removeprefix("unix/"))
        elif text.startswith(("tcp", "udp", "fd", "{")):
            result.lost(site.here, f"bind {text}: write bind")
        else:
            found.append(f"[{text}]" if ":" in text and not text.startswith("[") else text)
    return found


def _certificate(site: _Site, address: Address, ports: Ports, result: Translation) -> None:
    """Where the certificate of an address comes from."""
    told = [item for item in site.tls if _tls(item, address, result)]
    if told:
        return
    host = address.host
    if ports.internal or is_internal(host) or not host:
        result.settings["tls-internal"] = True
        if host not in ("", "localhost"):
            result.add("tls-name", host.strip("[]"))
    elif host.startswith("*"):
        result.add("on-demand-allow", host)
        result.hint(
            site.here, "each name gets a certificate of its own when a client first asks for it"
        )
    else:
        result.add("domain", host)


def _tls(item: Directive, address: Address, result: Translation) -> bool:
    """Translate a `tls` directive. Whether it says where certificates come from."""
    words = item.args
    said = False
    if words == ("internal",):
        result.settings["tls-internal"] = True
        if address.host and address.host != "localhost":
            result.add("tls-name", address.host)
        said = True
    elif len(words) == 2:
        result.add("certfile", words[0])
        result.add("keyfile", words[1])
        said = True
    elif len(words) == 1 and "@" in words[0]:
        result.set(item, "acme-email", words[0])
    elif words:
        result.lost(item, "write certfile and keyfile, tls-internal, or domain")
    for child in item.children:
        said = _tls_option(child, result) or said
    return said


def _tls_option(child: Directive, result: Translation) -> bool:
    value = child.args[0] if child.args else ""
    match child.name:
        case "on_demand":
            if not any(name.startswith("on-demand") for name in result.settings):
                result.lost(child, "write on-demand-allow with the names that are yours")
            return True
        case "protocols":
            result.set(child, "ssl-min-version", value.removeprefix("tls"))
        case "ca":
            result.set(child, "acme-directory", value)
        case "ca_root":
            result.set(child, "acme-ca-bundle", value)
        case "issuer" if value == "internal":
            result.settings["tls-internal"] = True
            return True
        case "client_auth":
            _client_auth(child, result)
        case "alpn":
            if "h2" not in child.args:
                result.set(child, "http", "1")
        case "ciphers" | "curves":
            result.hint(child, "the safe ones are taken; see ssl-ciphers")
        case "dns" | "resolvers" | "propagation_timeout" | "propagation_delay":
            result.lost(child, "certificates are proved by HTTP or TLS, not by DNS")
        case _:
            result.lost(child, "see TLS in docs/options.md")
    return False


def _client_auth(item: Directive, result: Translation) -> None:
    modes = {"require_and_verify": "required", "require": "required"}
    for child in item.children:
        value = child.args[0] if child.args else ""
        if child.name == "mode":
            result.set(child, "cert-reqs", modes.get(value, "optional"))
        elif child.name in ("trusted_ca_cert_file", "trust_pool") and child.args:
            result.set(child, "ca-certs", child.args[-1])
        else:
            result.lost(child, "write ca-certs and cert-reqs")


def _only_redirects(site: _Site) -> bool:
    """Whether a site sends everybody to the same place in HTTPS."""
    target = str(site.table.get("redirect", ""))
    return target.startswith("https://{host}") and "route" not in site.table


def _without_redirects(
    sites: list[_Site],
    plain: list[_Site],
    secure: list[_Site],
    result: Translation,
) -> list[_Site]:
    """Without those that only redirect to HTTPS, which redirect-http does."""
    kept = []
    for site in sites:
        only = site in plain and site not in secure and _only_redirects(site)
        if only and "redirect-http" in result.settings:
            result.hint(site.here, "redirect-http does that")
        else:
            kept.append(site)
    return kept


def _tell_ports_apart(sites: list[_Site], result: Translation) -> None:
    """Sites here differ by host and path, not by the port they were asked on."""
    seen: dict[tuple[str, str], _Site] = {}
    for site in sites:
        for address in site.addresses:
            other = seen.setdefault((address.host, address.path), site)
            if other is not site:
                result.lost(
                    site.here,
                    f"{address.host or 'every host'}{address.path} is served by "
                    f"{other.here.place} already: a port of its own needs a server of its own",
                )
                if site.table in result.sites:
                    result.sites.remove(site.table)
    listening = [*result.settings["bind"], *result.settings.get("insecure-bind", ())]
    if len(listening) > 1 and len(sites) > 1:
        result.hint(sites[0].here, "every site is served on every address that is listened on")
