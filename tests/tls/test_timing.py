"""When to renew and when to try again, with a clock that the tests move."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from nogilserve.tls.acme.timing import (
    Ask,
    Nothing,
    Obtain,
    decide,
    renewal_moment,
    retry_delay,
)
from nogilserve.tls.storage.records import IMPORTED, Certificate, Plan

CA = "https://ca.example/dir"
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
DAY = 86400.0
CERTIFICATE = Certificate(("a.example",), 0.0, 90 * DAY, CA, PEM, "key")
QUIET = Plan(CERTIFICATE.fingerprint, ask_at=1000 * DAY)


def test_certificate_is_renewed_at_two_thirds_of_its_life() -> None:
    """Between two thirds and a bit later, at the same moment for the same certificate."""
    assert renewal_moment(CERTIFICATE, 0.0) == 60 * DAY
    assert 60 * DAY < renewal_moment(CERTIFICATE, 1.0) < 62 * DAY
    step = decide(CERTIFICATE, QUIET, CA, 0.0)
    assert isinstance(step, Nothing)
    assert 60 * DAY <= step.until <= 62 * DAY
    assert decide(CERTIFICATE, QUIET, CA, step.until - 1) == step
    assert decide(CERTIFICATE, QUIET, CA, step.until) == Obtain("it is time to renew it")
    assert decide(CERTIFICATE, QUIET, CA, 91 * DAY) == Obtain("it has expired")


def test_missing_certificate_is_obtained_at_once() -> None:
    """Unless it has just failed: then at the time of the next attempt."""
    assert decide(None, Plan(), CA, 5.0) == Obtain("there is none")
    failed = Plan(failures=2, issuer=CA, retry_at=50.0)
    assert decide(None, failed, CA, 49.0) == Nothing(50.0)
    assert decide(None, failed, CA, 50.0) == Obtain("there is none")
    assert decide(None, failed, "https://other.example/", 5.0) == Obtain("there is none")


def test_another_authority_is_asked_for_another_certificate() -> None:
    """After --acme-staging was taken away, say; an imported certificate is left alone."""
    assert isinstance(decide(CERTIFICATE, QUIET, "https://x/", 0.0), Obtain)
    brought = replace(CERTIFICATE, issuer=IMPORTED)
    assert isinstance(decide(brought, Plan(), CA, 0.0), Nothing)
    assert isinstance(decide(brought, Plan(), CA, 70 * DAY), Obtain)


def test_authority_says_when_to_renew() -> None:
    """Its time counts for the certificate it is about, earlier or later than ours; it is asked
    again when it wants to be."""
    assert decide(CERTIFICATE, Plan(), CA, 0.0) == Ask()
    told = Plan(CERTIFICATE.fingerprint, renew_at=10 * DAY, ask_at=2 * DAY)
    assert decide(CERTIFICATE, told, CA, 1 * DAY) == Nothing(2 * DAY)
    assert decide(CERTIFICATE, told, CA, 2 * DAY) == Ask()
    assert decide(CERTIFICATE, replace(told, ask_at=99 * DAY), CA, 10 * DAY) == Obtain(
        "it is time to renew it"
    )
    late = replace(told, renew_at=80 * DAY, ask_at=99 * DAY)
    assert decide(CERTIFICATE, late, CA, 70 * DAY) == Nothing(80 * DAY)
    assert decide(CERTIFICATE, replace(told, fingerprint="of another"), CA, 1 * DAY) == Ask()


def test_delays_grow() -> None:
    """Each about twice the one before, up to a limit; sooner where nobody was reached."""
    refused = [retry_delay(n, lambda: 0.5, reached=True) for n in range(1, 12)]
    assert refused[:4] == [120, 240, 480, 960]
    assert refused[-1] == 6 * 3600
    away = [retry_delay(n, lambda: 0.5, reached=False) for n in range(1, 60)]
    assert away[:3] == [2, 4, 8]
    assert away[-1] == 1800
    # No more than five failed validations of a name in an hour.
    assert sum(refused[:4]) + sum(refused[4:5]) > 3600


@given(st.integers(1, 10**6), st.floats(0, 1), st.booleans(), st.none() | st.floats(-10, 1e9))
def test_delay_is_bounded_and_respects_the_authority(
    failures: int, chance: float, reached: bool, wish: float | None
) -> None:
    """Never shorter than what the authority asks for (a week at most), nor 8 h longer."""
    delay = retry_delay(failures, lambda: chance, reached=reached, wish=wish)
    assert delay >= (1.0 if wish is None else min(wish, 7 * DAY))
    assert delay <= max(wish or 0.0, 0.0) + 8 * 3600


@given(
    st.floats(0, 200 * DAY),
    st.builds(
        Plan,
        st.sampled_from(["", CERTIFICATE.fingerprint]),
        st.floats(0, 200 * DAY),
        st.floats(0, 200 * DAY),
        st.integers(0, 5),
        st.sampled_from(["", CA]),
        st.floats(0, 200 * DAY),
    ),
)
def test_something_is_done_before_a_certificate_ends(now: float, plan: Plan) -> None:
    """Whatever the plan says: one is obtained at the latest when the old one ends, or it has just
    failed; and a time to wait for always lies in the future."""
    step = decide(CERTIFICATE, plan, CA, now)
    if isinstance(step, Nothing):
        assert step.until > now
    failing = plan.failures and plan.issuer == CA and now < plan.retry_at
    if now >= CERTIFICATE.not_after and not failing:
        assert isinstance(step, Obtain)
