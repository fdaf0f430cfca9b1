"""One certificate authority: the account there, an order from beginning to end (RFC 8555 §7)."""

import base64
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from acme import challenges, errors, messages
from acme.client import ClientV2
from cryptography.hazmat.primitives import serialization
from josepy.json_util import field as json_field
from josepy.jwk import JWK, JWKEC

from nogilserve.tls.acme.material import (
    Unusable,
    certificate_from,
    certificate_id,
    challenge_certificate,
    new_account_key,
    new_key,
    signing_request,
)
from nogilserve.tls.acme.network import (
    TLSALPN01,
    AuthorityError,
    Network,
    in_our_words,
    problem_text,
    seconds_of,
)
from nogilserve.tls.acme.settings import Settings
from nogilserve.tls.storage.contract import Storage
from nogilserve.tls.storage.records import (
    Account,
    Certificate,
    account_key,
    http_answer_key,
    tls_answer_key,
)

__all__ = ["Authority", "RenewalWindow"]

_log = logging.getLogger("nogilserve")

_ORDER_TIME: Final = 180.0
"""Seconds an order may take; then it counts as failed."""
_ANSWERS_KEPT: Final = 900.0
_ACCOUNT_TERM: Final = 60.0
"""Seconds after which somebody else makes the account if the one who began has died."""
_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 15.0
_NO_ACCOUNT: Final = ("accountDoesNotExist", "unauthorized")
"""What an authority says that has forgotten an account, or has deactivated it."""
_RENEWAL_ASK: Final = 6 * 3600.0
"""Seconds until the next question where the authority does not say (RFC 9773 §4.3.3)."""


@dataclass(frozen=True, slots=True)
class RenewalWindow:
    """When the authority wants a certificate to be renewed (RFC 9773). Seconds since the epoch."""

    start: float
    end: float
    ask_again: float
    """Seconds from now."""
    explanation: str


class NewOrder(messages.NewOrder):
    """With the certificate it replaces (RFC 9773 §5)."""

    replaces: str = json_field("replaces", omitempty=True)


