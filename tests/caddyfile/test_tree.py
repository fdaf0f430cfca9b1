"""Words and structure of Caddyfiles."""

from pathlib import Path

import pytest

from nogilserve.caddyfile.tokens import tokenize
from nogilserve.caddyfile.tree import Caddyfile, read
from nogilserve.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b\tc\n d", ["a", "b", "c", "d"]),
        ('"a b" `c "d" \\e` "f \\"g\\""', ["a b", 'c "d" \\e', 'f "g"']),
        ("a # b\n# c\nd#e", ["a", "d#e"]),
        ("a \\\n b", ["a", "b"]),
        ("x {$PORT} {$HOST:local} {$NONE}y", ["x", "80", "local", "y"]),
        ("{env.PORT}/a {env.NONE}", ["80/a", "{env.NONE}"]),
        ("respond <<END\n    a\n      b\n    END 200", ["respond", "a\n  b", "200"]),
        ('"two\nlines"', ["two\nlines"]),
        ("{path} {http.request.host}", ["{path}", "{http.request.host}"]),
        ("\ufeffa\r\nb", ["a", "b"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    """Quotes, comments, continued lines, variables and heredocs."""
    assert [token.text for token in tokenize(text, {"PORT": "80"})] == words


def test_lines_of_words() -> None:
    """Continued lines count as one for what stands on them, and not for what follows."""
    tokens = tokenize('a \\\n b\nc "x\ny" d\ne', {})
    assert [(token.text, token.line, token.last) for token in tokens] == [
        ("a", 1, 1),
        ("b", 1, 1),
        ("c", 3, 3),
        ("x\ny", 3, 4),
        ("d", 4, 4),
        ("e", 5, 5),
    ]


LAUGHS = "".join(f"(s{n}) {{\nimport s{n + 1}\nimport s{n + 1}\n}}\n" for n in range(30))
LAUGHS += "(s30) {\nb\n}\na {\nimport s0\n}\n"
"""Snippets that would be a thousand million words."""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('a\nb "c', 'line 2: the " is not closed'),
        ("a <<X\nb", "line 1: the heredoc <<X is not closed"),
        ("a <<X\nb\n  X", "line 2: the heredoc's line is indented less"),
        ("a {\nb", "line 1: the block is not closed"),
        ("a\n}", "line 2: there is no block"),
        ("a {\n}\n}", "line 3: there is no block"),
        ("a {\nimport nothing\n}", "line 2: there is neither a snippet nor a file 'nothing'"),
        ("a {\nimport\n}", "line 2: import needs"),
        ("(s) {\nimport s\n}\na {\nimport s\n}", "imports go round in a circle"),
        ("import Caddyfile\na {\n}", "line 1: more than 2000 imports"),
        (LAUGHS, "more than 2000 imports"),
        ("a {\n" + "b {\n" * 5000 + "}\n" * 5001, "line 102: blocks are nested more than"),
        ("a {\n}\nb", "line 3: 'b' has no block"),
        ("{\ndebug\n}\n{\nadmin off\n}\na {\n}", "line 5: a block stands where the addresses"),
        ("a {\n{\nb\n}\n}", "line 3: a block has no directive"),
    ],
)
def test_mistakes_name_their_line(tmp_path: Path, text: str, wanted: str) -> None:
    """What is not closed, not there, or goes round."""
    with pytest.raises(ConfigError, match=wanted.replace("(", r"\(").replace("<", "<")):
        parsed(tmp_path, text)


def test_mistakes_of_an_imported_file_name_it(tmp_path: Path) -> None:
    """Their lines are not those of the Caddyfile."""
    (tmp_path / "more.caddy").write_text('x\ny "z')
    with pytest.raises(ConfigError, match=r"^more\.caddy line 2: the "):
        parsed(tmp_path, "a {\nimport more.caddy\n}")


def parsed(folder: Path, text: str) -> Caddyfile:
    """A Caddyfile with that text."""
    path = folder / "Caddyfile"
    path.write_text(text, encoding="utf-8")
    return read(path, {})


def test_structure(tmp_path: Path) -> None:
    """Global options, addresses over several lines, blocks inside blocks."""
    file = parsed(
        tmp_path,
        "{\n debug\n}\na.com, b.com,\nhttp://c.com:80 {\n log {\n  output stdout\n }\n}\n"
        ":90 {\n}\n",
    )
    assert [item.name for item in file.options] == ["debug"]
    assert [site.addresses for site in file.sites] == [
        ("a.com", "b.com", "http://c.com:80"),
        (":90",),
    ]
    log = file.sites[0].directives[0]
    assert (log.name, log.line, log.children[0].args) == ("log", 6, ("stdout",))
    assert file.sites[1].directives == ()


def test_single_site_without_braces(tmp_path: Path) -> None:
    """Everything after the address belongs to it."""
    site = parsed(tmp_path, "localhost\nrespond {\n body x\n}\nlog\n").sites[0]
    assert site.addresses == ("localhost",)
    assert [item.name for item in site.directives] == ["respond", "log"]


def test_snippets_and_files(tmp_path: Path) -> None:
    """import puts them in place, with arguments and a block; lines stay those of their file."""
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "b.caddy").write_text("b.com {\n respond b\n}\n")
    (tmp_path / "sites" / "a.caddy").write_text("a.com {\n import s X Y\n}\n")
    file = parsed(
        tmp_path,
        "(s) {\n header {args[0]} {args.1}\n respond {args[:]}\n}\n"
        "(w) {\n handle {\n  {block}\n }\n}\n"
        "import sites/*.caddy\nc.com {\n import w {\n  log\n }\n}\n",
    )
    assert [site.addresses for site in file.sites] == [("a.com",), ("b.com",), ("c.com",)]
    first, second = file.sites[0].directives
    assert (first.args, first.line, second.args) == (("X", "Y"), 2, ("X", "Y"))
    assert file.sites[1].directives[0].place == "b.caddy line 2"
    assert file.sites[2].directives[0].children[0].name == "log"
