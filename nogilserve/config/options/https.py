"""Certificates that are obtained and renewed by themselves."""

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from nogilserve.config.declare import group, option
from nogilserve.config.hostnames import ascii_host
from nogilserve.config.kinds import FLAG, TEXT, Kind, choice, integer
from nogilserve.config.templates import Template

__all__ = ["AUTOMATIC_HTTPS", "LETS_ENCRYPT", "AutomaticHttps"]

AUTOMATIC_HTTPS: Final = "Automatic HTTPS"

LETS_ENCRYPT: Final = "https://acme-v02.api.letsencrypt.org/directory"

_EMAIL: Final = re.compile(r"[^\s@,<>]+@[^\s@,<>]+")
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+={0,2}")


def _is_address(text: str) -> bool:
    try:
        ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def _parse_domain(value: str) -> str:
    if "://" in value or "/" in value or ":" in value:
        raise ValueError("write the name alone, without scheme, port and path")
    name = ascii_host(value)
    if _is_address(name):
        raise ValueError(
            "that is an address; for certificates without a name use --tls-self-signed"
        )
    if name.startswith("*."):
        raise ValueError(
            "a wildcard can only be proven in the DNS, which is not done here; name each host, or "
            "bring the certificate: nogilserve certs import"
        )
    return name


def _parse_pattern(value: str) -> str:
    name = ascii_host(value)
    if _is_address(name):
        raise ValueError("that is an address")
    return name


def _parse_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError
    return value


def _parse_email(value: str) -> str:
    address = value.removeprefix("mailto:")
    if address and not (_EMAIL.fullmatch(address) and address.isascii()):
        raise ValueError
    return address


def _parse_hmac(value: str) -> str:
    if value and not _BASE64URL.fullmatch(value):
        raise ValueError("it is written in base64url: letters, digits, - and _")
    return value


def _parse_template(value: str) -> str:
    names = Template.of(value).names
    if "\0" in value or not names:
        raise ValueError("without {host} or {host.labels.N} every name would have the same")
    if any(not name.startswith("host") for name in names) or "{" in "".join(
        Template.of(value).pieces[::2]
    ):
        raise ValueError("only {host} and {host.labels.N} can be filled in")
    return value


def _parse_storage(value: str) -> str:
    scheme = value.partition("://")[0] if "://" in value else ""
    if "\0" in value or (scheme and scheme not in ("redis", "rediss", "unix")):
        raise ValueError
    return value


DOMAIN: Final = Kind("a host name such as example.com", _parse_domain, str)
PATTERN: Final = Kind("a host name such as example.com or *.example.com", _parse_pattern, str)
URL: Final = Kind("a URL that begins with https:// or http://", _parse_url, str)
EMAIL: Final = Kind("an e-mail address", _parse_email, str)
HMAC_KEY: Final = Kind("the key as the authority shows it", _parse_hmac, str)
TEMPLATE: Final = Kind(
    "the path of a directory with {host} or {host.labels.N} in it", _parse_template, str
)
STORAGE: Final = Kind(
    "the path of a directory, redis://HOST:PORT/DATABASE, rediss://… or unix://PATH",
    _parse_storage,
    str,
)