class Authority:
    """Owner: one thread. Made for one piece of work: nonces and connections do not get old."""

    def __init__(self, settings: Settings, storage: Storage, wait: Callable[[float], None]) -> None:
        """`wait` waits for some seconds, and raises what is to end everything."""
        self._settings = settings
        self._storage = storage
        self._wait = wait
        self._network = Network(None, settings.ca_bundle)
        self._client: ClientV2 | None = None

    def close(self) -> None:
        """End the connections."""
        self._network.close()

    # ---- certificates

    def obtain(
        self, name: str, replaced: Certificate | None, kinds: Sequence[str], *, on_demand: bool
    ) -> Certificate:
        """Get a certificate for a name. `kinds` of challenges in order of preference. Raises
        AuthorityError, StorageError."""
        key = new_key(self._settings.key_type)
        with in_our_words(self._network, self._settings.directory):
            client = self._directory()
            order = self._order(client, name, signing_request(name, key), replaced)
            for url in order.body.authorizations:
                self._prove(client, url, name, kinds)
            chain = self._finish(client, order)
            try:
                return certificate_from(chain, key, self._settings.directory, on_demand=on_demand)
            except Unusable as error:
                raise AuthorityError(f"its certificate cannot be used: {error}") from None

    def renewal_window(self, certificate: Certificate) -> RenewalWindow | None:
        """Ask when to renew; None where the authority does not say such things. Raises
        AuthorityError."""
        with in_our_words(self._network, self._settings.directory):
            directory = self._fetch_directory()
            base = directory.to_partial_json().get("renewalInfo")
            name = _replaced_name(certificate)
            if not base or not name:
                return None
            response = self._network.get(f"{base.rstrip('/')}/{name}")
            answer = response.json()
            info = messages.RenewalInfo.from_json(answer)
            window = info.suggested_window
            start, end = window.start.timestamp(), window.end.timestamp()
            if end < start:
                raise AuthorityError("it suggests to renew before a time that is before another")
            asked = seconds_of(response.headers.get("Retry-After", ""))
            return RenewalWindow(
                start,
                end,
                min(max(asked if asked is not None else _RENEWAL_ASK, 60.0), 86400.0),
                str(answer.get("explanationURL") or ""),
            )

    # ---- the account

    def _fetch_directory(self) -> messages.Directory:
        return ClientV2.get_directory(self._settings.directory, self._network)

    def _directory(self) -> ClientV2:
        """The client with an account, kept or new."""
        self._client = client = ClientV2(self._fetch_directory(), self._network)
        self._use(self._other_account(client, ""))
        return client

    def _other_account(self, client: ClientV2, refused: str) -> Account:
        """The account that is kept; a new one where there is none, or only the one that was
        `refused`. Of names and replicas that begin at the same time one makes it for all."""
        while True:
            account = Account.decode(self._storage.read(self._account_key))
            if account is not None and account.url != refused:
                return account
            lease = self._storage.lock(self._account_key, _ACCOUNT_TERM)
            if lease is None:
                self._wait(_PAUSE)
                continue
            try:
                if Account.decode(self._storage.read(self._account_key)) == account:
                    return self._register(client, new_account_key())
            finally:
                lease.release()

    @property
    def _account_key(self) -> str:
        return account_key(self._settings.directory, self._settings.email)

    def _use(self, account: Account) -> None:
        self._network.key = _jwk(account.key)
        self._network.account = messages.RegistrationResource(
            body=messages.Registration(), uri=account.url
        )

    def _register(self, client: ClientV2, pem: str) -> Account:
        """Make an account, by which the terms of the authority are accepted."""
        settings = self._settings
        self._network.key = _jwk(pem)
        self._network.account = None
        binding = None
        if settings.eab_kid:
            binding = messages.ExternalAccountBinding.from_data(
                self._network.key.public_key(),
                settings.eab_kid,
                settings.eab_hmac_key,
                client.directory,
            )
        elif client.external_account_required():
            raise AuthorityError(
                f"{settings.directory} wants an account of its own bound to this one: "
                "--acme-eab-kid and --acme-eab-hmac-key"
            )
        made = client.new_account(
            messages.NewRegistration.from_data(
                email=settings.email or None,
                terms_of_service_agreed=True,
                external_account_binding=binding,
            )
        )
        account = Account(made.uri, pem)
        self._storage.write(self._account_key, account.encode())
        _log.info("A new account at %s: %s", settings.directory, made.uri)
        return account

    # ---- an order

    def _order(
        self, client: ClientV2, name: str, request: bytes, replaced: Certificate | None
    ) -> messages.OrderResource:
        try:
            return self._place(client, name, request, replaced)
        except errors.ConflictError:  # somebody has replaced it already (RFC 9773 §5)
            return self._place(client, name, request, None)
        except messages.Error as error:
            if error.code not in _NO_ACCOUNT:
                raise
            _log.warning(
                "%s does not take the account any more (%s): making a new one",
                self._settings.directory,
                problem_text(error),
            )
        assert self._network.account is not None
        self._use(self._other_account(client, self._network.account.uri))
        return self._place(client, name, request, replaced)

    def _place(
        self, client: ClientV2, name: str, request: bytes, replaced: Certificate | None
    ) -> messages.OrderResource:
        known = client.directory.to_partial_json()
        order = NewOrder(
            identifiers=[messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=name)],
            profile=self._settings.profile,
            replaces=_replaced_name(replaced) if replaced and known.get("renewalInfo") else None,
        )
        response = self._network.post(known["newOrder"], order, new_nonce_url=known["newNonce"])
        return messages.OrderResource(
            body=messages.Order.from_json(response.json()),
            uri=response.headers["Location"],
            csr_pem=request,
        )

    def _prove(self, client: ClientV2, url: str, name: str, kinds: Sequence[str]) -> None:
        """Prove that the name is ours, as one authorization asks."""
        state = self._authorization(client, url)
        if state.status == messages.STATUS_VALID:
            return
        challenge = _choose(state, kinds)
        key = self._network.key
        assert key is not None
        authorization = challenge.chall.key_authorization(key)
        if isinstance(challenge.chall, TLSALPN01):
            place, answer = tls_answer_key(name), challenge_certificate(name, authorization)
        else:
            place = http_answer_key(challenge.chall.encode("token"))
            answer = str(authorization)
        self._storage.write(place, answer.encode(), ttl=_ANSWERS_KEPT)
        try:
            client.answer_challenge(challenge, challenge.chall.response(key))
            state = self._until(
                lambda: self._authorization(client, url),
                lambda found: found.status != messages.STATUS_PENDING,
            )
        finally:
            self._storage.remove(place)
        if state.status != messages.STATUS_VALID:
            raise _not_proven(state, name)

    def _authorization(self, client: ClientV2, url: str) -> messages.Authorization:
        found: messages.Authorization = messages.Authorization.from_json(
            self._fetch(client, url).json()
        )
        return found

    def _finish(self, client: ClientV2, order: messages.OrderResource) -> str:
        """Send the request; the chain, PEM."""
        ended = (messages.STATUS_INVALID, messages.STATUS_VALID)

        def look() -> messages.Order:
            found: messages.Order = messages.Order.from_json(self._fetch(client, order.uri).json())
            return found

        self._until(look, lambda found: found.status in (messages.STATUS_READY, *ended))
        try:
            client.begin_finalization(order)
        except messages.Error as error:
            if error.code != "orderNotReady":
                raise
        body = self._until(look, lambda found: found.status in ended)
        if body.status != messages.STATUS_VALID or not body.certificate:
            raise AuthorityError(f"the order failed: {problem_text(body.error)}")
        return str(self._fetch(client, body.certificate).text)

    def _fetch(self, client: ClientV2, url: str) -> Any:
        """POST-as-GET (RFC 8555 §6.3)."""
        return self._network.post(url, None, new_nonce_url=client.directory["newNonce"])

    def _until[T](self, look: Callable[[], T], done: Callable[[T], bool]) -> T:
        """Look until it is done, as often as the authority wishes."""
        deadline = monotonic() + _ORDER_TIME
        pause = _PAUSE
        while not done(found := look()):
            left = deadline - monotonic()
            if left <= 0:
                raise AuthorityError(f"not done within {_ORDER_TIME:g} s")
            wish = self._network.retry_after
            self._wait(min(pause if wish is None else wish, _LONGEST_PAUSE, left))
            pause = min(pause * 2, 5.0)
        return found


