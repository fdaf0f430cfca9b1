"""The `acme` library's way to the authority, with what it lacks, and its errors in our words."""

import logging
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import requests
from acme import challenges, errors, messages
from acme.client import ClientNetwork
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWK

from nogilserve import __version__

__all__ = ["TLSALPN01", "AuthorityError", "Network", "in_our_words", "problem_text", "seconds_of"]

_log = logging.getLogger("nogilserve")

_TIMEOUT: Final = 30
"""Seconds for each step of a request."""
_NONCES: Final = 8
"""Times a request is repeated because its nonce was refused (RFC 8555 §6.5)."""


class AuthorityError(Exception):
    """No certificate this time; says why. `code`: the part of an ACME error type behind
    "urn:ietf:params:acme:error:" (RFC 8555 §6.7), "" for other failures. `reached`: the authority
    has answered. `retry_after`: seconds it asks to wait, None if it does not. `unproven`: the
    challenge was not met."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        reached: bool = True,
        retry_after: float | None = None,
        unproven: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reached = reached
        self.retry_after = retry_after
        self.unproven = unproven


@challenges.ChallengeResponse.register
class TLSALPN01Response(challenges.KeyAuthorizationChallengeResponse):
    """The library knows this challenge no more since its version 5."""

    typ = "tls-alpn-01"


@challenges.Challenge.register
class TLSALPN01(challenges.KeyAuthorizationChallenge):
    """TLS-ALPN-01 (RFC 8737)."""

    response_cls = TLSALPN01Response
    typ = response_cls.typ

    def validation(self, account_key: JWK, **_: Any) -> str:
        """What the certificate has to prove."""
        return str(self.key_authorization(account_key))


class Network(ClientNetwork):
    """Owner: one thread. Remembers what the authority last said about waiting."""

    def __init__(self, key: JWK | None, ca_bundle: str) -> None:
        super().__init__(key, alg=ES256, timeout=_TIMEOUT)
        self.user_agent = f"nogilserve/{__version__} {self.session.headers['User-Agent']}"
        # The library's type is a switch; what it does is to hand it on to requests.
        self.verify_ssl = ca_bundle or _system_trust()  # type: ignore[assignment]
        self.retry_after: float | None = None

    def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        self.retry_after = None
        response = super()._send_request(method, url, *args, **kwargs)
        self.retry_after = seconds_of(response.headers.get("Retry-After", ""))
        if not response.ok and self.REPLAY_NONCE_HEADER in response.headers:
            self._add_nonce(response)  # the library only learns from success
        return response

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As of the library, which repeats it once."""
        for _ in range(_NONCES):
            try:
                return self._post_once(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return self._post_once(*args, **kwargs)

    def close(self) -> None:
        """End the connections, at once: a session leaves them to whoever frees its memory."""
        for adapter in self.session.adapters.values():
            pools = getattr(getattr(adapter, "poolmanager", None), "pools", {})
            for key in list(pools.keys()):
                pools[key].close()
        self.session.close()


def _system_trust() -> str | bool:
    """Where the system keeps whom it trusts; requests would only look into a list of its own, which
    is taken (True) where the system has none, or the user names one for requests."""
    if os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE"):
        return True
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return paths.cafile
    try:
        hashed = any(name.endswith(".0") for name in os.listdir(paths.capath or ""))
    except OSError:
        hashed = False
    return paths.capath if hashed else True


def seconds_of(retry_after: str) -> float | None:
    """A Retry-After field (RFC 9110 §10.2.3) as seconds from now; None if there is none."""
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after[:12])
    try:
        moment = parsedate_to_datetime(retry_after)
    except (ValueError, TypeError, IndexError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def problem_text(problem: messages.Error | None) -> str:
    """An error of the authority (RFC 7807) as the end of a sentence."""
    if problem is None:
        return "it gives no reason"
    code = str(problem.code or problem.typ)
    text = f"{code}: {problem.detail}" if problem.detail else code
    for more in problem.subproblems or ():
        text += f"; {problem_text(more)}"
    return text


@contextmanager
def in_our_words(network: Network, directory: str) -> Iterator[None]:
    """Turn everything that the libraries raise inside into AuthorityError."""
    try:
        yield
    except messages.Error as error:
        raise AuthorityError(
            f"{directory} refuses: {problem_text(error)}",
            code=str(error.code or ""),
            retry_after=network.retry_after,
        ) from error
    except requests.exceptions.SSLError as error:
        raise AuthorityError(
            f"{directory} has a certificate that is not trusted ({_innermost(error)}); "
            "--acme-ca-bundle names the file of an authority of your own",
            reached=False,
        ) from error
    except requests.exceptions.RequestException as error:
        raise AuthorityError(
            f"{directory} cannot be reached: {_innermost(error)}", reached=False
        ) from error
    except OSError as error:  # of the file of --acme-ca-bundle, say
        raise AuthorityError(f"{directory} cannot be asked: {error}", reached=False) from error
    except errors.ClientError as error:
        raise AuthorityError(
            f"{directory} does not answer as an ACME server does: {_short(error)}",
            retry_after=network.retry_after,
        ) from error
    except (errors.Error, JoseError) as error:
        raise AuthorityError(f"{directory}: {_short(error)}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        _log.debug("An answer that the ACME client does not understand", exc_info=True)
        raise AuthorityError(
            f"{directory} gives an answer that makes no sense ({error!r:.200})"
        ) from error


def _innermost(error: BaseException) -> str:
    """requests wraps what it means into several layers."""
    inner: Any = error
    while True:
        reason = getattr(inner, "reason", None)
        if isinstance(reason, BaseException):
            inner = reason
        elif inner.args and isinstance(inner.args[0], BaseException):
            inner = inner.args[0]
        else:
            break
    text = str(inner)
    if text.startswith("["):  # the library and the name of what it found
        return text.partition("] ")[2] or text
    return text.partition(": ")[2] or text or type(inner).__name__


def _short(error: BaseException) -> str:
    first = error.args[0] if error.args else None
    if isinstance(first, requests.Response):
        return f"status {first.status_code}"
    return (str(error) or type(error).__name__)[:300]
