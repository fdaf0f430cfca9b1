"""`nogilserve reload`, `stop`, `status` …: the command's side of the control socket."""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final

from nogilserve.config import COMMANDS, Resolved, resolve
from nogilserve.errors import ConfigError, ControlError
from nogilserve.supervise import telling
from nogilserve.supervise.control import ask, find

__all__ = ["command"]

_MARGIN: Final = 10.0
_AGAIN: Final = 0.2
"""Seconds between looks whether a server is ready."""
_PERIOD: Final = 1.0
_HELP: Final = """usage: nogilserve {name}{usage} [--json] [--bind ADDRESS | --control-socket PATH]

{what}{more}
The server is the one that listens on ADDRESS, or whose control socket is at PATH; without
either the only one of this user. --json prints the whole answer as JSON.
"""
_USAGES: Final = {
    "status": " [TENANT] [--watch | --wait]",
    "reload": " [TENANT]",
    "upgrade": "",
    "stop": " [TENANT]",
    "threads": " N|+N|-N",
    "log-level": " critical|error|warning|info|debug",
    "drain": " [--off]",
    "profile": " [--seconds 10] [-o flame.svg]",
    "memory": " [--growth SECONDS]",
}
_MORE: Final = {
    "status": "\n--watch shows it anew every second; --wait returns when it is ready for clients.",
    "drain": "\nProbes say so from then on, and it serves on; --off takes it back.",
    "profile": "\n-o writes a flame graph as SVG, or, for a name that ends in .txt, folded stacks.",
    "memory": "\n--growth looks twice and tells the difference.",
}
_VALUE: Final = frozenset({"threads", "log-level"})
"""Commands that are followed by a value."""
_CLEAR: Final = "\x1b[H\x1b[2J"


def command(name: str, argv: Sequence[str], environ: Mapping[str, str], directory: Path) -> int:
    """Give the command to the running server; print the answer; the exit status.

    Raises ControlError where it cannot be given or was not carried out, and ConfigError.
    """
    value, rest = _value(name, list(argv))
    try:
        own, rest = _parser(name).parse_known_args(rest)
    except argparse.ArgumentError as error:
        raise ConfigError(f"nogilserve {name}: {error}") from None
    resolved = _resolve(rest, environ, directory)
    if resolved.invocation.help:
        usage, more = _USAGES.get(name, ""), _MORE.get(name, "")
        print(_HELP.format(name=name, usage=usage, what=COMMANDS[name], more=more), end="")
        return 0
    server = _Server(resolved)
    if name == "status" and own.wait:
        return _wait(server, own)
    if name == "status" and own.watch:
        return _watch(server)
    if name in _VALUE and not value:
        raise ConfigError(f"`nogilserve {name}` needs a value, behind that word:{_USAGES[name]}")
    return _TOLD[name](server, own, _arguments(name, value))


def _resolve(argv: Sequence[str], environ: Mapping[str, str], directory: Path) -> Resolved:
    """The configuration. A mistake in the file must not keep anybody from stopping a server, if it
    can be found without."""
    try:
        return resolve(argv, environ, directory)
    except ConfigError as error:
        try:
            resolved = resolve(argv, environ, directory, files=False)
        except ConfigError:
            raise error from None
        if not {"binds", "control_socket"} & resolved.origins.keys():
            raise ConfigError(
                f"{error}\nA running server is found all the same by --bind ADDRESS or "
                "--control-socket PATH"
            ) from None
        return resolved


class _Server:
    """The server that is meant, and how long it may take to answer."""

    def __init__(self, resolved: Resolved) -> None:
        self._resolved = resolved
        config = resolved.config
        self.patience = config.ready_timeout and config.ready_timeout + _MARGIN
        self.subject: dict[str, Any] = {}
        if resolved.origins.get("app") == "the command line":
            self.subject["tenant"] = config.app

    def ask(self, name: str, arguments: Mapping[str, Any] = {}) -> dict[str, Any]:
        """Its answer. Raises ControlError where it has none, or says no."""
        config = self._resolved.config
        path = find(config.control_socket, config.binds, insist="binds" in self._resolved.origins)
        answer = ask(path, name, self.patience, {**self.subject, **arguments})
        if not answer["ok"]:
            raise ControlError(answer["text"])
        return answer


