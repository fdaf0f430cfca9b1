"""From what was written to a value, or to one sentence about what is wrong with it."""

from collections.abc import Sequence
from typing import Any

from nogilserve.config.declare import SECRET, Option
from nogilserve.config.sources import Written
from nogilserve.errors import ConfigError

__all__ = ["all_mistakes", "parse"]


def parse(option: Option, written: Written) -> Any:
    """The value of an option. Raises ConfigError, with a line for each mistake, which names where
    it was written."""
    if option.many:
        texts = written.value if isinstance(written.value, tuple) else (written.value,)
        if option.commas:
            texts = tuple(part.strip() for text in texts for part in text.split(","))
        values, mistakes = [], []
        for text in texts:
            try:
                values.append(_parse_one(option, text, written.origin))
            except ConfigError as error:
                mistakes.append(str(error))
        if mistakes:
            raise ConfigError("\n".join(mistakes))
        return tuple(values)
    text = written.value if isinstance(written.value, str) else ",".join(written.value)
    return _parse_one(option, text, written.origin)


def _parse_one(option: Option, text: str, origin: str) -> Any:
    try:
        return option.kind.parse(text)
    except ValueError as error:
        more = f"{error}; " if str(error) else ""
        if option.field in SECRET:  # a slip of the pen is no reason to have it in the log
            shown, more = "what was given", ""
        elif option.field != "env":
            shown = repr(text)
        else:
            name, equals, _ = text.partition("=")
            shown = repr(f"{name}=…") if equals else "a text without = (it may be secret)"
        raise ConfigError(
            f"option {option.called}: {shown} from {origin} is not valid: "
            f"{more}expected {option.kind.allowed}"
        ) from None


def all_mistakes(mistakes: Sequence[str]) -> ConfigError:
    """One error for all of them."""
    if len(mistakes) == 1:
        return ConfigError(mistakes[0])
    lines = "".join(f"\n  {text}" for text in mistakes)
    return ConfigError(f"there are {len(mistakes)} mistakes in the configuration:{lines}")
