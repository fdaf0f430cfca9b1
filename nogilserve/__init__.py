"""nogilserve: a web server for free-threaded Python."""

__version__ = "0.1.0"
