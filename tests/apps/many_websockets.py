"""A load of WebSocket clients in a process of its own: `python -m tests.apps.many_websockets`.

Arguments: PORT COUNT MESSAGES. Opens COUNT connections to /ws/echo, sends MESSAGES numbered
messages on each, without waiting for the answers, and checks that all come back, in order. Then it
writes "ready" and waits for the server's Close frames. At the end it writes one line of JSON: how
many connections were opened, how many messages came back in order, the codes of the closes.
"""

import asyncio
import json
import resource
import sys
from collections import Counter

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Ping, Request, TextMessage

__all__ = ["main"]

AT_ONCE = 100
"""Handshakes that are under way at the same time."""


class Socket:
    """One client. Owner: the event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self.events: list[Event] = []

    async def next(self) -> Event | None:
        """The next event, None at the end of the stream."""
        while not self.events:
            data = await self.reader.read(65536)
            if not data:
                return None
            self.protocol.receive_data(data)
            self.events.extend(self.protocol.events())
        event = self.events.pop(0)
        if isinstance(event, Ping):
            self.writer.write(self.protocol.send(event.response()))
            return await self.next()
        return event

    async def open(self) -> None:
        """The handshake."""
        self.writer.write(self.protocol.send(Request("localhost", "/ws/echo")))
        event = await self.next()
        assert isinstance(event, AcceptConnection), event

    async def talk(self, messages: int, number: int) -> int:
        """Send numbered messages, read them back; how many came in order."""
        for turn in range(messages):
            self.writer.write(self.protocol.send(TextMessage(f"{number}/{turn}")))
        await self.writer.drain()
        for turn in range(messages):
            text = ""
            while True:
                event = await self.next()
                if not isinstance(event, TextMessage):
                    return turn
                text += event.data
                if event.message_finished:
                    break
            if text != f"{number}/{turn}":
                return turn
        return messages

    async def closed(self) -> int | None:
        """The code of the server's Close frame; None where the connection ends without one."""
        while (event := await self.next()) is not None:
            if isinstance(event, CloseConnection):
                self.writer.write(self.protocol.send(event.response()))
                return event.code
        return None


async def main(port: int, count: int, messages: int) -> None:
    """Everything."""
    gate = asyncio.Semaphore(AT_ONCE)
    sockets: list[Socket] = []

    async def connect() -> None:
        async with gate:
            socket = Socket(*await asyncio.open_connection("127.0.0.1", port))
            await socket.open()
            sockets.append(socket)

    await asyncio.gather(*(connect() for _ in range(count)))
    back = await asyncio.gather(*(s.talk(messages, n) for n, s in enumerate(sockets)))
    print("ready", flush=True)
    codes = Counter(await asyncio.gather(*(socket.closed() for socket in sockets)))
    for socket in sockets:
        socket.writer.close()
    found = {"opened": len(sockets), "in order": sum(back)}
    print(json.dumps(found | {"codes": {str(code): codes[code] for code in codes}}), flush=True)


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(main(*map(int, sys.argv[1:])))
