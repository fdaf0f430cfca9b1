"""Finding applications: real modules on disk, imported as a user's would be."""

import asyncio
import functools
import importlib
import itertools
import os
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nogilserve.apps import LoadedApp, detect_interface, load_app
from nogilserve.errors import AppImportError
from tests.support.extension import compile_extension

ROOT = Path(__file__).resolve().parents[1]
COUNTER = itertools.count()

WSGI = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"app"]
"""


class Project:
    """A directory with Python files, each test's own; {m} in texts is a fresh module name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.module = f"project{next(COUNTER)}"

    def write(self, text: str, name: str = "{m}.py") -> Path:
        """Write a file; `name` is relative to the directory."""
        path = self.folder / name.format(m=self.module)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).replace("{m}", self.module))
        return path

    def load(self, spec: str = "{m}", **options: Any) -> LoadedApp:
        """Load with the directory as --app-dir."""
        return load_app(spec.replace("{m}", self.module), app_dir=str(self.folder), **options)

    def refuse(self, spec: str = "{m}", **options: Any) -> AppImportError:
        """Load something wrong; returns the error."""
        with pytest.raises(AppImportError) as caught:
            self.load(spec, **options)
        return caught.value


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A directory for modules, forgotten afterwards."""
    path, modules = list(sys.path), set(sys.modules)
    yield Project(tmp_path)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith(("project", "package")):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.mark.parametrize(
    ("spec", "attribute"),
    [
        ("{m}:app", "app"),
        ("{m}", "app"),
        ("{m}:site.wsgi", "site.wsgi"),
        ("{m}:site.inner.wsgi", "site.inner.wsgi"),
    ],
)
def test_module_and_attribute(project: Project, spec: str, attribute: str) -> None:
    """module:attribute, dotted attributes and a bare module lead to the very object."""
    project.write(WSGI + "class site:\n    wsgi = app\n    class inner:\n        wsgi = app\n")
    loaded = project.load(spec)
    assert loaded.app is sys.modules[project.module].app
    assert loaded.name == f"{project.module}:{attribute}"
    assert (loaded.interface, loaded.gil_enabled_by) == ("wsgi", ())


def test_bare_module_tries_application_second(project: Project) -> None:
    """Of a bare module `application` is taken where there is no `app`."""
    project.write(WSGI.replace("app(", "application("))
    assert project.load().name == f"{project.module}:application"


def test_module_in_a_package(project: Project) -> None:
    """A dotted module name is imported with its packages."""
    project.write("", "package_{m}/__init__.py")
    project.write(WSGI, "package_{m}/web.py")
    assert project.load("package_{m}.web:app").interface == "wsgi"


@pytest.mark.parametrize("tail", ["", ":app"])
def test_path_of_a_file(project: Project, tail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path, absolute or relative, with or without :attribute, imports that file."""
    path = project.write(WSGI, "sub/{m}.py")
    monkeypatch.chdir(project.folder)
    for spec in (f"{path}{tail}", f"sub/{project.module}.py{tail}", f"./sub/{path.name}{tail}"):
        loaded = load_app(spec)
        assert loaded.app is sys.modules[project.module].app
    assert sys.path[0] == str(path.parent)


def test_path_of_a_file_in_a_package(project: Project) -> None:
    """A file inside a package is imported as part of it, so that relative imports work."""
    project.write("", "package_{m}/__init__.py")
    project.write(WSGI, "package_{m}/inner.py")
    path = project.write("from .inner import app", "package_{m}/web.py")
    assert load_app(str(path)).name == f"package_{project.module}.web:app"


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ("create_app()", ("default", False)),
        ("create_app('prod')", ("prod", False)),
        ("create_app(debug=True)", ("default", True)),
        ("make.create_app('x', debug=1)", ("x", 1)),
        (" create_app ( ( 'a' , [1] ) ) ", (("a", [1]), False)),
    ],
)
def test_factory_with_literal_arguments(project: Project, call: str, result: object) -> None:
    """module:create_app(…) calls the factory with the literals that stand there."""
    project.write("""
        calls = []
        def create_app(kind="default", debug=False):
            def app(environ, start_response):
                return []
            calls.append((kind, debug))
            return app
        class make:
            create_app = create_app
    """)
    assert project.load("{m}:" + call).interface == "wsgi"
    assert sys.modules[project.module].calls == [result]


def test_factory_option(project: Project) -> None:
    """--factory calls the named attribute without arguments."""
    project.write(WSGI + "def make():\n    return app\n")
    loaded = project.load("{m}:make", factory=True)
    assert (loaded.app, loaded.name) == (sys.modules[project.module].app, f"{project.module}:make")


