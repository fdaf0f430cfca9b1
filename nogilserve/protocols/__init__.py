"""Wire protocols, sans-IO: bytes in, messages out; messages in, bytes out."""
