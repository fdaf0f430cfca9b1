"""docs/http.md says of every refusal what the code says, and leaves none out."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROTOCOLS = ROOT / "nogilserve" / "protocols" / "http1"

# Not reached by what a client sends: h11 and the rules before it would have to disagree.
SECOND_JUDGE = {
    "incomplete or overlong request head",
    "request line missing",
    "malformed request",
    "malformed trailers",
}

Refusal = tuple[int, str, str]


def in_the_code() -> set[Refusal]:
    """Every ProtocolError whose parts are literals: status, message, section."""
    found: set[Refusal] = set()
    for path in PROTOCOLS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "ProtocolError":
                parts = [part.value for part in node.args if isinstance(part, ast.Constant)]
                if len(parts) == 3:
                    status, message, section = parts
                    assert isinstance(status, int)
                    found.add((status, str(message), str(section)))
    return {refusal for refusal in found if refusal[1] not in SECOND_JUDGE}


def in_the_documentation() -> set[Refusal]:
    """The rows of the tables whose first cell is a status."""
    text = (ROOT / "docs" / "http.md").read_text()
    rows = re.findall(r"^\| (\d{3}) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    return {(int(status), message, section) for status, message, section in rows}


def test_every_refusal_is_documented_and_none_is_made_up() -> None:
    """Both directions: messages, statuses and sections are the same."""
    code = in_the_code()
    assert len(code) > 30
    assert in_the_documentation() == code
