"""Access logs of several sites: each record goes to the log of the site it was for."""

from collections.abc import Callable, Sequence

from nogilserve.messages import RequestRecord
from nogilserve.observe.accesslog import AccessLog

__all__ = ["SiteLogs", "authority_and_path"]


class SiteLogs(AccessLog):
    """The server's own log, and those of sites that have others. Threads: as of AccessLog."""

    def __init__(
        self,
        path: str,
        form: str,
        generation: int,
        tenant: str,
        others: Sequence[tuple[str, str]],
        choose: Callable[[str, str], int],
    ) -> None:
        """`path` and `form`: of the server's own log, "" for none. `others`: path and format of
        further ones; `choose` gives for an authority and a path the index of the one to write
        to, len(others) for the server's own, -1 for none. Raises OSError."""
        super().__init__(path or "-", form, generation, tenant)
        self._own = bool(path)
        self._choose = choose
        self._others: list[AccessLog] = []
        try:
            for other, its_form in others:
                self._others.append(AccessLog(other, its_form, generation, tenant))
        except OSError:
            for log in self._others:
                log.start()
                log.close()
            raise

    def start(self) -> None:
        """Start the writers."""
        super().start()
        for log in self._others:
            log.start()

    def put(self, record: RequestRecord) -> None:
        """Have a record written to the log of its site. Any thread."""
        index = self._choose(*authority_and_path(record))
        if 0 <= index < len(self._others):
            self._others[index].put(record)
        elif index >= 0 and self._own:
            super().put(record)

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, and close the files."""
        super().close(timeout)
        for log in self._others:
            log.close(timeout)

    def reopen(self) -> None:
        """Have the files opened anew. Any thread."""
        super().reopen()
        for log in self._others:
            log.reopen()


def authority_and_path(record: RequestRecord) -> tuple[str, str]:
    """What a request was for, from its record. An absolute target's host is among the fields."""
    authority = next((value for name, value in record.headers if name == "host"), "")
    path = record.target.partition("?")[0]
    if "://" in path:
        path = "/" + path.partition("://")[2].partition("/")[2]
    return authority, path
