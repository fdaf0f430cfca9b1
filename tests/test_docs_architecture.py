"""The picture in docs/architecture.md is drawn from the code as it is."""

import importlib.util
import sys
from types import ModuleType

import pytest

from tests.support.server import ROOT


@pytest.fixture(scope="module")
def draw() -> ModuleType:
    """The script that draws it."""
    spec = importlib.util.spec_from_file_location("draw", ROOT / "tools/draw_request.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["draw"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_picture(draw: ModuleType) -> None:
    """It is what tools/draw_request.py makes."""
    assert (ROOT / "docs/pictures/request.svg").read_text() == draw.picture()


def test_untrue_pictures_are_noticed(draw: ModuleType) -> None:
    """A function that is gone, or that calls something else now."""
    gone = draw.Step("engine.core:Core.no_such", "", "engine")
    other = draw.Step("engine.core:Core.drive", "", "engine", ("no_such_call",))
    assert draw.untrue((gone, other)) == [
        "there is no engine.core:Core.no_such",
        "engine.core:Core.drive has no no_such_call",
    ]
