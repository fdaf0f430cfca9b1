"""What directives of a Caddyfile become, and what is said of those that become nothing."""

import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nogilserve.caddyfile import command
from nogilserve.caddyfile.document import Translation
from nogilserve.caddyfile.sites import translate
from nogilserve.caddyfile.tree import read
from nogilserve.config import resolve
from nogilserve.errors import ConfigError
from tests.caddyfile import examples


def translated(folder: Path, text: str) -> Translation:
    """The translation of a text."""
    path = folder / "Caddyfile"
    path.write_text(text, encoding="utf-8")
    return translate(read(path, {}))


def table(folder: Path, text: str) -> dict[str, Any]:
    """The document, read again; nothing may have been lost."""
    result = translated(folder, text)
    assert [str(note) for note in result.notes if note.lost] == []
    return tomllib.loads(result.document("Caddyfile"))


def lost(folder: Path, text: str) -> list[tuple[int, str]]:
    """What could not be translated: the line, and what is said."""
    return [(note.line, str(note)) for note in translated(folder, text).notes if note.lost]


def site(folder: Path, directives: str) -> dict[str, Any]:
    """The one site of these directives, without its host."""
    document = table(folder, "http://a.test {\n" + directives + "\n}\n")
    (found,) = document["site"]
    assert found.pop("hosts") == ["a.test"]
    return dict(found)


GLOBAL = """{
    email e@a.test
    acme_ca https://ca/d
    debug
    grace_period 10s
    admin off
    servers {
        timeouts {
            idle 2m
            read_header 5s
        }
        max_header_size 16KB
        trusted_proxies static 10.0.0.0/8
        protocols h1
    }
}
http://a.test {
    respond x
}
"""
WSGI = {"app": "m:a", "interface": "wsgi"}
ASGI = {"app": "m:a", "interface": "asgi", "lifespan": "off"}


@pytest.mark.parametrize(
    ("directives", "wanted"),
    [
        ("python m:a", WSGI),
        ('python "m:a"', WSGI),
        ("python {\n module_asgi m:a\n}", ASGI),
        ("python {\n module_asgi m:a\n lifespan on\n}", ASGI | {"lifespan": "on"}),
        ("route {\n python m:a\n}", WSGI),
        ("route /* {\n python {\n module_wsgi m:a\n }\n}", WSGI),
        ("handle {\n python m:a\n}", WSGI),
        ("encode gzip\npython m:a", {"compress": "gzip", **WSGI}),
        ("encode\npython m:a", {"compress": "auto", **WSGI}),
        ("python m:a\nrequest_body {\n max_size 1MB\n}", WSGI | {"limit-request-body": "1MB"}),
        (
            "python {\n module_wsgi m:a\n request_body 1KiB\n}",
            WSGI | {"limit-request-body": "1KiB"},
        ),
        ("respond hello", {"respond": "hello"}),
        ("respond 404", {"respond": "", "respond-status": 404}),
        ("respond hello 201", {"respond": "hello", "respond-status": 201}),
        ("respond * {\n body hello\n close\n}", {"respond": "hello"}),
        (
            "redir https://b.test{uri}",
            {"redirect": "https://b.test{uri}", "redirect-status": 302},
        ),
        (
            "redir https://{http.request.host}{http.request.uri} permanent",
            {"redirect": "https://{host}{uri}", "redirect-status": 301},
        ),
        ("redir * /new 308", {"redirect": "/new", "redirect-status": 308}),
        ("root * /srv\nfile_server", {"static-path": "/srv"}),
        (
            "file_server {\n root pub\n index a.html\n}",
            {"static-path": "pub", "static-index": ["a.html"]},
        ),
        ("file_server browse", {"static-path": ".", "static-listing": True}),
        (
            "root * dist\ntry_files {path} /index.html\nfile_server",
            {"static-path": "dist", "static-spa": "index.html"},
        ),
        ("log\nrespond x", {"access-log": "-", "access-log-format": "json", "respond": "x"}),
        (
            "log {\n output file a.log {\n  roll_size 1MB\n }\n format console\n}\nrespond x",
            {"access-log": "a.log", "access-log-format": "combined", "respond": "x"},
        ),
        (
            "header X-A b\nheader {\n +Link </x>\n ?X-C d\n -X-E\n >X-F g\n}\nrespond x",
            {"header": ["X-A: b", "+Link: </x>", "?X-C: d", "-X-E", "X-F: g"], "respond": "x"},
        ),
    ],
)
def test_directives_of_a_site(tmp_path: Path, directives: str, wanted: dict[str, Any]) -> None:
    """Each for all paths of the site."""
    assert site(tmp_path, directives) == wanted


