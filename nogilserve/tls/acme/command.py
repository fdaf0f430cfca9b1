"""`nogilserve certs list|renew|import|export`: certificates of automatic HTTPS, by hand.

The command works on the storage, whether a server runs or not; one that runs notices a change
within seconds. Only `renew` needs it running: somebody has to answer the authority's challenges.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from nogilserve.config import Config, resolve
from nogilserve.config.hostnames import ascii_host
from nogilserve.errors import ConfigError, ControlError, StorageError
from nogilserve.tls.acme.jobs import Jobs, duration, find_certificate, store
from nogilserve.tls.acme.settings import settings_of
from nogilserve.tls.acme.timing import Nothing, decide
from nogilserve.tls.storage import Storage, open_storage
from nogilserve.tls.storage.records import IMPORTED, Certificate, Plan, certificate_key, plan_key

__all__ = ["run"]

_HELP: Final = """usage: nogilserve certs list
       nogilserve certs renew [NAME …]
       nogilserve certs import CERTIFICATE [KEY]
       nogilserve certs export NAME [DIRECTORY]

Certificates of automatic HTTPS.

  list    Those that are kept, until when, and when they are renewed.
  renew   Obtain new ones now, for the given names or every --domain.
  import  Keep a certificate of your own: PEM files, the chain in order; KEY may be left out
          where CERTIFICATE holds the private key, too.
  export  Write NAME.crt and NAME.key into a directory, by default this one.

