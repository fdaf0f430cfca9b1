"""--log-format json: what else writes to standard error comes in that form, too."""

import json
from pathlib import Path

import pytest

from tests.support.server import Server

APP = """
import logging
SETUP
def app(environ, start_response):
    logging.getLogger("shop.orders").warning("no\\nstock: %s", environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


@pytest.mark.parametrize(
    ("setup", "form"),
    [
        ("", "json"),
        ("logging.basicConfig(level=logging.INFO)", "json"),
        ("logging.basicConfig(format='mine %(message)s')", "mine"),
    ],
)
@pytest.mark.parametrize("how", [(), ("--no-master",), ("--runtime=processes", "--workers=2")])
def test_loggers_of_the_application(
    tmp_path: Path, setup: str, form: str, how: tuple[str, ...]
) -> None:
    """Where it has not chosen a form itself."""
    (tmp_path / "logs_app.py").write_text(APP.replace("SETUP", setup))
    with Server("logs_app:app", "--log-format=json", *how, cwd=tmp_path) as server:
        with server.connect() as client:
            assert client.request("GET", "/a").status == 200
        if form == "mine":
            server.wait_log("^mine no$")
            server.wait_log("^stock: /a$")
            return
        line = server.wait_log(r'^\{.*"shop\.orders".*$')[0]
        found = json.loads(line)
        assert (found["level"], found["message"], found["detail"]) == ("warning", "no", "stock: /a")