@pytest.mark.parametrize(
    ("directives", "routes"),
    [
        ("python /api/* m:a", [{"path": "/api", **WSGI, "prefix": "keep"}]),
        ("python /api m:a", [{"path": "/api", "exact": True, **WSGI, "prefix": "keep"}]),
        (
            "@x path /a/* /b/*\npython @x m:a",
            [{"path": ["/a", "/b"], **WSGI, "prefix": "keep"}],
        ),
        ("@x {\n path /a/*\n}\nhandle @x {\n respond x\n}", [{"path": "/a", "respond": "x"}]),
        ("handle /api/* {\n python m:a\n}", [{"path": "/api", **WSGI, "prefix": "keep"}]),
        ("handle_path /api/* {\n python m:a\n}", [{"path": "/api", **WSGI, "prefix": "strip"}]),
        (
            "handle /api/* {\n uri strip_prefix /api\n python m:a\n}",
            [{"path": "/api", **WSGI, "prefix": "strip"}],
        ),
        ("route /api/* {\n python m:a\n}", [{"path": "/api", **WSGI, "prefix": "keep"}]),
        ("respond /up OK", [{"path": "/up", "exact": True, "respond": "OK"}]),
        (
            "redir /old /new",
            [{"path": "/old", "exact": True, "redirect": "/new", "redirect-status": 302}],
        ),
        ("root * pub\nfile_server /static/*", [{"path": "/static", "static-path": "pub/static"}]),
        (
            "handle /static/* {\n root * pub\n file_server\n}",
            [{"path": "/static", "static-path": "pub/static"}],
        ),
        (
            "handle_path /static/* {\n root * pub\n file_server\n}",
            [{"path": "/static", "static-path": "pub"}],
        ),
        (
            "handle /a/* {\n respond a\n handle /b/* {\n respond b\n }\n}",
            [{"path": "/a", "respond": "a", "route": [{"path": "/b", "respond": "b"}]}],
        ),
        (
            "header X-A 1\nheader /s/* X-B 2\nhandle /s/* {\n respond s\n}",
            [{"path": "/s", "respond": "s", "header": ["X-A: 1", "X-B: 2"]}],
        ),
        (
            "header /s/* X-B 2\nroot * pub\nfile_server",
            [{"path": "/s", "static-path": "pub/s", "header": ["X-B: 2"]}],
        ),
        (
            "header /s/* X-B 2\npython m:a",
            [{"path": "/s", **WSGI, "prefix": "keep", "header": ["X-B: 2"]}],
        ),
    ],
)
def test_directives_of_paths(tmp_path: Path, directives: str, routes: list[dict[str, Any]]) -> None:
    """Each for some paths: a route, with its prefix and its files where Caddy has them."""
    assert site(tmp_path, directives)["route"] == routes


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("http://a.test {\nrespond x\n}", {"bind": [":80"]}),
        (":8080 {\nrespond x\n}", {"bind": [":8080"]}),
        (
            "http://a.test:8080 {\nbind 127.0.0.1 ::1\nrespond x\n}",
            {"bind": ["127.0.0.1:8080", "[::1]:8080"]},
        ),
        (
            "a.test {\nrespond x\n}",
            {"bind": [":443"], "domain": ["a.test"], "redirect-http": 80},
        ),
        (
            "a.test, www.a.test {\ntls me@a.test\nrespond x\n}",
            {
                "bind": [":443"],
                "domain": ["a.test", "www.a.test"],
                "redirect-http": 80,
                "acme-email": "me@a.test",
            },
        ),
        (
            "localhost {\nrespond x\n}",
            {"bind": [":443"], "tls-internal": True, "redirect-http": 80},
        ),
        (
            "a.test {\ntls internal\nrespond x\n}",
            {"bind": [":443"], "tls-internal": True, "tls-name": ["a.test"], "redirect-http": 80},
        ),
        (
            "a.test {\ntls c.pem k.pem {\n protocols tls1.3\n}\nrespond x\n}",
            {
                "bind": [":443"],
                "certfile": ["c.pem"],
                "keyfile": ["k.pem"],
                "redirect-http": 80,
                "ssl-min-version": "1.3",
            },
        ),
        (
            "{\nauto_https disable_redirects\n}\na.test {\nrespond x\n}",
            {"bind": [":443"], "domain": ["a.test"]},
        ),
        (
            "http://a.test {\nredir https://{host}{uri}\n}\na.test {\nrespond x\n}",
            {"bind": [":443"], "domain": ["a.test"], "redirect-http": 80},
        ),
        (
            "{\nhttp_port 8080\nhttps_port 8443\n}\na.test {\nrespond x\n}",
            {"bind": [":8443"], "domain": ["a.test"], "redirect-http": 8080},
        ),
        (
            "{\nauto_https off\ndefault_bind 127.0.0.1\n}\na.test:8000 {\nrespond x\n}",
            {"bind": ["127.0.0.1:8000"]},
        ),
        (
            "*.a.test {\nrespond x\n}",
            {"bind": [":443"], "on-demand-allow": ["*.a.test"], "redirect-http": 80},
        ),
        (
            GLOBAL,
            {
                "bind": [":80"],
                "acme-email": "e@a.test",
                "acme-directory": "https://ca/d",
                "log-level": "debug",
                "graceful-timeout": 10,
                "keep-alive": 120,
                "header-timeout": 5,
                "limit-request-head": "16KB",
                "forwarded-allow-ips": ["10.0.0.0/8"],
                "http": "1",
            },
        ),
    ],
)
def test_settings_of_the_server(tmp_path: Path, text: str, settings: dict[str, Any]) -> None:
    """Addresses, certificates and global options."""
    document = table(tmp_path, text)
    document.pop("site")
    assert document == settings


