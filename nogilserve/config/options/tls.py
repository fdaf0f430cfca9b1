"""TLS with certificates of one's own, or of the user's own authority."""

from typing import Final

from nogilserve.config.declare import group, option
from nogilserve.config.kinds import FLAG, TEXT, integer, seconds, text
from nogilserve.config.secrecy import (
    CERT_NAME,
    CERT_REQS,
    CIPHERS,
    HSTS,
    INSECURE,
    REDIRECT,
    TLS_VERSION,
)

__all__ = ["TLS", "Tls"]

TLS: Final = "TLS"


@group
class Tls:
    """The part of Config about TLS."""

    certfiles: tuple[str, ...] = option(
        (),
        "--certfile --ssl-certfile --ssl-certificate",
        TEXT,
        """Speak TLS on every address, with this certificate: a PEM file with those of the
        intermediate authorities behind it. Repeatable: which one a client is shown depends on the
        name it asks for (SNI), names with * included; the first one is shown to the rest.""",
        section=TLS,
        metavar="FILE",
        many=True,
    )
    keyfiles: tuple[str, ...] = option(
        (),
        "--keyfile --ssl-keyfile",
        TEXT,
        """The private key of the certificate, PEM; may be left out if the key is in the same file.
        Repeated as --certfile is, in the same order.""",
        section=TLS,
        metavar="FILE",
        many=True,
        default_text="the certificate's file",
    )
    ssl_keyfile_password: str = option(
        "",
        "--ssl-keyfile-password --keyfile-password",
        text("the password", empty=True),
        """The password of keys that are encrypted. Command lines can be read by other users:
        better set NOGILSERVE_SSL_KEYFILE_PASSWORD.""",
        section=TLS,
        metavar="PASSWORD",
    )
    ca_certs: str = option(
        "",
        "--ca-certs --ssl-ca-certs --ssl-ca",
        TEXT,
        "The authorities whose certificates clients may show: a PEM file.",
        section=TLS,
        metavar="FILE",
    )
    cert_reqs: str = option(
        "none",
        "--cert-reqs --ssl-cert-reqs --verify-mode",
        CERT_REQS,
        """Whether clients have to show a certificate: none, optional (one that is shown must be
        good), required.""",
        section=TLS,
        metavar="MODE",
    )
    ssl_min_version: str = option(
        "1.2",
        "--ssl-min-version --ssl-protocol-min",
        TLS_VERSION,
        "The oldest version of TLS that is spoken: 1.2 or 1.3.",
        section=TLS,
        metavar="VERSION",
    )
    ssl_ciphers: str = option(
        "ECDHE+AESGCM:ECDHE+CHACHA20",
        "--ssl-ciphers --ciphers",
        CIPHERS,
        "Ciphers for TLS 1.2, as OpenSSL names them; those of TLS 1.3 are all good.",
        section=TLS,
        metavar="CIPHERS",
    )
    ssl_session_tickets: int = option(
        2,
        "--ssl-session-tickets",
        integer(0, 16),
        """Tickets that a client gets for resuming its session, without a full handshake; 0 turns
        that off.""",
        section=TLS,
        metavar="N",
    )
    ssl_handshake_timeout: float = option(
        10.0,
        "--ssl-handshake-timeout",
        seconds(0.1, 3600),
        "How long a client may take for its handshake.",
        section=TLS,
        metavar="SECONDS",
    )
    insecure: tuple[str, ...] = option(
        (),
        "--insecure-bind",
        INSECURE,
        """Listen here too, and speak plain HTTP: beside TLS for a health check or a proxy.
        Repeatable.""",
        section=TLS,
        metavar="ADDRESS",
        many=True,
    )
    redirect_http: str = option(
        "",
        "--redirect-http",
        REDIRECT,
        """Listen on this port, too (the interface is that of the first --bind), or on this address,
        and answer plain HTTP there with the URL in HTTPS.""",
        section=TLS,
        metavar="PORT",
        default_text="none",
    )
    https_port: int = option(
        0,
        "--https-port",
        integer(0, 65535),
        """The port in those URLs, where the outside knows another one than the server: behind a
        container's port mapping.""",
        section=TLS,
        metavar="PORT",
        default_text="that of the first --bind",
    )
    hsts: str = option(
        "",
        "--hsts",
        HSTS,
        """Tell browsers to use nothing but HTTPS for this host from now on
        (Strict-Transport-Security): for a year, for so many seconds, or as the directives
        say.""",
        section=TLS,
        metavar="DIRECTIVES",
        bare="max-age=31536000",
    )
    tls_internal: bool = option(
        False,
        "--tls-internal --tls-self-signed",
        FLAG,
        """Speak TLS with a certificate of an authority of your own, which is made in your data
        folder: for localhost, the addresses listened on and every --tls-name. `nogilserve trust`
        says how to have it trusted.""",
        section=TLS,
    )
    tls_names: tuple[str, ...] = option(
        (),
        "--tls-name",
        CERT_NAME,
        """A further name or address in the certificate of --tls-internal. Separated by commas or
        repeated.""",
        section=TLS,
        metavar="NAME",
        many=True,
        commas=True,
    )