@pytest.mark.parametrize(
    ("text", "spec", "options", "words"),
    [
        (WSGI, "{m}x:app", {}, ["no module '{m}x'", "did you mean '{m}'?"]),
        (WSGI, "zzz:app", {}, ["no module 'zzz'", "modules there: {m}"]),
        (WSGI, "{m}.web:app", {}, ["no module '{m}.web'"]),
        (WSGI, "{m}:ap", {}, ["no 'ap' in '{m}'", "did you mean 'app'?", "looks like an applic"]),
        (WSGI, "{m}:app.x", {}, ["no 'x' in '{m}.app'"]),
        (WSGI, "{m}", {"factory": True}, ["the factory app failed", "TypeError"]),
        (WSGI, "{m}:", {}, ["nothing stands behind the colon of '{m}:'"]),
        (WSGI, "{m}.py:", {}, ["nothing stands behind the colon"]),
        (WSGI, "{m}.app", {}, ["no module '{m}.app'", "did you mean '{m}:app'?"]),
        (WSGI, "{m}.wep", {}, ["'{m}' is a module, not a package", "application there: app"]),
        (WSGI, "{m}.app:x", {}, ["'{m}' is a module, not a package"]),
        (WSGI, "{m}:app.x.y", {}, ["no 'x' in '{m}.app'", "'{m}:app' itself looks like"]),
        ("import os\nsite = 3", "{m}", {}, ["neither 'app' nor", "names there: site"]),
        ("site = 3", "{m}:sites", {}, ["did you mean 'site'?"]),
        ("def web(environ, start_response): pass", "{m}", {}, ["neither 'app' nor", "there: web"]),
        ("def create_app(): pass", "{m}", {}, ["neither 'app' nor", "create_app()"]),
        ("", "{m}", {}, ["has neither 'app' nor 'application'; it is empty"]),
        ("app = 3", "{m}:app", {}, ["{m}:app is not an application", "an int", "cannot be called"]),
        ("app = None", "{m}", {}, ["a NoneType"]),
        ("def app(): pass", "{m}:app", {}, ["takes no arguments", "--factory"]),
        ("app = 3", "{m}:app", {"factory": True}, ["not a factory", "an int"]),
        ("def make(): pass", "{m}:make()", {}, ["{m}:make()", "a NoneType"]),
        ("async def make(): pass", "{m}:make()", {}, ["make() is asynchronous"]),
        ("def make(): pass", "{m}:make()", {"factory": True}, ["called already", "--factory"]),
        (WSGI, "{m}:make(app)", {}, ["must be literals"]),
        (WSGI, "{m}:make(*[1])", {}, ["must be literals"]),
        (WSGI, "{m}:make(**{})", {}, ["must be literals"]),
        (WSGI, "{m}:1+1", {}, ["neither a name nor a call"]),
        (WSGI, "{m}:a b", {}, ["neither a name nor a call"]),
        (WSGI, "{m}:__import__('os').system('true')", {}, ["neither a name nor a call"]),
        (WSGI, "sub/{m}:app", {}, ["no module name", ".py"]),
        (WSGI, "my-app:app", {}, ["'my-app:app' does not name an application"]),
        (WSGI, "/nowhere/{m}.py", {}, ["there is no file '/nowhere/{m}.py'"]),
        ("def app(*args): pass", "{m}:app", {}, ["WSGI or ASGI", "--interface"]),
        ("def app(a, b, c, d): pass", "{m}:app", {}, ["(a, b, c, d)", "--interface"]),
        ("app = dict.fromkeys", "{m}:app", {}, ["--interface"]),
    ],
)
def test_wrong_name_says_what_was_looked_for_and_what_is_there(
    project: Project, text: str, spec: str, options: dict[str, Any], words: list[str]
) -> None:
    """A wrong name is one sentence without a traceback: the import itself was fine."""
    project.write(text)
    error = project.refuse(spec, **options)
    for word in words:
        assert word.replace("{m}", project.module) in str(error)
    assert error.detail == ""


@pytest.mark.parametrize("spec", ["package_{m}", "package_{m}:app", "package_{m}:application"])
def test_module_of_a_package_is_suggested(project: Project, spec: str) -> None:
    """Of a package, as Django makes one, its module wsgi is suggested."""
    project.write("", "package_{m}/__init__.py")
    project.write(WSGI, "package_{m}/wsgi.py")
    project.write(WSGI, "package_{m}/urls.py")
    expected = f"did you mean 'package_{project.module}.wsgi'?"
    assert str(project.refuse(spec)).endswith(expected)
    dotted = project.refuse("package_{m}.wsgi.app")
    assert f"did you mean 'package_{project.module}.wsgi:app'?" in str(dotted)


