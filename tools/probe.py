"""Say whether the running interpreter is fit for nogilserve.

Prints "ft VERSION" or "gil VERSION" and exits 0, or prints what is wrong and exits 1. It is run
by interpreters that nothing is known about, so it must also parse on very old ones.
"""

import sys


def complaint():  # type: () -> str
    """What this interpreter lacks, or an empty string."""
    if sys.version_info < (3, 13):
        return "it is Python {}.{}, 3.13 or later is needed".format(*sys.version_info[:2])
    if sys.implementation.name != "cpython":
        return "it is {}, CPython is needed".format(sys.implementation.name)
    missing = []
    for name in ("bz2", "ctypes", "ensurepip", "lzma", "sqlite3", "ssl", "venv", "zlib"):
        try:
            __import__(name)
        except Exception as error:  # a broken extension may raise anything
            missing.append("{} ({})".format(name, error))
    if missing:
        return "it cannot import " + ", ".join(missing)
    return ""


def main():  # type: () -> int
    """Print the verdict; the result is the exit status."""
    problem = complaint()
    if problem:
        print(problem)
        return 1
    import sysconfig

    kind = "ft" if sysconfig.get_config_var("Py_GIL_DISABLED") else "gil"
    print("{} {}".format(kind, sys.version.split()[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
