"""Options about TLS that mean something only together."""

from copy import replace
from typing import Final

from nogilserve.config.settings import Config
from nogilserve.errors import ConfigError

__all__ = ["check_tls", "named"]

_EVERYWHERE: Final = ("", "0.0.0.0", "::")


def check_tls(config: Config) -> None:
    """Raise ConfigError where what one option about TLS asks for needs another one."""
    certificates, keys = len(config.certfiles), len(config.keyfiles)
    if keys > certificates:
        raise ConfigError(
            f"option --keyfile: there are {keys} keys and {certificates} certificates; give each "
            f"--certfile its --keyfile, in the same order"
        )
    if 0 < keys < certificates:
        raise ConfigError(
            f"option --certfile: there are {certificates} certificates and {keys} keys; give each "
            f"its --keyfile, or put the keys into the files of the certificates"
        )
    if not config.encrypted:
        for flag, value in (
            ("--ca-certs", config.ca_certs),
            ("--cert-reqs", config.cert_reqs != "none"),
            ("--redirect-http", config.redirect_http),
            ("--hsts", config.hsts),
            ("--tls-name", config.tls_names),
        ):
            if value:
                raise ConfigError(
                    f"option {flag} needs a certificate: --certfile FILE, --tls-internal or "
                    f"--domain NAME"
                )
    if config.tls_names and not config.tls_internal:
        raise ConfigError("option --tls-name is for the certificate of --tls-internal")
    if config.cert_reqs != "none" and not config.ca_certs:
        raise ConfigError(
            f"option --cert-reqs: {config.cert_reqs} needs --ca-certs FILE, the authorities that "
            f"are believed"
        )
    if config.ca_certs and config.cert_reqs == "none":
        raise ConfigError(
            "option --ca-certs: clients are not asked for a certificate; add --cert-reqs required "
            "or optional"
        )


def named(config: Config) -> Config:
    """With the addresses that are listened on among the names of the certificate made here."""
    if not config.tls_internal:
        return config
    hosts = (bind.host.partition("%")[0] for bind in config.binds if bind.kind == "tcp")
    known = dict.fromkeys((*config.tls_names, *(h for h in hosts if h not in _EVERYWHERE)))
    return replace(config, tls_names=tuple(known))