def test_modules_are_listed_beside_the_near_one(project: Project) -> None:
    """A wrong module gets the near name and the others."""
    project.write(WSGI)
    project.write(WSGI, "other.py")
    message = str(project.refuse("{m}x:app"))
    assert f"did you mean '{project.module}'? Modules there: other" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_module_at_all", ["ModuleNotFoundError", "no_such_module_at_all"]),
        ("def f():\n    return 1 / 0\nf()", ["ZeroDivisionError"]),
        ("def app(:", ["SyntaxError"]),
        ("import sys\nsys.exit(4)", ["sys.exit(4)"]),
        ("raise ExceptionGroup('two', [ValueError(1)])", ["two"]),
    ],
)
def test_failed_import_shows_the_users_traceback(
    project: Project, text: str, words: list[str]
) -> None:
    """When the import fails, the traceback starts in the user's file, without our frames."""
    path = project.write(text)
    error = project.refuse("{m}:app")
    for word in [f"importing '{project.module}'", *words]:
        assert word in str(error)
    assert str(path) in error.detail
    assert "nogilserve" not in error.detail.replace(str(ROOT), "")
    assert "importlib" not in error.detail


def test_failed_import_of_an_import_shows_both(project: Project) -> None:
    """A module missing inside the application is not mistaken for a missing application."""
    project.write("import {m}_missing", "{m}_inner.py")
    project.write(
        "try:\n    import {m}_inner\nexcept ImportError as e:\n    raise ValueError from e"
    )
    error = project.refuse("{m}:app")
    assert "ValueError" in str(error)
    assert f"{project.module}_inner.py" in error.detail
    assert "direct cause" in error.detail


def test_failing_factory_shows_the_users_traceback(project: Project) -> None:
    """An exception in a factory is reported like one in an import."""
    path = project.write("def create_app():\n    raise LookupError('no database')")
    for error in (
        project.refuse("{m}:create_app()"),
        project.refuse("{m}:create_app", factory=True),
    ):
        assert "LookupError: no database" in str(error)
        assert str(path) in error.detail
        assert "find.py" not in error.detail


def test_file_with_the_name_of_another_module_is_refused(project: Project) -> None:
    """A path like json.py would import the standard library's json: that is said, not done."""
    path = project.write(WSGI, "json.py")
    with pytest.raises(AppImportError, match=r"cannot be imported as 'json'.*rename the file"):
        load_app(str(path))


# ---- WSGI or ASGI ----------------------------------------------------------------------------


def wsgi_function(environ: Any, start_response: Any) -> list[bytes]:
    """WSGI."""
    return []


def wsgi_renamed(env: Any, sr: Any) -> list[bytes]:
    """WSGI with other names."""
    return []


def wsgi_default(environ: Any, start_response: Any, debug: bool = False) -> list[bytes]:
    """WSGI with a parameter more."""
    return []


async def asgi_function(scope: Any, receive: Any, send: Any) -> None:
    """ASGI 3."""


def asgi_plain(scope: Any, receive: Any, send: Any) -> Any:
    """ASGI 3 that returns an awaitable."""


def asgi_double(scope: Any) -> Any:
    """ASGI 2."""


class WsgiClass:
    """PEP 3333's class: making an instance is the call."""

    def __init__(self, environ: Any, start_response: Any) -> None:
        pass

    def __iter__(self) -> Iterator[bytes]:
        return iter(())


class AsgiClass:
    """ASGI 2 as a class."""

    def __init__(self, scope: Any) -> None:
        pass

    async def __call__(self, receive: Any, send: Any) -> None:
        pass


class WsgiObject:
    """Such as Flask and Django make."""

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return []

    def method(self, environ: Any, start_response: Any) -> list[bytes]:
        """WSGI as a bound method."""
        return []


class AsgiObject:
    """Such as Starlette makes."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        pass

    async def method(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI as a bound method."""


@functools.wraps(wsgi_function)
def wrapped(*args: Any, **keywords: Any) -> Any:
    """A decorator that keeps the signature."""
    return wsgi_function(*args, **keywords)


def extra(setting: int, environ: Any, start_response: Any) -> list[bytes]:
    """For functools.partial."""
    return []


async def async_extra(setting: int, scope: Any, receive: Any, send: Any) -> None:
    """For functools.partial."""


