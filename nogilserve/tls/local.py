"""Where the user's own certificate authority is, and having it make certificates."""

import hashlib
import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from nogilserve.config import Config
from nogilserve.errors import ConfigError
from nogilserve.tls.storage.places import data_folder
from nogilserve.tls.x509 import certificates_in, read_certificate

__all__ = ["authority_file", "ensure_authority", "ensure_leaf", "is_due", "leaf_for", "renew_leaf"]

_log = logging.getLogger("nogilserve.tls")

_ROOT: Final = str(Path(__file__).resolve().parents[2])
_CODE: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); import nogilserve; del sys.path[0]; "
    "from nogilserve.tls.certs import main; sys.exit(main())"
)
_ALWAYS: Final = ("localhost", "127.0.0.1", "::1")
_RENEW: Final = timedelta(days=30)
_SECONDS: Final = 60.0
"""For making certificates."""


def _folder() -> Path:
    return data_folder() / "local-ca"


def authority_file() -> Path:
    """The certificate of the authority, PEM; it may not be there yet."""
    return _folder() / "root.pem"


def _names(config: Config) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*_ALWAYS, *config.tls_names)))


def leaf_for(config: Config) -> str:
    """The file with the certificate and key for the names of the configuration; made if it is not
    there. Raises ConfigError."""
    path = _leaf(config)
    if is_due(config):
        ensure_leaf(config)
    return str(path)


def _leaf(config: Config) -> Path:
    mark = hashlib.sha256(",".join(_names(config)).encode()).hexdigest()[:16]
    return _folder() / f"leaf-{mark}.pem"


def is_due(config: Config) -> bool:
    """Whether the certificate is missing or nearly over."""
    try:
        text = _leaf(config).read_text("ascii", "replace")
        facts = read_certificate(certificates_in(text)[0])
    except (OSError, ValueError, IndexError):
        return True
    return facts.ends - datetime.now(UTC) < _RENEW


def ensure_leaf(config: Config, child: Mapping[str, Any] | None = None) -> None:
    """Have the certificate made, or made anew when it is nearly over. `child`: of the process that
    does it (`subprocess.run`). Raises ConfigError."""
    _run(_leaf(config).name, _names(config), child)


def renew_leaf(config: Config) -> None:
    """Have the certificate made anew if it is nearly over; whoever serves it notices. Never
    raises."""
    if is_due(config):
        try:
            ensure_leaf(config)
        except ConfigError as exc:
            _log.error("The certificate of --tls-internal could not be renewed: %s", exc)


def ensure_authority() -> Path:
    """Have the authority made if it is not there; its certificate. Raises ConfigError."""
    _run("", _ALWAYS, None)
    return authority_file()


def _run(leaf: str, names: tuple[str, ...], child: Mapping[str, Any] | None) -> None:
    if importlib.util.find_spec("cryptography") is None:
        raise ConfigError("option --tls-internal needs cryptography: pip install 'nogilserve[tls]'")
    command = [sys.executable, "-P", "-c", _CODE, _ROOT, str(_folder()), leaf, ",".join(names)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            **(child or {}),
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ConfigError(f"option --tls-internal: no certificate could be made: {exc}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise ConfigError(f"option --tls-internal: no certificate could be made: {lines[-1]}")
