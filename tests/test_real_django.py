"""The Django example with its admin and sqlite, served for real, under concurrent clients."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.apps.served import Served

SITE = Path(__file__).resolve().parents[1] / "examples" / "django_site"
CLIENTS = 16
NOTES_EACH = 5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The site with a fresh database and one administrator, as the README sets it up."""
    database = tmp_path_factory.mktemp("django") / "site.sqlite3"
    env = {
        "DJANGO_SITE_DB": str(database),
        "DJANGO_SUPERUSER_PASSWORD": "let-me-in",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for command in (
        ["migrate", "--verbosity", "0"],
        ["createsuperuser", "--noinput", "--username", "admin", "--email", "a@example.com"],
    ):
        subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=SITE,
            env={**os.environ, **env},
            check=True,
            timeout=100,
            capture_output=True,
        )
    with Served(
        "django_site.wsgi:application", "--threads", "16", cwd=SITE, env=env, timeout=60
    ) as running:
        yield running
    assert "Traceback" not in running.log


def browser(server: Served) -> httpx.Client:
    """A client with cookies that follows redirections, as a browser does."""
    return httpx.Client(base_url=server.url, trust_env=False, timeout=60, follow_redirects=True)


def submit(client: httpx.Client, path: str, **fields: str) -> httpx.Response:
    """Fetch the page of a form, take its CSRF token, and send the form."""
    page = client.get(path)
    assert page.status_code == 200, page.text
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert found, page.text
    answer = client.post(
        path, data={**fields, "csrfmiddlewaretoken": found[1]}, headers={"Referer": str(page.url)}
    )
    assert answer.status_code == 200, answer.text
    return answer


def log_in(client: httpx.Client) -> None:
    """Through the admin's own form."""
    answer = submit(client, "/admin/login/?next=/admin/", username="admin", password="let-me-in")
    assert "Site administration" in answer.text
    assert "sessionid" in client.cookies


def test_pages(server: Served) -> None:
    """The list, the forms and the admin's login are there; the admin wants a login."""
    with browser(server) as client:
        for path in ("/", "/new/", "/upload/", "/admin/login/"):
            assert client.get(path).status_code == 200
        assert "/admin/login/" in str(client.get("/admin/").url)


def test_static_files_of_the_admin(server: Served) -> None:
    """Style sheet, script and picture come whole, and are not sent again unchanged."""
    with browser(server) as client:
        for path in ("css/base.css", "js/core.js", "img/icon-yes.svg"):
            answer = client.get("/static/admin/" + path)
            assert answer.status_code == 200
            assert len(answer.content) == int(answer.headers["content-length"])
            when = answer.headers["last-modified"]
            again = client.get("/static/admin/" + path, headers={"If-Modified-Since": when})
            assert (again.status_code, again.content) == (304, b"")
        assert client.get("/static/admin/nothing.css").status_code == 404


def test_post_without_a_token_is_refused(server: Served) -> None:
    """Django's CSRF protection works behind this server."""
    with browser(server) as client:
        assert client.post("/new/", data={"title": "forged"}).status_code == 403


def test_wrong_password(server: Served) -> None:
    """A wrong password is no way in."""
    with browser(server) as client:
        answer = submit(client, "/admin/login/", username="admin", password="wrong")
        assert "Please enter the correct username" in answer.text


def test_admin_creates_changes_and_deletes(server: Served) -> None:
    """The life of an object in the admin: add, find, change, see its history, delete."""
    with browser(server) as client:
        log_in(client)
        added = submit(client, "/admin/notes/note/add/", title="From the admin", text="one\ntwo")
        assert "was added successfully" in added.text
        found = client.get("/admin/notes/note/?q=From+the+admin")
        link = re.search(r'href="(/admin/notes/note/(\d+)/change/[^"]*)"', found.text)
        assert link, found.text
        number = link[2]
        changed = submit(
            client, f"/admin/notes/note/{number}/change/", title="Changed", text="three"
        )
        assert "was changed successfully" in changed.text
        assert "Changed" in client.get(f"/{number}/").text
        assert "Changed" in client.get(f"/admin/notes/note/{number}/history/").text
        deleted = submit(client, f"/admin/notes/note/{number}/delete/", post="yes")
        assert "was deleted successfully" in deleted.text
        assert client.get(f"/{number}/").status_code == 404


def test_upload(server: Served) -> None:
    """A file that Django spools to disk arrives whole."""
    content = os.urandom(1000) * 5000
    with browser(server) as client:
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("/upload/").text)
        assert token
        answer = client.post(
            "/upload/",
            data={"csrfmiddlewaretoken": token[1]},
            files={"file": ("a.bin", content)},
            headers={"Referer": server.url},
        )
    assert f'<b id="size">{len(content)}</b>' in answer.text
    assert hashlib.sha256(content).hexdigest() in answer.text


def test_sixteen_clients_write_at_once(server: Served) -> None:
    """Sixteen sessions write to sqlite and read back what they wrote; nobody sees an error."""

    def work(number: int) -> list[str]:
        pages = []
        with browser(server) as client:
            for turn in range(NOTES_EACH):
                title = f"Note {number} of turn {turn}"
                page = submit(client, "/new/", title=title, text=f"text {number}/{turn}")
                assert f"text {number}/{turn}" in page.text
                assert title in page.text
                pages.append(page.url.path)
                assert client.get("/").status_code == 200
        return pages

    with ThreadPoolExecutor(CLIENTS) as pool:
        pages = [page for some in pool.map(work, range(CLIENTS)) for page in some]
    assert len(set(pages)) == CLIENTS * NOTES_EACH


def test_sixteen_administrators_at_once(server: Served) -> None:
    """Four sessions, each used by four clients at once, add and delete what is theirs."""
    sessions = []
    for _ in range(4):
        with browser(server) as client:
            log_in(client)
            sessions.append(client.cookies["sessionid"])

    def work(number: int) -> None:
        with browser(server) as client:
            client.cookies["sessionid"] = sessions[number % len(sessions)]
            title = f"Admin note {number}"
            answer = submit(client, "/admin/notes/note/add/", title=title, text="x")
            link = re.search(rf'/admin/notes/note/(\d+)/change/[^"]*">{title}<', answer.text)
            assert link, answer.text
            answer = submit(client, f"/admin/notes/note/{link[1]}/delete/", post="yes")
            assert "was deleted successfully" in answer.text

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, range(CLIENTS)))
    assert len(set(sessions)) == len(sessions)