@group
class AutomaticHttps:
    """The part of Config about certificates obtained by ACME (RFC 8555)."""

    domains: tuple[str, ...] = option(
        (),
        "--domain",
        DOMAIN,
        """Serve this host name by HTTPS with a certificate that is obtained and renewed by itself:
        listens on ports 443 and 80 unless told otherwise, and port 80 leads to 443. By it you agree
        to the terms of the certificate authority. Separated by commas or repeated.""",
        section=AUTOMATIC_HTTPS,
        metavar="NAME",
        many=True,
        commas=True,
    )
    acme_email: str = option(
        "",
        "--acme-email",
        EMAIL,
        "Where the certificate authority may write to.",
        section=AUTOMATIC_HTTPS,
        metavar="ADDRESS",
    )
    acme_staging: bool = option(
        False,
        "--acme-staging",
        FLAG,
        """Use Let's Encrypt's staging environment: for trying out; browsers do not trust its
        certificates.""",
        section=AUTOMATIC_HTTPS,
    )
    acme_directory: str = option(
        LETS_ENCRYPT,
        "--acme-directory --acme-ca",
        URL,
        "The directory URL of another certificate authority.",
        section=AUTOMATIC_HTTPS,
        metavar="URL",
    )
    acme_ca_bundle: str = option(
        "",
        "--acme-ca-bundle",
        TEXT,
        """Trust the certificates in this PEM file when talking to the certificate authority:
        for one of your own.""",
        section=AUTOMATIC_HTTPS,
        metavar="FILE",
    )
    acme_eab_kid: str = option(
        "",
        "--acme-eab-kid",
        TEXT,
        """Identifier of an account you have at the authority by other means (external account
        binding).""",
        section=AUTOMATIC_HTTPS,
        metavar="ID",
    )
    acme_eab_hmac_key: str = option(
        "",
        "--acme-eab-hmac-key",
        HMAC_KEY,
        """The key that goes with it. Command lines can be read by other users: better set
        NOGILSERVE_ACME_EAB_HMAC_KEY.""",
        section=AUTOMATIC_HTTPS,
        metavar="KEY",
    )
    acme_challenges: tuple[str, ...] = option(
        ("tls-alpn-01", "http-01"),
        "--acme-challenge",
        choice("tls-alpn-01", "http-01"),
        """How to prove that a name is served here: tls-alpn-01 (needs port 443), http-01 (needs
        port 80). With both, the other one is tried after a failure. Separated by commas or
        repeated.""",
        section=AUTOMATIC_HTTPS,
        metavar="KIND",
        many=True,
        commas=True,
    )
    acme_key_type: str = option(
        "p256",
        "--acme-key-type",
        choice("p256", "p384", "rsa2048", "rsa4096"),
        "The kind of private key of certificates.",
        section=AUTOMATIC_HTTPS,
        metavar="TYPE",
    )
    acme_profile: str = option(
        "",
        "--acme-profile",
        TEXT,
        "A profile of certificates that the authority offers, such as shortlived.",
        section=AUTOMATIC_HTTPS,
        metavar="NAME",
    )
    storage: str = option(
        "",
        "--storage",
        STORAGE,
        """Keep certificates, accounts and locks here: a directory, or redis://… for several
        machines that serve the same names.""",
        section=AUTOMATIC_HTTPS,
        metavar="PLACE",
        default_text="nogilserve/automatic-https in the user's data folder",
    )
    on_demand_allow: tuple[str, ...] = option(
        (),
        "--on-demand-allow",
        PATTERN,
        """Obtain a certificate when a client first asks for this name. *.example.com is any
        name directly below. Separated by commas or repeated.""",
        section=AUTOMATIC_HTTPS,
        metavar="NAME",
        many=True,
        commas=True,
    )
    on_demand_ask: str = option(
        "",
        "--on-demand-ask",
        URL,
        """Obtain one when a client first asks for a name for which this URL, with
        ?domain=NAME added, answers with a status from 200 to 299.""",
        section=AUTOMATIC_HTTPS,
        metavar="URL",
    )
    on_demand_dir: str = option(
        "",
        "--on-demand-dir",
        TEMPLATE,
        """Obtain one when a client first asks for a name for which this directory exists:
        {host} is the name, {host.labels.2} its third label from the right.""",
        section=AUTOMATIC_HTTPS,
        metavar="TEMPLATE",
    )
    on_demand_rate: int = option(
        100,
        "--on-demand-rate",
        integer(0, 1_000_000),
        """Obtain certificates on demand for at most so many new names an hour, so that nobody
        uses up what the authority allows; 0 means no limit.""",
        section=AUTOMATIC_HTTPS,
        metavar="N",
    )
