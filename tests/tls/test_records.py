"""What is kept in a storage, and what is made of what somebody else has put there."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.tls.storage.contract import check_key
from nogilserve.tls.storage.records import (
    Account,
    Certificate,
    Plan,
    account_key,
    certificate_key,
    http_answer_key,
    split_pem,
)

KEY = "-----BEGIN PRIVATE KEY-----\nBBBB\n-----END PRIVATE KEY-----\n"
ONE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
TWO = "-----BEGIN CERTIFICATE-----\nCCCC\n-----END CERTIFICATE-----\n"
CERTIFICATE = Certificate(("a.example", "b.example"), 1.0, 2.5, "https://ca/", ONE + TWO, KEY, True)


def test_records_come_back() -> None:
    """What was encoded is decoded to the same."""
    assert Certificate.decode(CERTIFICATE.encode()) == CERTIFICATE
    plan = Plan("ff", 1.0, 2.0, 3, "https://ca/", 4.0, "why", "https://ca/why")
    assert Plan.decode(plan.encode()) == plan
    account = Account("https://ca/1", KEY)
    assert Account.decode(account.encode()) == account


def test_secrets_are_not_shown() -> None:
    """The private key is in no representation, so in no log and no traceback."""
    assert "BBBB" not in repr(CERTIFICATE)
    assert "BBBB" not in repr(Account("u", KEY))


@given(st.binary(max_size=60) | st.just(b"null\n") | st.just(b'{"names": 3}\n'))
def test_nonsense_counts_as_nothing(data: bytes) -> None:
    """Bytes that nobody wrote in our way make no record and no exception."""
    assert Certificate.decode(data) is None
    assert Account.decode(data) is None
    assert isinstance(Plan.decode(data), Plan)


@pytest.mark.parametrize("name", ["failures", "renew_at", "error"])
def test_wrong_types_count_as_nothing(name: str) -> None:
    """A plan whose entries are of other types is void as a whole; unknown ones are left out."""
    assert Plan.decode(json.dumps({"issuer": "x", name: []}).encode()) == Plan()
    assert Plan.decode(json.dumps({"renew_at": 5, "later": "version"}).encode()) == Plan("", 5.0)


def test_pem_is_split() -> None:
    """Keys and certificates in any order, with text around them."""
    assert split_pem(f"hello\n{ONE}\n{KEY}more\n{TWO}") == (KEY, ONE + TWO)
    assert split_pem("-----BEGIN CERTIFICATE-----\nAAAA") == ("", "")


def test_keys_of_names() -> None:
    """Every name gives a key; the answer to a token never leaves its folder."""
    for key in (
        certificate_key("*.a.example"),
        certificate_key("a" * 63 + ".example"),
        account_key("https://[::1]:14000/dir", "me@example.com"),
        http_answer_key("-_token"),
    ):
        check_key(key)
    assert certificate_key("*.a.example") != certificate_key("a.example")
    with pytest.raises(ValueError, match="no key"):
        check_key(http_answer_key("../../accounts/x"))
