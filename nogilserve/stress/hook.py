"""The file given with --check: what the user knows of the application and we cannot guess.

`setup(client)` runs before anything else in each fresh process, `check(client)` after the requests
of a process, when nothing runs any more; `counters` names requests whose answer is a number that
must not lose anything, `masks` regular expressions of what is to be ignored in answers.
"""

import json
import linecache
import re
import runpy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from nogilserve.errors import ConfigError
from nogilserve.stress.answers import Answer
from nogilserve.stress.asks import Ask
from nogilserve.stress.client import Client

__all__ = ["Hook", "HookClient", "Reply", "read_hook"]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, for the functions of a hook. Immutable."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; of repeated fields the last one."""
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "backslashreplace")

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return json.loads(self.body)


class HookClient:
    """What a hook sends requests with. It keeps cookies. Owner: the driving thread."""

    def __init__(
        self,
        client: Client,
        headers: dict[str, str] | None = None,
        sent: Mapping[str, int] | None = None,
    ) -> None:
        self._client = client
        self.sent: Mapping[str, int] = Counter(sent or {})
        """How many of the replayed requests ("POST /order") this process has answered with a
        status below 400; 0 of those it was not sent."""
        self.headers: dict[str, str] = {} if headers is None else headers
        """Sent with each request; after `setup` with the replayed ones, too."""
        self.cookies: dict[str, str] = {}

    def get(self, target: str, **options: Any) -> Reply:
        """GET; see `request`."""
        return self.request("GET", target, **options)

    def post(self, target: str, **options: Any) -> Reply:
        """POST; see `request`."""
        return self.request("POST", target, **options)

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | str = b"",
        json: Any = None,
        form: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request and wait for the answer. Raises OSError if there is none."""
        fields = {**self.all_headers(), **(headers or {})}
        data = body.encode() if isinstance(body, str) else body
        if json is not None:
            data = _dumps(json)
            fields.setdefault("Content-Type", "application/json")
        if form is not None:
            data = urlencode(form).encode()
            fields.setdefault("Content-Type", "application/x-www-form-urlencoded")
        ask = Ask(method, target, tuple(fields.items()), data, "hook")
        answer = self._client.one(self._client.prepare(ask, None))
        if answer.problem:
            raise OSError(f"{method} {target}: {answer.problem}")
        self._keep_cookies(answer)
        return Reply(answer.status, dict(answer.headers), answer.body)

    def all_headers(self) -> dict[str, str]:
        """The fields to send, with the cookies."""
        fields = dict(self.headers)
        if self.cookies:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return fields

    def _keep_cookies(self, answer: Answer) -> None:
        for name, value in answer.headers:
            if name == "set-cookie":
                pair = value.partition(";")[0]
                key, _, content = pair.partition("=")
                self.cookies[key.strip()] = content.strip()


def _dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


@dataclass(frozen=True)
class Hook:
    """Immutable. Without a file everything is empty."""

    file: str = ""
    setup: Callable[[HookClient], None] | None = None
    check: Callable[[HookClient], None] | None = None
    counters: Sequence[Ask] = ()
    masks: Sequence[re.Pattern[str]] = field(default_factory=tuple)

    def prepare(self, client: Client) -> dict[str, str]:
        """Run `setup`; the header fields it wants each request to have. Raises ConfigError."""
        if self.setup is None:
            return {}
        own = HookClient(client)
        try:
            self.setup(own)
        except Exception as error:
            raise ConfigError(_failed(self.file, "setup", error)) from error
        return own.all_headers()

    def complaint(self, client: Client, sent: Mapping[str, int]) -> str:
        """Run `check`; what it raised, "" if it is content. Raises ConfigError for other
        mistakes than a failed assertion."""
        if self.check is None:
            return ""
        try:
            self.check(HookClient(client, dict(client.headers), sent))
        except AssertionError as error:
            return f"check() failed, {_place(self.file, error)}: {_said(self.file, error)}"
        except Exception as error:
            raise ConfigError(_failed(self.file, "check", error)) from error
        return ""


def _failed(file: str, function: str, error: Exception) -> str:
    what = _said(file, error)
    if not isinstance(error, AssertionError):
        what = f"{type(error).__name__}: {what}"
    return f"--check: {function}() failed, {_place(file, error)}: {what}"


def _said(file: str, error: Exception) -> str:
    """Its text; of an assertion without one its line."""
    return str(error) or linecache.getline(file, _line(file, error)).strip()


def _place(file: str, error: Exception) -> str:
    return f"{file}:{_line(file, error)}"


def _line(file: str, error: Exception) -> int:
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


_KNOWN = ("setup", "check", "counters", "masks")


def read_hook(path: str) -> Hook:
    """Run the file. Raises ConfigError, with the line where there is one."""
    if not Path(path).is_file():
        raise ConfigError(f"--check {path}: there is no such file")
    try:
        names = runpy.run_path(path, run_name="nogilserve_stress_check")
    except SyntaxError as error:
        raise ConfigError(f"--check: {path}:{error.lineno}: {error.msg}") from error
    except Exception as error:
        raise ConfigError(_failed(path, "the file", error).replace("()", "")) from error
    if not any(name in names for name in _KNOWN):
        raise ConfigError(f"--check {path}: it defines none of {', '.join(_KNOWN)}")
    for name in ("setup", "check"):
        if name in names and not callable(names[name]):
            raise ConfigError(f"--check {path}: {name} is no function")
    return Hook(
        path,
        names.get("setup"),
        names.get("check"),
        tuple(_counter(path, each) for each in names.get("counters", ())),
        tuple(_mask(path, each) for each in names.get("masks", ())),
    )


def _counter(path: str, text: object) -> Ask:
    method, _, target = str(text).partition(" ")
    if not isinstance(text, str) or not target.startswith("/") or not method.isalpha():
        raise ConfigError(f'--check {path}: counters: {text!r} should be like "GET /count"')
    return Ask(method.upper(), target, origin=path)


def _mask(path: str, text: object) -> re.Pattern[str]:
    try:
        return re.compile(str(text))
    except re.error as error:
        raise ConfigError(f"--check {path}: masks: {text!r} is no pattern: {error}") from error
