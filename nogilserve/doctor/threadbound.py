"""Types whose objects one thread at a time may use, and pools: data for the doctor.

Names as in `nogilserve.apps.loopbound_types`: "module:qualified.name" of a class in the MRO.
"""

from typing import Final

__all__ = ["POOLED", "THREAD_BOUND"]

_SQLITE: Final = (
    "used by another thread than the one that opened it, it raises ProgrammingError; with "
    "check_same_thread=False all threads share one transaction: open one for each request"
)
_ONE_CONNECTION: Final = (
    "threads that use one connection at once mix up its answers: take one for each request, "
    "from a pool"
)
_NOT_SAFE: Final = "its documentation does not allow it to be shared by threads"

THREAD_BOUND: Final = {
    # entry: (is it a problem or only worth a note, why)
    "sqlite3:Connection": (True, _SQLITE),
    "sqlite3:Cursor": (True, _SQLITE),
    "pymysql.connections:Connection": (True, _ONE_CONNECTION),
    "MySQLdb.connections:Connection": (True, _ONE_CONNECTION),
    "mysql.connector.connection:MySQLConnection": (True, _ONE_CONNECTION),
    "mysql.connector.connection_cext:CMySQLConnection": (True, _ONE_CONNECTION),
    "http.client:HTTPConnection": (True, _ONE_CONNECTION),
    "ftplib:FTP": (True, _ONE_CONNECTION),
    "imaplib:IMAP4": (True, _ONE_CONNECTION),
    "poplib:POP3": (True, _ONE_CONNECTION),
    "smtplib:SMTP": (True, _ONE_CONNECTION),
    "sqlalchemy.engine.base:Connection": (True, _ONE_CONNECTION),
    "sqlalchemy.orm.session:Session": (True, f"{_NOT_SAFE}: take one for each request"),
    "boto3.resources.base:ServiceResource": (False, f"{_NOT_SAFE}: make one for each thread"),
    "boto3.session:Session": (False, f"{_NOT_SAFE}: make one for each thread"),
    "requests.sessions:Session": (False, f"{_NOT_SAFE}: cookies and adapters may get mixed up"),
    "numpy.random._generator:Generator": (False, "threads that draw from it may get equal numbers"),
}

POOLED: Final = {
    "psycopg_pool.pool:ConnectionPool": ("_max_size", ""),
    "sqlalchemy.engine.base:Engine": ("pool._pool.maxsize", "pool._max_overflow"),
}
"""Pools of connections, and the attributes whose sum is the most that they give out."""
