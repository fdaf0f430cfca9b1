"""A web server for free-threaded Python: one process, one copy of the application, every core."""

__version__ = "0.1.0"