def _jwk(pem: str) -> JWK:
    return JWKEC(key=serialization.load_pem_private_key(pem.encode(), None))


def _replaced_name(certificate: Certificate) -> str | None:
    """The unique name of a certificate (RFC 9773 §4.1)."""
    found = certificate_id(certificate.chain)
    if found is None:
        return None
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in found)


def _choose(state: messages.Authorization, kinds: Sequence[str]) -> Any:
    offered = {
        challenge.chall.typ: challenge for challenge in state.challenges if _known(challenge)
    }
    for kind in kinds:
        if kind in offered:
            return offered[kind]
    raise AuthorityError(
        f"the authority offers no challenge that can be answered here ({', '.join(kinds)}), "
        f"but {', '.join(offered) or 'none at all'}"
    )


def _known(challenge: Any) -> bool:
    return isinstance(challenge.chall, challenges.KeyAuthorizationChallenge)


def _not_proven(state: messages.Authorization, name: str) -> AuthorityError:
    for challenge in state.challenges:
        if challenge.error is not None:
            return AuthorityError(
                f"the authority could not convince itself by {challenge.chall.typ} that {name} is "
                f"served here: {problem_text(challenge.error)}",
                code=str(challenge.error.code or ""),
                unproven=True,
            )
    return AuthorityError(f"the authorization of {name} is {state.status.name}", unproven=True)