@pytest.mark.parametrize(
    ("app", "interface"),
    [
        (wsgi_function, "wsgi"),
        (wsgi_renamed, "wsgi"),
        (wsgi_default, "wsgi"),
        (wrapped, "wsgi"),
        (WsgiClass, "wsgi"),
        (WsgiObject(), "wsgi"),
        (WsgiObject().method, "wsgi"),
        (functools.partial(extra, 1), "wsgi"),
        (asgi_function, "asgi"),
        (asgi_plain, "asgi"),
        (asgi_double, "asgi"),
        (AsgiClass, "asgi"),
        (AsgiObject(), "asgi"),
        (AsgiObject().method, "asgi"),
        (functools.partial(async_extra, 1), "asgi"),
        (functools.partial(AsgiObject()), "asgi"),
        (lambda e, s: [], "wsgi"),
        (lambda *args: [], None),
        (lambda a: None, None),
        (dict, None),
        (print, None),
    ],
)
def test_interface_is_told_from_the_signature(app: Any, interface: str | None) -> None:
    """Functions, methods, objects, classes, partials and decorators are told apart, or none."""
    assert detect_interface(app) == interface


def test_frameworks_are_recognised() -> None:
    """Flask's and Django's real applications are WSGI; Django's ASGI handler is ASGI."""
    flask = pytest.importorskip("flask")
    wsgi = pytest.importorskip("django.core.handlers.wsgi")
    asgi = pytest.importorskip("django.core.handlers.asgi")
    assert detect_interface(flask.Flask("x")) == "wsgi"
    assert detect_interface(wsgi.WSGIHandler.__new__(wsgi.WSGIHandler)) == "wsgi"
    assert detect_interface(asgi.ASGIHandler.__new__(asgi.ASGIHandler)) == "asgi"


def test_proxies_in_a_module_are_no_obstacle(project: Project) -> None:
    """Looking for applications, objects that raise on any touch (flask.request) are passed over."""
    project.write("""
        class Proxy:
            __class__ = property(lambda self: 1 / 0)
            def __getattr__(self, name):
                raise RuntimeError("outside of a request")
            def __call__(self):
                pass
        request = Proxy()
        def web(environ, start_response):
            pass
    """)
    assert str(project.refuse()).endswith("looks like an application there: web")


def test_object_with_every_attribute_is_no_obstacle() -> None:
    """An object that claims to have any attribute is judged by its signature."""

    class Obliging(WsgiObject):
        def __getattr__(self, name: str) -> "Obliging":
            if name.startswith("__"):
                raise AttributeError(name)
            return self

    assert detect_interface(Obliging()) == "wsgi"


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_given_interface_is_believed(project: Project, interface: str) -> None:
    """--interface settles what cannot be told, and wins over what can."""
    project.write("def app(*args): pass")
    assert project.load("{m}", interface=interface).interface == interface
    project.write(WSGI, "{m}_2.py")
    assert project.load("{m}_2", interface=interface).interface == interface


@pytest.mark.parametrize(
    "text",
    [
        """
        def app(scope):
            async def run(receive, send):
                await send((scope, await receive()))
            return run
        """,
        """
        class app:
            def __init__(self, scope):
                self.scope = scope
            async def __call__(self, receive, send):
                await send((self.scope, await receive()))
        """,
    ],
)
def test_double_callable_is_made_single(project: Project, text: str) -> None:
    """An ASGI 2 application comes out callable as (scope, receive, send)."""
    project.write(text)
    loaded = project.load()
    sent: list[object] = []

    async def receive() -> str:
        return "message"

    async def send(message: object) -> None:
        sent.append(message)

    asyncio.run(loaded.app("scope", receive, send))
    assert (loaded.interface, sent) == ("asgi", [("scope", "message")])


# ---- the GIL ---------------------------------------------------------------------------------


def test_extension_that_switches_the_gil_on_is_named(tmp_path: Path) -> None:
    """The culprit is named, modules that are safe by their own word are not; nothing is printed."""
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("this build has a GIL anyway")
    compile_extension(tmp_path, "safe_one", safe=True)
    compile_extension(tmp_path, "unsafe_one", safe=False)
    (tmp_path / "inner.py").write_text("import safe_one, unsafe_one\n")
    (tmp_path / "main.py").write_text("import inner\n" + WSGI)
    code = "from nogilserve.apps import load_app; print(load_app('main').gil_enabled_by)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHON_GIL", None)
    for arguments in ([], ["-W", "error"]):
        ended = subprocess.run(
            [sys.executable, *arguments, "-c", code],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert (ended.stdout, ended.stderr) == ("('unsafe_one',)\n", "")
