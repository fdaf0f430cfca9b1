"""Addresses to listening sockets: TCP, unix, inherited descriptors."""

from nogilserve.sockets.listen import Listener, open_listeners

__all__ = ["Listener", "open_listeners"]