TWO = """{
    root * pub
    file_server /f/*
    python /a/* {
        module_wsgi a:a
        venv ./v
        env_var X 1
        env_file .env
        autoreload
        runtime gevent
        workers 3
    }
    python {
        module_asgi b:b
        runtime native
        env_var Y 2
        start_timeout forever
    }
}
"""


def test_settings_of_a_process(tmp_path: Path) -> None:
    """Applications that want different things of it have processes of their own."""
    document = table(tmp_path, ":80 " + TWO)
    (found,) = document.pop("site")
    assert document == {
        "bind": [":80"],
        "reload": True,
        "loop": "asyncio",
        "ready-timeout": 0,
    }
    assert found.pop("route") == [
        {"path": "/f", "static-path": "pub/f"},
        {
            "path": "/a",
            "app": "a:a",
            "interface": "wsgi",
            "prefix": "keep",
            "venv": "./v",
            "env": {"X": "1"},
            "env-file": [".env"],
        },
    ]
    assert found == {"app": "b:b", "interface": "asgi", "lifespan": "off", "env": {"Y": "2"}}


def test_settings_of_a_shared_process(tmp_path: Path) -> None:
    """What all want alike is the server's; so is, over TLS, what paths of a host differ in."""
    document = table(tmp_path, "localhost " + TWO)
    assert document["venv"] == "./v"
    assert document["env"] == {"X": "1", "Y": "2"}
    assert document["env-file"] == [".env"]
    block = "python {\nmodule_wsgi a:a\nworking_dir src\n}"
    moved = table(tmp_path, f":80 {{\nroot * pub\nfile_server /f/*\n{block}\n}}")
    assert moved["working-dir"] == "src"
    assert moved["site"][0]["route"] == [{"path": "/f", "static-path": "../pub/f"}]


def test_several_working_directories(tmp_path: Path) -> None:
    """Each has a process of its own; in one process the same name cannot be imported twice."""
    first = "python /a/* {\nmodule_wsgi NAME:a\nworking_dir one\n}"
    two = f"HOST {{\n{first}\npython {{\nmodule_wsgi b:b\n}}\n}}"
    document = table(tmp_path, two.replace("NAME", "b").replace("HOST", ":80"))
    assert document["site"][0]["route"][0]["working-dir"] == "one"
    secure = two.replace("HOST", "a.test")
    document = table(tmp_path, secure.replace("NAME", "a"))
    assert document["site"][0]["route"][0]["app-dir"] == "one"
    ((line, text),) = lost(tmp_path, secure.replace("NAME", "b"))
    assert line == 6
    assert "same module name 'b'" in text


