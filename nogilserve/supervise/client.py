"""`nogilserve reload`, `stop`, `status`, `upgrade`: the command's side of the control socket."""

from typing import Any, Final

from nogilserve.config import COMMANDS, Resolved
from nogilserve.errors import ControlError
from nogilserve.supervise.control import ask, find

__all__ = ["command"]

_MARGIN: Final = 10.0
_HELP: Final = """usage: nogilserve {name} [TENANT] [--bind ADDRESS | --control-socket PATH]

{what}
The server is the one that listens on ADDRESS, or whose control socket is at PATH; without
either the only one of this user.
"""


def command(name: str, resolved: Resolved) -> int:
    """Give the command to the running server; print the answer; the exit status.

    Raises ControlError where it cannot be given or was not carried out.
    """
    if resolved.invocation.help:
        print(_HELP.format(name=name, what=COMMANDS[name]), end="")
        return 0
    config = resolved.config
    path = find(config.control_socket, config.binds, insist="binds" in resolved.origins)
    timeout = config.ready_timeout and config.ready_timeout + _MARGIN
    subject = {}
    if resolved.origins.get("app") == "the command line":
        subject["tenant"] = config.app
    answer = ask(path, name, timeout, subject)
    if not answer["ok"]:
        raise ControlError(answer["text"])
    print(answer["text"])
    for line in answer.get("generations", ()):
        print(_line(line))
    for tenant in answer.get("tenants", ()):
        print(f"{tenant['name']}, {tenant['state']}, used {tenant['idle']:.0f} s ago")
        for line in tenant["generations"]:
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
