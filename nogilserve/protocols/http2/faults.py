"""The two kinds of errors that a peer can make."""

__all__ = ["Fatal", "StreamFault"]


class Fatal(Exception):
    """An error of the connection (RFC 9113 §5.4.1)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class StreamFault(Exception):
    """An error of a stream (RFC 9113 §5.4.2)."""

    def __init__(self, stream: int, code: int, reason: str) -> None:
        super().__init__(stream, code, reason)
        self.stream = stream
        self.code = code
        self.reason = reason
