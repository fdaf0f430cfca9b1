"""The first message of a TLS client, read without answering: who is wanted, what is spoken."""

from nogilserve.protocols.tls.hello import HANDSHAKE, HELLO_MOST, Hello, read_hello

__all__ = ["HANDSHAKE", "HELLO_MOST", "Hello", "read_hello"]