Options behind the operands are those of the server; --storage, --domain and --acme-… count, and
so do the configuration file and the environment.
"""
_OPERANDS: Final = {"list": (0, 0), "renew": (0, 999), "import": (1, 2), "export": (1, 2)}
_ELSEWHERE: Final = 120.0
"""Seconds to wait for somebody else who is obtaining the same certificate."""
_AGAIN: Final = 1.0
"""Seconds between two looks at whether he is done."""


def run(argv: Sequence[str], environ: Mapping[str, str], directory: Path) -> int:
    """Carry out `argv`, what stands behind "certs"; the exit status. Raises ConfigError,
    ControlError."""
    words = list(argv)
    if not words or words[0] in ("-h", "--help"):
        print(_HELP, end="")
        return 0
    action = words.pop(0)
    operands = []
    while words and not words[0].startswith("-"):
        operands.append(words.pop(0))
    if action not in _OPERANDS:
        raise ConfigError(f"certs {action!r}: there is list, renew, import and export")
    if words and words[0] in ("-h", "--help"):
        print(_HELP, end="")
        return 0
    least, most = _OPERANDS[action]
    if not least <= len(operands) <= most:
        usage = next(line for line in _HELP.splitlines() if f"certs {action}" in line)
        raise ConfigError(f"certs {action}: expected is{usage.partition('nogilserve')[2]}")
    config = resolve(words, environ, directory).config
    if config.chdir:
        os.chdir(directory / config.chdir)  # as the server does, before it looks for the storage
    storage = open_storage(config.storage)
    try:
        return _carry_out(action, operands, config, storage, directory)
    except StorageError as error:
        raise ControlError(str(error)) from None
    finally:
        storage.close()


def _carry_out(
    action: str, operands: list[str], config: Config, storage: Storage, directory: Path
) -> int:
    if action == "list":
        return _list(config, storage)
    if action == "import":
        return _import(operands, storage, directory)
    if action == "export":
        return _export(_name(operands[0]), directory / (operands[1:] or ["."])[0], storage)
    names = [_name(word) for word in operands] or list(config.domains)
    if not names:
        raise ConfigError("certs renew: name them, or give --domain")
    return max([_renew(name, config, storage) for name in names])


def _name(word: str) -> str:
    try:
        return ascii_host(word)
    except ValueError as error:
        raise ConfigError(f"certs: {word!r} is no host name: {error}") from None


# ---- list


def _list(config: Config, storage: Storage) -> int:
    found = []
    for key in storage.keys("certificates"):
        certificate = Certificate.decode(storage.read(key))
        if certificate is not None:
            name = next((n for n in certificate.names if certificate_key(n) == key), "?")
            found.append((name, certificate))
    missing = [name for name in config.domains if find_certificate(storage, name) is None]
    now = time.time()
    for name, certificate in found:
        print(f"{name}: {_about(name, certificate, storage, now)}")
    for name in missing:
        plan = Plan.decode(storage.read(plan_key(name)))
        why = f"; {_trouble(plan, now)}" if plan.failures else ""
        print(f"{name}: no certificate yet{why}")
    if not found and not missing:
        print(f"There are no certificates in {storage.where}.")
    return 0


def _about(name: str, certificate: Certificate, storage: Storage, now: float) -> str:
    until = datetime.fromtimestamp(certificate.not_after).astimezone()
    left = certificate.not_after - now
    words = [
        f"valid for {duration(left)}, until {until:%Y-%m-%d %H:%M %Z}"
        if left > 0
        else f"expired on {until:%Y-%m-%d %H:%M %Z}",
    ]
    if certificate.issuer == IMPORTED:
        words.append("imported")
    else:
        plan = Plan.decode(storage.read(plan_key(name)))
        step = decide(certificate, plan, certificate.issuer, now, asks=False)
        words.append(f"from {certificate.issuer}")
        words.append(
            f"to be renewed in {duration(step.until - now)}"
            if isinstance(step, Nothing)
            else "to be renewed now"
        )
        if plan.failures:
            words.append(_trouble(plan, now))
    return ", ".join(words)


def _trouble(plan: Plan, now: float) -> str:
    times = "once" if plan.failures == 1 else f"{plan.failures} times"
    return f"failed {times}, next attempt in {duration(plan.retry_at - now)}: {plan.error}"


# ---- renew


def _renew(name: str, config: Config, storage: Storage) -> int:
    _require("renew")
    never = threading.Event()

    def wait(seconds: float) -> None:
        never.wait(seconds)

    def save(name: str, certificate: Certificate) -> None:
        store(storage, name, certificate)

    jobs = Jobs(settings_of(config), storage, wait, save)
    deadline = time.monotonic() + _ELSEWHERE
    before = find_certificate(storage, name)
    print(f"{name}: asking {config.acme_url}", flush=True)
    outcome = jobs.step(name, force=True)
    while outcome.elsewhere and time.monotonic() < deadline:
        wait(_AGAIN)
        if find_certificate(storage, name) != before:
            print(f"{name}: another process has just obtained one")
            return 0
        outcome = jobs.step(name, force=True)
    if outcome.changed:
        print(f"{name}: there is a new certificate; a running server shows it within seconds")
        return 0
    reason = outcome.error or "another process is obtaining it, and does not come to an end"
    print(f"{name}: no new certificate: {reason}")
    return 1


# ---- import, export


def _import(operands: list[str], storage: Storage, directory: Path) -> int:
    _require("import")
    from nogilserve.tls.acme.material import Unusable, imported

    texts = [_text(directory / word) for word in operands]
    try:
        certificate = imported(texts[0], texts[-1])
    except Unusable as error:
        raise ConfigError(f"certs import: {operands[0]}: {error}") from None
    if certificate.not_after <= time.time():
        raise ConfigError(f"certs import: {operands[0]}: the certificate has expired")
    for name in certificate.names:
        store(storage, name, certificate)
        storage.remove(plan_key(name))
    left = duration(certificate.not_after - time.time())
    print(f"Kept in {storage.where}: {', '.join(certificate.names)}, valid for {left}")
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError as error:
        raise ConfigError(f"certs import: cannot read {path}: {error.strerror}") from None


def _export(name: str, directory: Path, storage: Storage) -> int:
    certificate = find_certificate(storage, name)
    if certificate is None:
        raise ControlError(f"there is no certificate for {name} in {storage.where}")
    plain = name.replace("*", "_wildcard")
    try:
        for suffix, text, mode in (
            (".crt", certificate.chain, 0o644),
            (".key", certificate.key, 0o600),
        ):
            path = directory / f"{plain}{suffix}"
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(fd, "w", encoding="ascii") as file:
                os.chmod(path, mode)
                file.write(text)
            print(f"Wrote {path}")
    except OSError as error:
        raise ControlError(f"cannot write into {directory}: {error.strerror}") from None
    return 0


def _require(action: str) -> None:
    from importlib.util import find_spec

    for module in ("acme", "cryptography"):
        if find_spec(module) is None:
            raise ConfigError(f"certs {action} needs {module}: pip install 'nogilserve[acme]'")