def test_templates(tmp_path: Path) -> None:
    """An application for each name: of the whole server, or of its site beside others."""
    for text in (examples.DYNAMIC, examples.DYNAMIC_PLAIN):
        document = table(tmp_path, text.replace("PORT", "9080"))
        assert document == {
            "bind": [":9080"],
            "app": "{host.labels.2}:app",
            "interface": "asgi",
            "lifespan": "off",
            "tenant-host": ["*.example.com"],
            "working-dir": "{host.labels.2}",
        }
    document = table(tmp_path, examples.ON_DEMAND)
    assert document["on-demand-dir"] == "/srv/apps/{host.labels.2}"
    assert document["tenant-host"] == ["*.project.example"]
    beside = (examples.DYNAMIC + "www.test:PORT {\npython m:a\n}\n").replace("PORT", "80")
    first, second = table(tmp_path, beside)["site"]
    assert first["hosts"] == ["*.example.com"]
    assert first["working-dir"] == "{host.labels.2}"
    assert second["app"] == "m:a"
    route = "python /x/* {\nmodule_wsgi {host.labels.1}:app\n}\npython m:a\n"
    assert "a host of its own" in lost(tmp_path, f"a.test {{\n{route}}}")[0][1]


@pytest.mark.parametrize(
    ("directives", "line", "wanted"),
    [
        ("reverse_proxy localhost:3000", 2, "let the application be served here"),
        ("\nbasic_auth {\n a b\n}", 3, "in the application"),
        ("nothing_known x", 2, "see docs/sites.md"),
        ("python {\n module_esgi m:a\n}", 3, "ESGI"),
        ("python {\n module_wsgi m:a\n isolation docker {\n  image x\n }\n}", 4, "container"),
        ("python /* {\n}", 2, "no application"),
        ("@m method POST\npython @m m:a", 3, "asks for method"),
        ("@m host b.test\nhandle @m {\n respond x\n}", 3, "asks for host"),
        ("python @gone m:a", 2, "no matcher @gone"),
        ("handle /*.php {\n respond x\n}", 2, "no beginning of a path"),
        ("respond {http.request.uri}", 2, "always the same"),
        ("redir {http.request.cookie.a}", 2, "there is no placeholder"),
        ("redir * /x html", 2, "redirect"),
        ("header X-A {uuid}", 2, "always the same"),
        ("header X-A a b", 2, "cannot be searched"),
        ("header X-* a", 2, "name each field"),
        ("root * {env.HOME}\nfile_server", 2, "static-path"),
        ("log {\n output net localhost:1\n}\nrespond x", 3, "Logging"),
        ("handle_path /a/* {\n handle /b/* {\n  python m:a\n }\n}", 4, "only a part is cut off"),
    ],
)
def test_what_is_not_translated(tmp_path: Path, directives: str, line: int, wanted: str) -> None:
    """It is named with its line and what comes nearest, also in the document."""
    result = translated(tmp_path, "http://a.test {\n" + directives + "\n}\n")
    notes = [note for note in result.notes if note.lost]
    assert any(note.line == line and wanted in str(note) for note in notes), result.notes
    assert f"# line {line}:" in result.document("Caddyfile")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{\nlayer4 {\n}\n}\n:80 {\nrespond x\n}", 2),
        ("a.test {\ntls {\n dns cloudflare\n}\nrespond x\n}", 3),
        ("a.{$X}.test:x {\nrespond x\n}", 1),
        (":80 {\nrespond a\n}\n:81 {\nrespond b\n}", 4),
        ("&(r) {\nlog\n}\n:80 {\nrespond a\n}", 2),
    ],
)
def test_what_is_lost_besides(tmp_path: Path, text: str, line: int) -> None:
    """Options, addresses, ports that tell sites apart, named routes."""
    assert [number for number, _ in lost(tmp_path, text)] == [line]


