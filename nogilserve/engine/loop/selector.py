"""asyncio's selector, where it serves our connections itself."""

import selectors
from collections.abc import Iterator, Mapping
from typing import Any, Final

from nogilserve.engine.loop.direct import DirectSockets
from nogilserve.engine.poller import READ, WRITE, Poller

__all__ = ["DirectSelector"]

# selectors has its own names for the same bits.
_MASK: Final = {
    0: 0,
    selectors.EVENT_READ: READ,
    selectors.EVENT_WRITE: WRITE,
    selectors.EVENT_READ | selectors.EVENT_WRITE: READ | WRITE,
}


class DirectSelector(DirectSockets, selectors.BaseSelector):
    """Given to asyncio like any other; it tells asyncio only of what is not ours. Owner: the thread
    of the loop."""

    def __init__(self, poller: Poller) -> None:
        super().__init__(poller)
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._map = _Registered(self._keys)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Serve our connections; what else is ready."""
        seconds = -1 if timeout is None else max(timeout, 0)
        events = self.poller.poll(0 if self.many else seconds)
        if not events and self.many and seconds:
            events = self.waiting.wait(self.poller, seconds)
        others = []
        for fd, mask in self.serve(events):
            if (key := self._keys.get(fd)) is not None:
                # An error or a hang-up is found by reading or writing.
                ready = (selectors.EVENT_READ if mask & ~WRITE else 0) | (
                    selectors.EVENT_WRITE if mask & ~READ else 0
                )
                others.append((key, ready & key.events))
        return others

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See selectors.BaseSelector."""
        fd = _descriptor(fileobj)
        if fd in self._keys or fd in self.transports:
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        self.poller.register(fd, _MASK[events])
        key = selectors.SelectorKey(fileobj, fd, events, data)
        self._keys[fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """See selectors.BaseSelector."""
        key = self._map[fileobj]
        del self._keys[key.fd]
        if key.fd not in self.transports:  # else it was closed, and its number is ours now
            try:
                self.poller.unregister(key.fd)
            except OSError:
                pass  # it was closed first, and the system has forgotten it
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See selectors.BaseSelector."""
        key = self._map[fileobj]
        if events != key.events and key.fd not in self.transports:
            self.poller.modify(key.fd, _MASK[events])
        key = key._replace(events=events, data=data)
        self._keys[key.fd] = key
        return key

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """See selectors.BaseSelector."""
        return self._map

    def close(self) -> None:
        """See selectors.BaseSelector. Connections that are left end with their loop."""
        self._keys.clear()
        super().close()


class _Registered(Mapping[Any, selectors.SelectorKey]):
    """What is registered, by descriptor or by file; asyncio looks for either. Owner: the
    selector's."""

    def __init__(self, keys: dict[int, selectors.SelectorKey]) -> None:
        self._keys = keys

    def __getitem__(self, fileobj: Any) -> selectors.SelectorKey:
        if isinstance(fileobj, int):
            return self._keys[fileobj]
        try:
            return self._keys[_descriptor(fileobj)]
        except ValueError:
            # Closed already: it has no number any more.
            for key in self._keys.values():
                if key.fileobj is fileobj:
                    return key
            raise KeyError(f"{fileobj!r} is not registered") from None

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _descriptor(fileobj: Any) -> int:
    """The number of a file, or what is one already. Raises ValueError."""
    try:
        fd = fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"Invalid file object: {fileobj!r}") from None
    if fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd
