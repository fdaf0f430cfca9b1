"""Which authority, and who we are there, from the configuration."""

from dataclasses import dataclass

from nogilserve.config import Config

__all__ = ["Settings", "settings_of"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Immutable."""

    directory: str
    """URL (RFC 8555 §7.1.1)."""
    email: str = ""
    ca_bundle: str = ""
    eab_kid: str = ""
    eab_hmac_key: str = ""
    challenges: tuple[str, ...] = ("tls-alpn-01", "http-01")
    """Kinds that can be answered, the preferred one first."""
    key_type: str = "p256"
    profile: str = ""


def settings_of(config: Config) -> Settings:
    """Those that the options say."""
    return Settings(
        directory=config.acme_url,
        email=config.acme_email,
        ca_bundle=config.acme_ca_bundle,
        eab_kid=config.acme_eab_kid,
        eab_hmac_key=config.acme_eab_hmac_key,
        challenges=config.acme_challenges,
        key_type=config.acme_key_type,
        profile=config.acme_profile,
    )
