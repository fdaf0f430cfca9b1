"""docs/http.md says of every refusal what the code says, and leaves none out."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from nogilserve.config.options import OPTIONS
from nogilserve.protocols.websocket import frames

ROOT = Path(__file__).resolve().parents[1]
PROTOCOLS = ROOT / "nogilserve" / "protocols"
TEXT = (ROOT / "docs" / "http.md").read_text()

# Not reached by what a client sends: h11 and the rules before it would have to disagree.
SECOND_JUDGE = {
    "incomplete or overlong request head",
    "request line missing",
    "malformed request",
    "malformed trailers",
}

Refusal = tuple[int, str, str]


def calls(room: str, name: str) -> Iterator[tuple[ast.Call, dict[str, ast.expr]]]:
    """Every call of `name` in a room of the protocols, with the variables its function sets."""
    for path in (PROTOCOLS / room).rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            nodes = sorted(
                (node for node in ast.walk(function) if isinstance(node, ast.Assign | ast.Call)),
                key=lambda node: node.lineno,
            )
            known: dict[str, ast.expr] = {}
            for node in nodes:
                if isinstance(node, ast.Assign):
                    known |= {ast.unparse(target): node.value for target in node.targets}
                elif ast.unparse(node.func) == name:
                    yield node, known


def in_the_code() -> set[Refusal]:
    """Every ProtocolError whose parts are literals: status, message, section."""
    found: set[Refusal] = set()
    for room in ("http1", "websocket"):
        for call, known in calls(room, "ProtocolError"):
            nodes = [known.get(ast.unparse(part), part) for part in call.args[:3]]
            parts = [node.value for node in nodes if isinstance(node, ast.Constant)]
            if len(parts) == 3:
                status, message, section = parts
                assert isinstance(status, int)
                found.add((status, str(message), str(section)))
    return {refusal for refusal in found if refusal[1] not in SECOND_JUDGE}


def violations_in_the_code() -> set[tuple[int, str]]:
    """Close code and reason of every Violation of our own; what varies in a reason is an ellipsis.

    wsproto's own, which are passed on, have no literals.
    """
    found: set[tuple[int, str]] = set()
    for call, known in calls("websocket", "Violation"):
        code, reason = call.args
        values = {ast.unparse(code)} & vars(frames).keys()
        if isinstance(reason, ast.Name):
            value = known[reason.id]
            assert isinstance(value, ast.IfExp)  # wsproto's words, or these instead
            found.add((frames.INVALID_DATA, str(ast.literal_eval(value.body))))
            continue
        text = re.sub(r"\{.*?\}", "…", ast.unparse(reason).strip("f'\""))
        found |= {(int(vars(frames)[name]), text) for name in values}
    return found


def in_the_documentation(digits: int) -> set[Refusal]:
    """The rows of the tables whose first cell is a number of so many digits."""
    rows = re.findall(rf"^\| (\d{{{digits}}}) \| (.+?) \| (.+?) \|$", TEXT, re.MULTILINE)
    return {(int(status), message, section) for status, message, section in rows}


def test_every_refusal_is_documented_and_none_is_made_up() -> None:
    """Both directions: messages, statuses and sections are the same."""
    code = in_the_code()
    assert len(code) > 40
    assert {status for status, _, section in code if "6455" in section} == {400, 426}
    assert in_the_documentation(3) == code


def test_every_breach_of_the_websocket_protocol_is_documented() -> None:
    """Close codes and reasons are the same in both, and each has its section."""
    code = violations_in_the_code()
    assert len(code) > 5
    rows = {row for row in in_the_documentation(4) if row[2].startswith("RFC")}
    assert {(number, reason) for number, reason, _ in rows} == code


def test_close_codes_of_an_application_are_those_that_are_taken() -> None:
    """The ranges on the page, and the codes that the page says nobody sends."""
    found = re.search(r"may close with (\d+) to (\d+), (\d+) to (\d+) and (\d+) to (\d+)", TEXT)
    assert found is not None
    ends = [int(each) for each in found.groups()]
    ranges = [range(low, high + 1) for low, high in zip(ends[::2], ends[1::2], strict=True)]
    assert {code for each in ranges for code in each} == frames.LEGAL_CODES
    nobody = {code for code, who, _ in in_the_documentation(4) if who == "nobody"}
    assert nobody == {frames.NO_CODE, frames.ABNORMAL}


def test_limits_name_options() -> None:
    """Every option in the tables of limits exists."""
    named = set(re.findall(r"`(--[a-z-]+)`", TEXT))
    assert named <= {f"--{name}" for option in OPTIONS for name in option.names} | {
        f"--no-{name}" for option in OPTIONS for name in option.names
    }
