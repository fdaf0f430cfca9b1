"""Options about automatic HTTPS that mean something only together."""

from collections.abc import Mapping
from typing import Any

from nogilserve.config.addresses import Bind
from nogilserve.config.settings import Config
from nogilserve.errors import ConfigError

__all__ = ["check_https", "default_addresses"]


def default_addresses(values: dict[str, Any], origins: Mapping[str, str]) -> None:
    """Where a server with `--domain` listens if nobody says anything: ports 443 and 80."""
    wanted = any(
        values.get(name)
        for name in ("domains", "on_demand_allow", "on_demand_ask", "on_demand_dir")
    )
    if wanted and "binds" not in origins:
        values["binds"] = (Bind("tcp", "", 443),)
        if "redirect_http" not in origins:
            values["redirect_http"] = "80"


def check_https(config: Config, origins: Mapping[str, str]) -> None:
    """Raise ConfigError where what one option asks for needs, or excludes, another one."""
    if config.acme_staging and "acme_directory" in origins:
        raise ConfigError(
            "option --acme-staging is about Let's Encrypt; it cannot stand beside --acme-directory"
        )
    if bool(config.acme_eab_kid) != bool(config.acme_eab_hmac_key):
        raise ConfigError("options --acme-eab-kid and --acme-eab-hmac-key belong together")
    if not config.automatic_https:
        return
    local = [name for name in config.domains if name.rpartition(".")[2] == "localhost"]
    if local and "acme_directory" not in origins:
        raise ConfigError(
            f"option --domain: no public authority gives a certificate for {local[0]}; use "
            "--tls-internal, with --tls-name for further names"
        )
    if config.acme_challenges == ("http-01",) and not config.redirect_http:
        raise ConfigError(
            "option --acme-challenge: http-01 is answered on the port for plain HTTP; add "
            "--redirect-http 80"
        )
