"""Guests that the scenes of both engines have: what clients do, and what must come of it."""

from collections.abc import Callable

from stress.stage import Gone, Guest, Stage, piece

__all__ = [
    "Client",
    "answered",
    "dawdling",
    "expecting",
    "half_a_body",
    "half_a_head",
    "idling",
    "just_in_time",
    "knocking",
    "leaving",
    "patient",
    "pipelined",
    "refusable",
    "request",
    "several",
]

Client = Callable[[Stage], None]
"""The body of a guest's actor."""


def several(*asks: tuple[str, int], within: float = 600.0) -> Client:
    """A guest who asks one thing after the other on one connection."""

    def guest(stage: Stage) -> None:
        client = stage.client(stage)
        for kind, number in asks:
            client.expect(client.ask(kind, number), within=within)
        client.leave()

    return guest


def pipelined(*asks: tuple[str, int]) -> Client:
    """A guest who asks everything at once."""

    def guest(stage: Stage) -> None:
        client = stage.client(stage)
        for nonce in [client.ask(kind, number) for kind, number in asks]:
            client.expect(nonce)
        client.leave()

    return guest


def leaving(kind: str, number: int, read: int = 0, receive_buffer: int = 4096) -> Client:
    """A guest who goes in the middle of the answer."""

    def guest(stage: Stage) -> None:
        client = stage.client(stage, receive_buffer)
        try:
            client.ask(kind, number)
            client.ask("fast")
            for _ in range(read):
                client._more()
        except Gone:
            pass
        client.leave()

    return guest


def dawdling(kind: str, number: int) -> Client:
    """A guest who reads a large answer in small pieces."""

    def guest(stage: Stage) -> None:
        client = stage.client(stage, 4096)
        nonce = client.ask(kind, number)
        stage.world.sleep("client.dawdle", 0.2)
        whole = nonce.encode() * number
        if kind == "stream":
            whole = b"".join(piece(nonce, place) for place in range(number))
        client.expect(nonce, whole)
        client.expect(client.ask("fast"))
        client.leave()

    return guest


def knocking(stage: Stage) -> None:
    """A guest who comes when the server goes: a request that was run is answered."""
    for _ in range(3):
        nonces: list[str] = []
        try:
            client = stage.client(stage)
            nonces.append(client.ask("fast"))
            reply = client.receive()
        except (Gone, OSError):
            if any(map(stage.was_run, nonces)):
                stage.world.fail(f"{nonces} was run, and not answered")
            return
        if reply.body != nonces[0].encode():
            stage.world.fail(f"{nonces} was answered with {reply}")
        client.leave()


def request(kind: str, nonce: str, number: int = 0) -> bytes:
    """The bytes of one."""
    return f"GET /{kind}/{nonce}/{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def answered(stage: Stage, client: Guest, nonce: str) -> None:
    """The next response is the one to that request. Raises Gone where the server has ended an idle
    connection."""
    try:
        reply = client.receive()
    except Gone:
        if stage.was_run(nonce):
            stage.world.fail(f"request {nonce} was run, and not answered")
        raise
    if reply.status != 200 or reply.body != nonce.encode():
        stage.world.fail(f"request {nonce} was answered with {reply}")


def idling(*asks: tuple[str, int]) -> Client:
    """A guest who asks one thing after the other, and may be late."""

    def guest(stage: Stage) -> None:
        try:
            client = stage.client(stage)
        except OSError:
            return  # the server does not listen any more
        for kind, number in asks:
            nonce = stage.nonce()
            try:
                client.send(request(kind, nonce, number))
                answered(stage, client, nonce)
            except Gone:
                break
        client.leave()

    return guest


def just_in_time(seconds: float) -> Client:
    """A guest whose next requests come, together, about when the connection's time is over."""

    def guest(stage: Stage) -> None:
        client = stage.client(stage)
        first, *others = stage.nonce(), stage.nonce(), stage.nonce()
        try:
            client.send(request("fast", first))
            answered(stage, client, first)
            stage.world.sleep("client.dawdle", seconds)
            client.send(request("sleep", others[0], 2) + request("fast", others[1]))
            for nonce in others:
                answered(stage, client, nonce)
        except Gone:
            # The server may end an idle connection, but not one whose request it has taken up.
            taken = [nonce for nonce in others if stage.was_run(nonce)]
            if len(taken) == 1:
                stage.world.fail(f"of {others} only {taken} was run, then the end")
        client.leave()

    return guest


def half_a_head(stage: Stage) -> None:
    """A guest whose head takes about as long as a head may."""
    client = stage.client(stage)
    nonce = stage.nonce()
    head = f"GET /fast/{nonce}/0 HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    client.send(head[:20])
    stage.world.sleep("client.dawdle", 1.0)
    try:
        client.send(head[20:])
        reply = client.receive()
    except Gone:
        client.leave()
        return
    if reply.status not in (200, 408) or (reply.status == 200) != stage.was_run(nonce):
        stage.world.fail(f"half a head was answered with {reply}")
    client.leave()


def refusable(*asks: tuple[str, int]) -> Client:
    """A guest who may be told to come again."""

    def guest(stage: Stage) -> None:
        client = stage.client(stage)
        for kind, number in asks:
            nonce = client.ask(kind, number)
            reply = client.receive()
            if reply.status == 503:
                stage.counts["refused"] += 1
                if stage.was_run(nonce):
                    stage.world.fail(f"request {nonce} was run and refused")
            elif reply.status != 200 or reply.body != nonce.encode():
                stage.world.fail(f"request {nonce} was answered with {reply}")
            if reply.seconds > 0.5 and number < 100:
                stage.world.fail(f"request {nonce} has waited for {reply.seconds:.3f} s")
        client.leave()

    return guest


def patient(number: int) -> Client:
    """A guest whose request takes about as long as it may."""

    def guest(stage: Stage) -> None:
        stage.threads = 16  # those that were given up are replaced
        client = stage.client(stage)
        nonce = client.ask("sleep", number)
        reply = client.receive()
        good = reply.status == 200 and reply.body == nonce.encode()
        if not good and reply.status != 504:
            stage.world.fail(f"request {nonce} was answered with {reply}")
        if good:
            client.expect(client.ask("fast"))
        client.leave()

    return guest


def expecting(stage: Stage) -> None:
    """A guest who sends the body when it is told to."""
    client = stage.client(stage)
    nonce = stage.nonce()
    head = f"POST /upload/{nonce}/0 HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n"
    client.send(f"{head}Expect: 100-continue\r\n\r\n".encode())
    client._until(b"100 Continue\r\n\r\n")
    client.send(b"x" * 70_000)
    client.expect(nonce, b"70000")
    client.leave()


def half_a_body(stage: Stage) -> None:
    """A guest who goes in the middle of what the application reads."""
    client = stage.client(stage)
    head = f"POST /upload/{stage.nonce()}/0 HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n"
    try:
        client.send(f"{head}Expect: 100-continue\r\n\r\n".encode() + b"x" * 100)
    except Gone:
        pass
    client.leave()
