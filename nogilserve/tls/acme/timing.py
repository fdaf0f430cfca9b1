"""When to renew, when to try again. Pure: times and chance are given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nogilserve.tls.storage.records import IMPORTED, Certificate, Plan

__all__ = ["Ask", "Nothing", "Obtain", "Step", "decide", "renewal_moment", "retry_delay"]

_SHARE: Final = 2 / 3
"""Of its life after which a certificate is renewed."""
_SPREAD: Final = 0.02
"""Of its life: replicas and names obtained together do not all come at the same moment."""

_UNREACHED: Final = 2.0
"""Seconds after which an authority that could not be reached is tried again, at first."""
_UNREACHED_MOST: Final = 1800.0
_REFUSED: Final = 120.0
"""Seconds after a refusal, at first. Let's Encrypt allows five failed validations of a name in an
hour; these come after 0, 2, 6, 14 and 30 minutes."""
_REFUSED_MOST: Final = 6 * 3600.0
_JITTER: Final = 0.25
"""By how much of itself a delay is shortened or made longer, at most."""
_LONGEST_WISH: Final = 7 * 86400.0
"""An authority that asks for more than a week of patience is asked again after one."""


@dataclass(frozen=True, slots=True)
class Obtain:
    """Get a certificate now."""

    why: str
    """As the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the authority now when it wants the certificate to be renewed (RFC 9773)."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing to do before this moment, in seconds since the epoch."""

    until: float


Step = Obtain | Ask | Nothing


def renewal_moment(certificate: Certificate, share: float) -> float:
    """When to renew if nobody says anything else: after two thirds of its life, and a bit.

    `share`: from 0 to 1, for the bit; the same for the same certificate gives the same moment.
    """
    life = certificate.not_after - certificate.not_before
    return certificate.not_before + life * (_SHARE + _SPREAD * share)


def retry_delay(
    failures: int, chance: Callable[[], float], *, reached: bool, wish: float | None = None
) -> float:
    """Seconds to the next attempt after `failures` in a row, at least one.

    `reached`: the authority has answered. `wish`: its Retry-After; it is never tried earlier, and
    only a little later. `chance` gives numbers from 0 to 1.
    """
    first, most = (_REFUSED, _REFUSED_MOST) if reached else (_UNREACHED, _UNREACHED_MOST)
    delay = min(first * 2.0 ** min(failures - 1, 40), most)
    if wish is not None:
        return min(max(wish, 0.0), _LONGEST_WISH) + min(first, 30.0) * _JITTER * chance()
    return delay * (1 - _JITTER + 2 * _JITTER * chance())


def decide(
    certificate: Certificate | None, plan: Plan, issuer: str, now: float, *, asks: bool = True
) -> Step:
    """What to do about a name. `issuer`: the directory URL that is configured; `asks`: it is known,
    or not known yet whether, the authority has times of renewal to tell."""
    failing = plan.failures > 0 and plan.issuer == issuer
    reason = _reason(certificate, plan, issuer, now)
    if reason:
        return Nothing(plan.retry_at) if failing and now < plan.retry_at else Obtain(reason)
    assert certificate is not None
    moment = _due(certificate, plan)
    about = plan.fingerprint == certificate.fingerprint
    if not asks or certificate.issuer == IMPORTED:
        return Nothing(moment)
    ask_at = plan.ask_at if about else 0.0
    return Ask() if ask_at <= now else Nothing(min(moment, ask_at))


def _reason(certificate: Certificate | None, plan: Plan, issuer: str, now: float) -> str:
    """Why a certificate is needed, "" if none is."""
    if certificate is None:
        return "there is none"
    if now >= certificate.not_after:
        return "it has expired"
    if certificate.issuer not in (issuer, IMPORTED):
        return "it comes from another authority"
    return "it is time to renew it" if now >= _due(certificate, plan) else ""


def _due(certificate: Certificate, plan: Plan) -> float:
    if plan.renew_at and plan.fingerprint == certificate.fingerprint:
        return min(plan.renew_at, certificate.not_after)
    share = int(certificate.fingerprint[:6] or "0", 16) / 0xFFFFFF
    return renewal_moment(certificate, share)
