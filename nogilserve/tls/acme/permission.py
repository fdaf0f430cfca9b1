"""Whether a certificate may be obtained for a name that only a client has named.

Without such a question anybody could have certificates obtained for names that point here, until
the authority refuses the account.
"""

import os
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from time import monotonic
from typing import Final

from nogilserve.config.templates import Template, values_of

__all__ = ["Gate", "is_host", "matches"]

_HOST: Final = re.compile(
    r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}"
)
_TIMEOUT: Final = 10.0
_REMEMBERED: Final = 30.0
"""Seconds for which an answer counts."""
_MOST: Final = 4096
"""Answers that are remembered."""


def is_host(name: str) -> bool:
    """Whether a name from a client can have a certificate: lower case, at least two labels, a last
    one that is no number. Nothing else is asked or looked up anywhere."""
    return bool(_HOST.fullmatch(name)) and not name.rpartition(".")[2].isdigit()


def matches(pattern: str, name: str) -> bool:
    """Whether a name is the pattern, or directly below one that begins with "*."."""
    if pattern.startswith("*."):
        return name.partition(".")[2] == pattern[2:]
    return name == pattern


class Gate:
    """Any thread: `_answers` belongs to the lock; questions are asked without it."""

    def __init__(
        self,
        allowed: tuple[str, ...] = (),
        url: str = "",
        directory: str = "",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """A name may pass if any of those given lets it: the list, the URL, the directory."""
        self._allowed = allowed
        self._url = url
        self._directory = directory
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[str, tuple[float, str]] = {}

    def lists(self, name: str) -> bool:
        """Whether the list has this very name."""
        return name in self._allowed

    def refusal(self, name: str) -> str:
        """Why not, as the end of a sentence; "" where a certificate may be obtained. May take as
        long as the URL takes to answer, 10 s at most."""
        if not is_host(name):
            return "it is no name for a certificate"
        if any(matches(pattern, name) for pattern in self._allowed):
            return ""
        now = self._clock()
        with self._lock:
            until, answer = self._answers.get(name, (0.0, ""))
        if now < until:
            return answer
        answer = self._ask(name)
        with self._lock:
            if len(self._answers) >= _MOST:
                self._answers.clear()
            self._answers[name] = (self._clock() + _REMEMBERED, answer)
        return answer

    def _ask(self, name: str) -> str:
        reasons = ["no --on-demand-allow names it"] if self._allowed else []
        if self._directory:
            path = filled(self._directory, name)
            if path and os.path.isdir(path):
                return ""
            reasons.append(f"there is no directory {path}" if path else "it has too few labels")
        if self._url:
            reason = _asked(self._url, name)
            if not reason:
                return ""
            reasons.append(reason)
        return ", ".join(reasons)


def filled(template: str, name: str) -> str:
    """A template with its placeholders filled in; "" where the name has too few labels."""
    places = Template.of(template)
    values = values_of(places.names, name, "")
    return "" if values is None else places.fill(dict(zip(places.names, values, strict=True)))


def _asked(url: str, name: str) -> str:
    """Why the URL does not let a name pass, "" if it does. Redirects are answers, too: no."""
    joint = "&" if urllib.parse.urlsplit(url).query else "?"
    request = urllib.request.Request(f"{url}{joint}domain={urllib.parse.quote(name)}")
    opener = urllib.request.build_opener(_NoRedirect(), urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT) as response:
            status: int = response.status
    except urllib.error.HTTPError as error:
        error.close()
        return f"{url} answers {error.code}"
    except (OSError, ValueError) as error:
        return f"{url} cannot be asked: {getattr(error, 'reason', error)}"
    return "" if 200 <= status < 300 else f"{url} answers {status}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None
