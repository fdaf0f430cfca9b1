"""`nogilserve reload`, `stop`, `status`, `upgrade`: the command's side of the control socket."""

from typing import Any, Final

from nogilserve.config import Config
from nogilserve.errors import ControlError
from nogilserve.supervise.control import ask, find

__all__ = ["command"]

_MARGIN: Final = 10.0


def command(name: str, config: Config) -> int:
    """Give the command to the running server; print the answer; the exit status.

    Raises ControlError where it cannot be given or was not carried out.
    """
    path = find(config.control_socket, config.binds)
    timeout = config.ready_timeout and config.ready_timeout + _MARGIN
    answer = ask(path, name, timeout)
    if not answer["ok"]:
        raise ControlError(answer["text"])
    print(answer["text"])
    for line in answer.get("generations", ()):
        print(_line(line))
    return 0


def _line(generation: dict[str, Any]) -> str:
    counters = generation.get("counters", {})
    words = [
        f"generation {generation['number']}",
        f"{generation['state']} for {generation['seconds']:.0f} s",
        f"pid {generation['pid']}",
    ]
    if counters:
        words.append(f"{counters.get('requests', 0)} requests")
        words.append(f"{counters.get('connections', 0)} connections")
        words.append(f"{counters.get('active', 0)} inside the application")
    return "  " + ", ".join(words)
