"""Packages that are known for trouble without the GIL, or that tell how many threads make sense.

Data, as of 2026-11-22; which extension switches the GIL on is found by importing it, and what is
known of newer releases is in `nogilserve.apps.origin`.
"""

from typing import Final

__all__ = ["TROUBLE", "WAITING"]

TROUBLE: Final = {
    # top-level module: (problem rather than note, what is known)
    "gevent": (
        True,
        "gevent replaces threads by greenlets on one thread: leave out its monkey patching",
    ),
    "eventlet": (
        True,
        "eventlet replaces threads by greenlets on one thread: leave out its monkey patching",
    ),
    "psycopg2": (
        True,
        "psycopg2 will not support free threading: psycopg without its C parts keeps the GIL off",
    ),
    "orjson": (True, "orjson has no release for free threading: msgspec, ujson keep the GIL off"),
    "grpc": (False, "grpcio has no wheel for free-threaded builds yet"),
    "ddtrace": (False, "ddtrace has no wheel for free-threaded builds yet"),
    "nest_asyncio": (
        False,
        "nest_asyncio patches asyncio in ways that several loops do not expect",
    ),
}
"""What is known of packages, if an application imports them."""

WAITING: Final = (
    # Top-level modules of libraries whose calls wait for a network: threads that wait cost nothing.
    *(
        "MySQLdb",
        "boto3",
        "cassandra",
        "elasticsearch",
        "grpc",
        "httpx",
        "ldap",
        "mysql",
        "oracledb",
    ),
    *("pika", "psycopg", "psycopg2", "pymongo", "pymysql", "pyodbc", "redis", "requests", "stripe"),
    *("sqlalchemy", "suds", "urllib3", "valkey", "zeep"),
)
"""Libraries that block a thread while they wait."""
