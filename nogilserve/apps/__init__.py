"""From the name of an application to the application.

`find` imports it, `hints` says what is there where that fails, `interface` tells how it is called,
`gil` notices an extension module that switched the GIL back on, `loopbound` finds what belongs to
one event loop. Knows no configuration, no server, no socket. Runs once, at start, on one thread.
"""

from nogilserve.apps.find import LoadedApp, adopt_app, load_app
from nogilserve.apps.gil import FREE_THREADED, gil_is_on, gil_watch
from nogilserve.apps.interface import Interface, detect_interface

__all__ = [
    "FREE_THREADED",
    "Interface",
    "LoadedApp",
    "adopt_app",
    "detect_interface",
    "gil_is_on",
    "gil_watch",
    "load_app",
]
