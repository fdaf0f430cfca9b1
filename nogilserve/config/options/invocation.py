"""What to do instead of serving, and where the configuration is."""

from dataclasses import dataclass
from typing import Final

from nogilserve.config.declare import option
from nogilserve.config.kinds import FLAG, TEXT

__all__ = ["INVOCATION", "Invocation"]

INVOCATION: Final = "Configuration and help"


@dataclass(frozen=True, slots=True)
class Invocation:
    """What to do instead of serving, and where the configuration is."""

    config_file: str = option(
        "",
        "-c --config",
        TEXT,
        """Read this TOML file: its top level, or [tool.nogilserve] of a file called
        pyproject.toml.""",
        section=INVOCATION,
        metavar="FILE",
        default_text="nogilserve.toml, else [tool.nogilserve] of pyproject.toml",
        scope="no file",
    )
    check_config: bool = option(
        False,
        "--check-config",
        FLAG,
        "Check the configuration, import APP, and end without listening.",
        section=INVOCATION,
        scope="argv",
    )
    print_config: bool = option(
        False,
        "--print-config",
        FLAG,
        "Print the settings in force and where each comes from, as TOML, and end.",
        section=INVOCATION,
        scope="argv",
    )
    version: bool = option(
        False,
        "-v --version",
        FLAG,
        "Print the version, the Python build and the state of the GIL, and end.",
        section=INVOCATION,
        scope="argv",
    )
    help: bool = option(
        False, "-h --help", FLAG, "Print this help and end.", section=INVOCATION, scope="argv"
    )