def _value(name: str, argv: list[str]) -> tuple[str, list[str]]:
    """What follows the command at once, and the rest."""
    if name in _VALUE and argv and (argv[0][:1] != "-" or argv[0][1:].isdecimal()):
        return argv[0], argv[1:]
    return "", argv


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"nogilserve {name}", add_help=False, allow_abbrev=False, exit_on_error=False
    )
    parser.add_argument("--json", action="store_true")
    if name == "status":
        parser.add_argument("--watch", action="store_true")
        parser.add_argument("--wait", action="store_true")
    elif name == "drain":
        parser.add_argument("--off", action="store_true")
    elif name == "profile":
        parser.add_argument("--seconds", type=_seconds, default=10.0)
        parser.add_argument("-o", "--output", default="")
    elif name == "memory":
        parser.add_argument("--growth", type=_seconds, default=0.0)
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 120:
        raise ConfigError(f"{text!r} is no number of seconds up to 120")
    return seconds


def _arguments(name: str, value: str) -> dict[str, Any]:
    if name == "threads":
        if not re.fullmatch(r"[+-]?[0-9]{1,9}", value):
            raise ConfigError(f"{value!r} is no number of threads; write 24, +2 or -2")
        return {"change" if value[0] in "+-" else "to": int(value)}
    if name == "log-level":
        return {"level": value.lower()}
    return {}


def _print_json(answer: Mapping[str, Any]) -> int:
    print(json.dumps(answer, indent=1))
    return 0


def _said(name: str, told: Callable[[Mapping[str, Any]], list[str]]) -> "_Told":
    """Ask, and print what `told` makes of the answer."""

    def tell(server: _Server, own: argparse.Namespace, arguments: dict[str, Any]) -> int:
        if name == "drain":
            arguments = {"off": own.off}
        answer = server.ask(name, arguments)
        if own.json:
            return _print_json(answer)
        for line in told(answer):
            print(line)
        return 0

    return tell


# ---- status


def _wait(server: _Server, own: argparse.Namespace) -> int:
    """Return when the server is ready for clients."""
    until = monotonic() + server.patience if server.patience else float("inf")
    while True:
        try:
            answer = server.ask("status")
            problem = "it is not ready for new clients"
            if answer.get("ready", True):
                if own.json:
                    return _print_json(answer)
                print("\n".join(telling.status(answer)))
                return 0
        except ControlError as error:
            problem = str(error)
        if monotonic() > until:
            raise ControlError(f"no server was ready within {server.patience:g} s: {problem}")
        time.sleep(_AGAIN)


def _watch(server: _Server) -> int:
    """Show the status anew every second, until interrupted."""
    before: dict[str, Any] = {}
    clear = _CLEAR if sys.stdout.isatty() else ""
    try:
        while True:
            status, look = server.ask("status"), server.ask("look")
            now = {"at": monotonic(), "status": status, "looks": look["answers"]}
            lines = telling.watched(now, before)
            print(f"{clear}{'\n'.join(lines)}\n", flush=True)
            before = now
            time.sleep(_PERIOD)
    except (KeyboardInterrupt, BrokenPipeError):
        return 0


# ---- what takes more than a sentence


def _profile(server: _Server, own: argparse.Namespace, arguments: dict[str, Any]) -> int:
    from nogilserve.observe.flame import svg

    answer = server.ask("profile", {**arguments, "seconds": own.seconds})
    if own.json:
        return _print_json(answer)
    number, found = next(iter(answer["answers"].items()))
    if found.get("problems") and not found["folded"]:
        raise ControlError(found["problems"][0])
    output = own.output or "flame.svg"
    if output.endswith(".txt"):
        text = "".join(f"{line} {count}\n" for line, count in sorted(found["folded"].items()))
    else:
        text = svg(found["folded"], f"Generation {number}, {own.seconds:g} s")
    if output == "-":
        print(text, end="")
        return 0
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ControlError(f"{output} cannot be written: {error.strerror}") from None
    print("\n".join(telling.profile(found)))
    print(f"Written to {output}")
    return 0


def _memory(server: _Server, own: argparse.Namespace, arguments: dict[str, Any]) -> int:
    answer = server.ask("memory", arguments)
    first = answer["answers"]
    if own.growth:
        time.sleep(own.growth)
        answer = server.ask("memory", arguments)
    if own.json:
        return _print_json({**answer, "before": first} if own.growth else answer)
    print("\n".join(telling.memory(answer["answers"], first if own.growth else None)))
    return 0


_Told = Callable[[_Server, argparse.Namespace, dict[str, Any]], int]

_TOLD: Final[dict[str, _Told]] = {
    "profile": _profile,
    "memory": _memory,
    **{
        name: _said(name, told)
        for name, told in (
            ("status", telling.status),
            ("reload", telling.sentence),
            ("upgrade", telling.sentence),
            ("stop", telling.sentence),
            ("drain", telling.sentence),
            ("threads", telling.threads),
            ("log-level", telling.levels),
            ("gc", telling.collected),
            ("stacks", telling.stacks),
        )
    },
}
