"""The JSON Schema for editors says what the options say, and takes what the server takes."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nogilserve.config import resolve
from nogilserve.config.options import SETTINGS
from nogilserve.config.schema import schema, schema_document
from nogilserve.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS = {option.name: option for option in SETTINGS}


@pytest.fixture(scope="module")
def validate() -> Any:
    """A function that raises for a document that the schema refuses."""
    fastjsonschema: Any = pytest.importorskip("fastjsonschema")
    # The newest draft it knows; what we use of 2020-12 is the same there.
    text = json.dumps(schema()).replace("$defs", "definitions")
    return fastjsonschema.compile(
        json.loads(text) | {"$schema": "http://json-schema.org/draft-07/schema#"}
    )


def test_file_is_up_to_date() -> None:
    """`python -m nogilserve.config schema > nogilserve/nogilserve.schema.json` was run."""
    path = ROOT / "nogilserve" / "nogilserve.schema.json"
    assert path.read_text(encoding="utf-8") == schema_document()


def test_every_setting_is_in_it() -> None:
    """Each with what the documentation says; a site has fewer, and its own."""
    document = schema()
    assert set(DEFAULTS) <= set(document["properties"])
    site, route = document["$defs"]["site"], document["$defs"]["route"]
    assert "hosts" in site["properties"]
    assert "hosts" not in route["properties"]
    assert "threads" not in site["properties"]
    assert document["properties"]["compress"]["enum"] == ["off", "auto", "zstd", "br", "gzip"]
    assert document["properties"]["threads"]["maximum"] == 4096


EXAMPLES = sorted((ROOT / "examples").rglob("nogilserve.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.parent.name for path in EXAMPLES])
def test_examples_are_valid(validate: Any, path: Path) -> None:
    """Every nogilserve.toml that comes with the project."""
    validate(tomllib.loads(path.read_text(encoding="utf-8")))


GOOD = """
threads = 4
keep-alive = "5s"
timeout = 2.5
limit-request-body = "1MiB"
access-log = true
master = false
umask = "022"
static-path = {"/a" = "."}
env = {A = "b"}
mount = ["/x=x:a"]
header = ["X: y"]
[[site]]
hosts = "a.test"
app = "m:a"
keep_alive = 3
"""


def test_what_the_server_takes_is_valid(validate: Any, tmp_path: Path) -> None:
    """Numbers, units, lists, tables, single values and underscores."""
    good = GOOD.replace("keep_alive = 3\n", "limit_concurrency = 3\nredirect-status = 301\n")
    validate(tomllib.loads(good))
    (tmp_path / "nogilserve.toml").write_text(good)
    resolve([], {}, tmp_path, 2)


@pytest.mark.parametrize(
    "text",
    [
        "thread = 4",
        "threads = true",
        "threads = 0",
        'compress = "gz"',
        "backlog = [1]",
        "[site]\napp = 'm:a'",
        "[[site]]\nthreads = 4\napp = 'm:a'",
        "[[site]]\napp = 'm:a'\n[[site.route]]\nhosts = 'x'",
        "[[site]]\napp = 3",
    ],
)
def test_what_the_server_refuses_is_not(validate: Any, tmp_path: Path, text: str) -> None:
    """Names, types, bounds and choices."""
    with pytest.raises(Exception, match="data"):
        validate(tomllib.loads(text))
    (tmp_path / "nogilserve.toml").write_text(text)
    with pytest.raises(ConfigError):
        resolve(["m:a"], {}, tmp_path, 2)
