"""What the server says: in responses, in logs."""

from typing import Final

from nogilserve.config.declare import group, option
from nogilserve.config.formats import ACCESS_FORMAT
from nogilserve.config.kinds import FLAG, LOG_FILE, choice
from nogilserve.config.routes import FIELD_EDIT

__all__ = ["LOGGING", "RESPONSES", "Output"]

RESPONSES: Final = "Responses"
LOGGING: Final = "Logging"


@group
class Output:
    """The part of Config about responses and logs."""

    server_header: bool = option(
        True,
        "--server-header",
        FLAG,
        "Send a Server header where the application sends none.",
        section=RESPONSES,
    )
    compress: str = option(
        "off",
        "--compress",
        choice("off", "auto", "zstd", "br", "gzip"),
        """Compress what the application sends, for clients that take it: text of at least 512
        bytes that is not compressed already. auto takes zstd (Python 3.14), br (the package
        brotli; not on free-threaded builds) or gzip, as the client prefers. Read docs/static.md
        about secrets first.""",
        section=RESPONSES,
        metavar="CODING",
    )
    headers: tuple[str, ...] = option(
        (),
        "--header",
        FIELD_EDIT,
        """Change the header of responses: "X-Frame-Options: DENY" sets a field, "+Link: …" adds
        one, "?Cache-Control: no-store" sets it where it is missing, "-X-Powered-By" removes it.
        Repeatable.""",
        section=RESPONSES,
        metavar="FIELD",
        many=True,
    )
    access_log: str = option(
        "",
        "--access-log --access-logs --access-logfile",
        LOG_FILE,
        """Log requests to FILE, or to standard output for "-" or when FILE is left out (then APP
        comes first).""",
        section=LOGGING,
        metavar="FILE",
        default_text="off",
        bare="-",
    )
    access_log_format: str = option(
        "combined",
        "--access-log-format --access-logformat --access-log-fmt",
        ACCESS_FORMAT,
        'combined, common, json, or Apache atoms such as "%h %r %>s %b %D".',
        section=LOGGING,
        metavar="FORMAT",
    )
    log_level: str = option(
        "info",
        "--log-level",
        choice("critical", "error", "warning", "info", "debug"),
        "Least important messages that are logged.",
        section=LOGGING,
        metavar="LEVEL",
        default_text="info, or debug with --debug",
    )
    debug: bool = option(
        False,
        "--debug",
        FLAG,
        """For development: the traceback of a failed request goes into the response, and messages
        are logged at level debug unless --log-level says otherwise. Never where strangers see
        it.""",
        section=LOGGING,
    )
