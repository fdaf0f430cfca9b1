"""Which names may get a certificate because a client has named them."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nogilserve.tls.acme.permission import Gate, filled, is_host, matches


@pytest.mark.parametrize(
    "name", ["a.example", "xn--bcher-kva.example", "1.2.3.example", "a-b.c.de"]
)
def test_host_names_are_taken(name: str) -> None:
    """Ordinary names, international ones in their ASCII form."""
    assert is_host(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "localhost", "192.0.2.1", "[::1]", "a..example", ".a.example", "a.example."),
        *("-a.example", "a_b.example", "A.example", "a.example/..", "*.example", "a.\0.example"),
        "a" * 64 + ".example",
        "a." * 130 + "example",
    ],
)
def test_what_is_no_host_name_is_refused(name: str) -> None:
    """Nothing that could mean something in a path, a URL or to a certificate authority passes."""
    assert not is_host(name)
    assert Gate(directory="/{host}").refusal(name) == "it is no name for a certificate"


def test_patterns() -> None:
    """A wildcard is one label."""
    assert matches("*.example.com", "a.example.com")
    assert not matches("*.example.com", "example.com")
    assert not matches("*.example.com", "a.b.example.com")
    gate = Gate(("*.example.com", "other.org"))
    assert gate.refusal("x.example.com") == ""
    assert gate.refusal("other.org") == ""
    assert gate.refusal("www.other.org") == "no --on-demand-allow names it"


def test_directory_of_a_tenant(tmp_path: Path) -> None:
    """The name passes while the directory is there; too few labels never do."""
    (tmp_path / "alice").mkdir()
    clock = [0.0]
    gate = Gate(directory=f"{tmp_path}/{{host.labels.2}}", clock=lambda: clock[0])
    assert gate.refusal("alice.example.com") == ""
    assert gate.refusal("bob.example.com") == f"there is no directory {tmp_path}/bob"
    assert gate.refusal("example.com") == "it has too few labels"
    (tmp_path / "bob").mkdir()
    assert gate.refusal("bob.example.com") != ""
    clock[0] = 60.0
    assert gate.refusal("bob.example.com") == ""


def test_places_are_filled() -> None:
    """Labels are counted from the right, from zero."""
    assert filled("/srv/{host}/app", "a.b.c") == "/srv/a.b.c/app"
    assert filled("/srv/{host.labels.0}/{host.labels.2}", "a.b.c") == "/srv/c/a"
    assert filled("/srv/{host.labels.3}", "a.b.c") == ""


class Asked(http.server.BaseHTTPRequestHandler):
    """Lets names pass that begin with "yes"; sends others away or around."""

    paths: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        """Answer by the name."""
        self.paths.append(self.path)
        name = self.path.partition("domain=")[2]
        self.send_response(200 if name.startswith("yes") else 302 if name[0] == "r" else 403)
        self.send_header("Location", "/?domain=yes.example")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def asked() -> Iterator[str]:
    """The URL of a service that knows which names are allowed."""
    Asked.paths = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/may"
    server.shutdown()
    thread.join()
    server.server_close()


def test_url_is_asked(asked: str) -> None:
    """Once for a name within half a minute; a redirect is no permission."""
    gate = Gate(url=asked)
    assert gate.refusal("yes.example") == ""
    assert gate.refusal("yes.example") == ""
    assert Asked.paths == ["/may?domain=yes.example"]
    assert gate.refusal("no.example") == f"{asked} answers 403"
    assert gate.refusal("redirected.example") == f"{asked} answers 302"
    other = Gate(url=f"{asked}?key=1")
    assert other.refusal("yes.example") == ""
    assert Asked.paths[-1] == "/may?key=1&domain=yes.example"


def test_any_that_is_given_lets_pass(asked: str, tmp_path: Path) -> None:
    """And where none does, every reason is said."""
    (tmp_path / "there.example").mkdir()
    gate = Gate(("listed.example",), asked, f"{tmp_path}/{{host}}")
    for name in ("listed.example", "there.example", "yes.example"):
        assert gate.refusal(name) == ""
    assert gate.refusal("no.example") == (
        f"no --on-demand-allow names it, there is no directory {tmp_path}/no.example, "
        f"{asked} answers 403"
    )


def test_url_that_cannot_be_asked_lets_nobody_pass() -> None:
    """Silence is no permission."""
    assert "cannot be asked" in Gate(url="http://127.0.0.1:1/").refusal("yes.example")
