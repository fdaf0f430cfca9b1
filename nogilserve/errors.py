"""Every error nogilserve raises on purpose.

NogilserveError
├── ConfigError          an option, a variable or a file is wrong: exit status 2, nothing bound
├── BindError            an address cannot be listened on: exit status 1
├── ControlError         a running server cannot be told something: exit status 1
├── StorageError         where certificates are kept cannot be read or written; may be tried again
├── AppImportError       the application cannot be found or imported: exit status 3
├── ProtocolError        the peer broke the protocol; carries the status to answer with
├── TruncatedBody        the peer went away in the middle of a request body
├── ClientDisconnected   the peer went away, or stopped reading, while a response was written
└── ResponseError        the application broke the rules of its interface (two starts …)

A ProtocolError is the peer's mistake, a ResponseError the application's; the two never mix.
"""

__all__ = [
    "AppImportError",
    "BindError",
    "ClientDisconnected",
    "ConfigError",
    "ControlError",
    "NogilserveError",
    "ProtocolError",
    "ResponseError",
    "StorageError",
    "TruncatedBody",
]


class NogilserveError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(NogilserveError):
    """An option, environment variable or configuration file is wrong.

    The message names the option, the value, and what is allowed.
    """


class BindError(NogilserveError):
    """An address cannot be listened on; the message says which, why and what to do."""


class ControlError(NogilserveError):
    """A command for a running server cannot be given or was not carried out; says why."""


class StorageError(NogilserveError):
    """Where certificates are kept cannot be read or written now; the message says where and why."""


class AppImportError(NogilserveError):
    """The application cannot be found or imported.

    `detail` is the traceback of the failed import, "" when the import itself was fine
    and only the name was wrong.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class ProtocolError(NogilserveError):
    """The peer sent something that the standard forbids or that a limit refuses.

    `status` is the HTTP status to answer with (RFC 9110 §15), `message` one sentence for the
    client that names what was wrong, `section` the rule, for example "RFC 9112 §6.3";
    `headers` are fields that the answer must have, such as the versions that are spoken.
    After it the connection is closed; nothing behind the faulty bytes is ever run.
    """

    def __init__(
        self,
        status: int,
        message: str,
        section: str = "",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(status, message, section, headers)
        self.status = status
        self.message = message
        self.section = section
        self.headers = headers

    def __str__(self) -> str:
        where = f" ({self.section})" if self.section else ""
        return f"{self.status}: {self.message}{where}"


class TruncatedBody(NogilserveError, OSError):
    """The peer closed or stalled before the request body was complete.

    It is an OSError because that is what frameworks expect of a failing `wsgi.input`.
    """


class ClientDisconnected(NogilserveError, ConnectionError):
    """The peer is gone, or has read nothing for the stall timeout, while we were sending."""


class ResponseError(NogilserveError):
    """The application broke the rules of its interface; the message says which rule."""