def test_what_is_never_reached_is_said(tmp_path: Path) -> None:
    """Of two answers for everything the first of Caddy's order counts."""
    result = translated(tmp_path, ":80 {\nfile_server\npython m:a\n}")
    assert result.sites == [WSGI]
    assert "never reached" in str(result.notes[0])
    assert translated(tmp_path, ":80 {\npython m:a\nrespond x\n}").sites == [WSGI]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It writes the file, says what is not in it by exit status, and overwrites nothing."""
    (tmp_path / "Caddyfile").write_text(":80 {\nrespond x\nvars a b\n}\n")
    assert command.main([], tmp_path, {}) == command.INCOMPLETE
    said = capsys.readouterr().err
    assert "Caddyfile line 3: vars a b: not translated" in said
    assert "1 site, 1 not translated" in said
    assert "Start it with: nogilserve\n" in said
    assert tomllib.loads((tmp_path / "nogilserve.toml").read_text())["bind"] == [":80"]
    with pytest.raises(ConfigError, match="exists already"):
        command.main([], tmp_path, {})
    (tmp_path / "Caddyfile").write_text(":81 {\nrespond x\n}\n")
    assert command.main(["-f"], tmp_path, {}) == 0
    assert command.main([str(tmp_path), "-o", "-"], tmp_path, {}) == 0
    assert 'bind = [":81"]' in capsys.readouterr().out
    (tmp_path / "Caddyfile").write_text(":81 {\n")
    with pytest.raises(ConfigError, match=r"^Caddyfile line 1: the block is not closed"):
        command.main(["-f"], tmp_path, {})
    with pytest.raises(ConfigError, match="cannot read"):
        command.main(["none"], tmp_path, {})


def test_the_size_of_bodies_counts_for_its_application_alone(tmp_path: Path) -> None:
    """Not for the ones beside it."""
    document = table(
        tmp_path,
        "http://a.test {\n python /a/* {\n module_wsgi m:a\n request_body 1KiB\n }\n"
        "python /b/* m:b\n}",
    )
    assert "limit-request-body" not in document
    routes = document["site"][0]["route"]
    assert [route.get("limit-request-body") for route in routes] == ["1KiB", None]


def test_values_of_every_kind_survive(tmp_path: Path) -> None:
    """Text with quotes, backslashes, controls and other scripts comes back from the TOML."""
    text = 'a"b\\c\x7f\u2028ü\t'
    document = table(tmp_path, f":80 {{\nrespond `{text}`\n}}")
    assert document["site"][0]["respond"] == text


LEAVES = st.sampled_from(
    [
        *("python m:a", "python /a/* m:b", "python @m m:c", "python {host.labels.1}:app"),
        *("respond x", "respond /r 404", "redir /old /new 301", "redir https://{host}{uri}"),
        *("root * pub", "file_server", "file_server /f/* browse", "try_files {path} /i.html"),
        *("encode zstd gzip", "header X-A b", "header /h/* -X-B", "log", "request_body 1MB"),
        *("@m path /m/* /n", "@m method GET", "uri strip_prefix /a", "vars x y", "tls internal"),
        *("bind 127.0.0.1", "tls c.pem k.pem", "reverse_proxy x:1", "root * {env.NONE}"),
    ]
)
DIRECTIVES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda head, body: head + " {\n" + "\n".join(body) + "\n}",
        st.sampled_from(
            [
                *("handle", "handle /a/*", "handle_path /b/*", "route", "route /c*", "handle @m"),
                *("handle_path /b/* /c", "header", "log"),
            ]
        ),
        st.lists(inner, max_size=4),
    ),
    max_leaves=6,
)
PROCESSES = st.lists(
    st.sampled_from(
        [
            *("module_wsgi p:a", "module_asgi q:a", "module_asgi {host.labels.0}:a", "venv v"),
            *(
                "working_dir w",
                "env_var A b",
                "env_file e",
                "workers 2",
                "autoreload",
                "lifespan on",
            ),
        ]
    ),
    max_size=4,
).map(lambda lines: "python /p/* {\n" + "\n".join(lines) + "\n}")
ADDRESSES = st.sampled_from(
    [
        "a.test",
        "http://a.test",
        ":8080",
        "localhost",
        "*.b.test",
        "http://c.test:81/x",
        "d.test, e.test",
    ]
)
FILES = st.lists(
    st.tuples(ADDRESSES, st.lists(DIRECTIVES | PROCESSES, max_size=5)), min_size=1, max_size=3
).map(
    lambda sites: "\n".join(address + " {\n" + "\n".join(body) + "\n}" for address, body in sites)
)
MISSING = re.compile(r"is not a directory|cannot be used: |--certfile|--keyfile|python|interpreter")


@given(FILES)
@settings(max_examples=150)
def test_the_result_is_always_a_configuration(text: str) -> None:
    """Whatever stands in a Caddyfile: the document is TOML, and nothing but files that are not
    there is wrong with it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for directory in ("pub/assets", "pub/f", "pub/a/f", "w", "v/bin"):
            (folder / directory).mkdir(parents=True)
        document = translated(folder, text).document("Caddyfile")
        tomllib.loads(document)
        (folder / "made.toml").write_text(document, encoding="utf-8")
        try:
            resolve(["--config", "made.toml"], {}, folder, 2)
        except ConfigError as error:
            lines = str(error).split("\n")
            wrong = [
                line for line in lines if not MISSING.search(line) and "mistakes in" not in line
            ]
            assert wrong == [], text + "\n---\n" + document
