"""The choice of the runtime, and what is said of the module that switched the GIL on."""

from importlib import metadata
from pathlib import Path

import pytest

from nogilserve.apps.origin import Origin, origin_of
from nogilserve.errors import ConfigError
from nogilserve.runtimes.choose import Choice, Facts, choose, facts_here

FREE = Facts(free_threaded=True, version=(3, 14), cores=4, gil_on=False)
FREE_ON = Facts(True, (3, 14), 4, True, ("lxml.etree",))
FORCED = Facts(True, (3, 14), 4, True)
GIL_13 = Facts(False, (3, 13), 4, True)
GIL_14 = Facts(False, (3, 14), 4, True)
GIL_14_UNFIT = Facts(False, (3, 14), 4, True, obstacle="numpy does not load")
ONE_CORE = Facts(False, (3, 14), 1, True)

TABLE = [
    ("auto", FREE, "threads", ""),
    ("auto", FREE_ON, "processes", "lxml.etree"),
    ("auto", FORCED, "processes", "PYTHON_GIL=1"),
    ("auto", GIL_13, "processes", "has the GIL"),
    ("auto", GIL_14, "subinterpreters", "has the GIL"),
    ("auto", GIL_14_UNFIT, "processes", "numpy does not load"),
    ("auto", ONE_CORE, "threads", ""),
    ("threads", FREE, "threads", ""),
    ("threads", GIL_13, "threads", "one core at a time"),
    ("threads", ONE_CORE, "threads", ""),
    ("threads", FREE_ON, "threads", "one core at a time"),
    ("processes", FREE, "processes", "asked"),
    ("processes", GIL_14, "processes", "asked"),
    ("subinterpreters", FREE, "subinterpreters", "asked"),
    ("subinterpreters", GIL_14, "subinterpreters", "asked"),
    ("subinterpreters", GIL_14_UNFIT, "processes", "numpy does not load"),
]


@pytest.mark.parametrize(("requested", "facts", "runtime", "reason"), TABLE)
def test_the_table(requested: str, facts: Facts, runtime: str, reason: str) -> None:
    """Each row of the decision, with a reason that names what decided it."""
    choice = choose(requested, facts)
    assert choice.runtime == runtime
    assert reason in choice.reason
    assert "\n" not in choice.reason
    assert bool(choice.reason) == bool(reason)


def test_subinterpreters_on_an_old_python() -> None:
    """Refused with a sentence that says what would do instead."""
    with pytest.raises(ConfigError, match=r"need Python 3\.14 or later, this is 3\.13; processes"):
        choose("subinterpreters", GIL_13)


def test_facts_of_this_interpreter() -> None:
    """They can be decided on, whatever interpreter runs the tests."""
    assert isinstance(choose("auto", facts_here(2)), Choice)


# ---- where a module comes from ---------------------------------------------------------------


def test_module_of_a_distribution() -> None:
    """A module is traced to what installed it, also below a package."""
    origin = origin_of("h11._connection")
    assert origin.distribution == "h11"
    assert origin.version == metadata.version("h11")
    assert origin.words == f"h11._connection of h11 {origin.version}"


def test_module_of_no_distribution() -> None:
    """A module that nothing has installed is named alone."""
    origin = origin_of("no_such_module_at_all.part")
    assert origin == Origin("no_such_module_at_all.part")
    assert origin.words == "no_such_module_at_all.part"
    assert origin.advice == "it does not declare that it is safe without the GIL"


def test_namespace_shared_by_distributions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two distributions share a top-level name, the files decide."""
    for name, module in (("acme-one", "one"), ("acme-two", "two")):
        folder = tmp_path / f"{name.replace('-', '_')}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"
            "Classifier: Programming Language :: Python :: Free Threading :: 2 - Beta\n"
        )
        (folder / "RECORD").write_text(f"acme_space/{module}.py,,\n")
        (tmp_path / "acme_space").mkdir(exist_ok=True)
        (tmp_path / "acme_space" / f"{module}.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, module in (("acme-one", "one"), ("acme-two", "two")):
        origin = origin_of(f"acme_space.{module}")
        assert (origin.distribution, origin.declares) == (name, True)
        assert "although it declares" in origin.advice


@pytest.mark.parametrize(
    ("name", "version", "advice"),
    [
        ("SQLAlchemy", "2.0.50", "releases from 2.0.54 on keep it off: pip install -U SQLAlchemy"),
        ("SQLAlchemy", "2.1.0b1", "look for a newer SQLAlchemy"),
        ("lxml", "6.1.3", "no release up to 6.1.3 is known to keep it off"),
        ("lxml", "9.0", "look for a newer lxml"),
        ("Something_Else", "1.0", "look for a newer Something_Else"),
    ],
)
def test_advice(name: str, version: str, advice: str) -> None:
    """Known releases are named; for others there is only the general hint."""
    assert advice in Origin("module", name, version).advice
