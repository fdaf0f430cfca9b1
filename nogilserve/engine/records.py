"""What a connection notes of each request for the access log, and for whoever counts."""

import os
import re
from collections.abc import Callable
from time import monotonic, time
from typing import Final

from nogilserve.engine.meter import Meter, Observe
from nogilserve.errors import ProtocolError
from nogilserve.messages import Headers, Request, RequestRecord

__all__ = ["Recorded", "Recorder", "recorder"]


class Recorder:
    """What takes note of the finished requests of one core. Owner: as of the core."""

    __slots__ = ("ids", "meter", "put")

    def __init__(self, put: Callable[[RequestRecord], None] | None, meter: Meter | None) -> None:
        """`put` takes records for the access log; any thread, must not block."""
        self.put = put
        self.meter = meter
        self.ids = put is not None or (meter is not None and meter.ids)
        """Whether every request gets an id."""


_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
"""What an id of others may look like: it is written to logs and into response fields."""


def recorder(
    put: Callable[[RequestRecord], None] | None, observe: Observe | None
) -> Recorder | None:
    """That of a new core; None where nobody wants to know of requests."""
    if put is None and observe is None:
        return None
    return Recorder(put, None if observe is None else Meter(observe))


class Recorded:
    """The part of a connection that keeps notes. Owner: as of the connection."""

    __slots__ = (
        "_id",
        "_payload",
        "_sent_head",
        "_started",
        "_wall",
        "called",
        "client",
        "ready",
        "received",
        "request",
    )

    request: Request
    """The current request."""

    def __init__(self, client: tuple[str, str] | None) -> None:
        self.client = client
        self.received = 0
        """Bytes of the request body."""
        self._id = ""
        self._sent_head = b""
        self._payload = 0
        """Bytes of the body passed on."""
        self._started = 0.0
        """When the head was complete, monotonic; 0.0 while there is nothing to record."""
        self._wall = 0.0
        self.ready = 0.0
        """When there was nothing left to wait for but the application, monotonic."""
        self.called = 0.0
        """When the application was called, where somebody looks."""

    @property
    def request_id(self) -> str:
        """Made on first use: most requests never need one."""
        if not self._id:
            self._id = self._told_id() or os.urandom(6).hex()
        return self._id

    def _told_id(self) -> str:
        """The id that a trusted proxy has given the request, "" for none that can be used."""
        if getattr(self, "origins", None) is None:
            return ""
        told = [value for name, value in self.request.headers if name == "x-request-id"]
        return told[0] if len(told) == 1 and _ID.fullmatch(told[0]) else ""

    @property
    def known_id(self) -> str:
        """The request id if there is one already, else ""."""
        return self._id

    def _begin_record(self) -> None:
        self._started = self.ready = monotonic()
        self._wall = time()
        self._sent_head = b""
        self._payload = 0

    def note_refused(self, request: Request) -> None:
        """Remember a request that is refused before it begins."""
        self.request = request
        self._begin_record()

    def _record_refusal(
        self,
        record: Recorder,
        answer: bytes,
        refusal: ProtocolError,
        line: str,
    ) -> None:
        """Pass on a request that was never given to the application. `line`: the request line
        of a head that was not understood."""
        if not self._started:
            words = line.split(" ")
            method, target = words[:2] if len(words) == 3 else ("", "")
            self.request = Request(method, target, "", "", 1, [], "", 0, False, False, "")
            self._begin_record()
        self._sent_head = answer[: answer.index(b"\r\n\r\n") + 4] if answer else b""
        sent = len(answer) - len(self._sent_head)
        self._write_record(record, sent, complete=True, refusal=str(refusal))

    def _write_record(
        self,
        record: Recorder,
        sent: int,
        *,
        complete: bool,
        refusal: str = "",
    ) -> None:
        """Pass the finished request on; `sent`: bytes of the body handed to the system."""
        request = self.request
        seconds = monotonic() - self._started
        if record.meter is not None:
            status = int(self._sent_head[9:12]) if self._sent_head else 0
            record.meter.count(request, status, seconds, max(self.called - self.ready, 0.0))
        if record.put is not None:
            status, headers = _parse_head(self._sent_head)
            record.put(
                RequestRecord(
                    request_id=self.request_id,
                    client=self.client[0] if self.client else "",
                    method=request.method,
                    target=request.target,
                    minor=request.minor,
                    headers=request.headers,
                    status=status,
                    response_headers=headers,
                    sent=sent,
                    received=self.received,
                    started=self._wall,
                    seconds=seconds,
                    complete=complete,
                    refusal=refusal,
                )
            )
        self._started = 0.0


def _parse_head(head: bytes) -> tuple[int, Headers]:
    """Status and fields of a response head of ours; 0 and none for b""."""
    if not head:
        return 0, []
    status, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    fields = (line.partition(": ") for line in lines)
    return int(status[9:12]), [(name, value) for name, _, value in fields]
