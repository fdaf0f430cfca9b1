"""What a tenant may use: cgroups where there are any, and as whom it runs."""

import os
from pathlib import Path

import pytest

from nogilserve.config import Config
from nogilserve.errors import ConfigError
from nogilserve.supervise.identity import Identity
from nogilserve.supervise.tenants.bounds import Bounds, Groups, near, processors

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")


def test_cgroups(tmp_path: Path) -> None:
    """A tenant's processes are put into one with its limits; it is removed with the tenant."""
    bounds = Bounds(Groups(tmp_path), "shop/en", 7)
    config = Config(tenant_memory=300 << 20, tenant_cpu=0.5)
    group = tmp_path / f"nogilserve-{os.getpid()}-7-shop.en"
    assert bounds.enter(123, config) == {}
    assert (group / "memory.max").read_text() == str(300 << 20)
    assert (group / "cpu.max").read_text() == "50000 100000"
    assert (group / "cgroup.procs").read_text() == "123"
    # Other limits after a reload, then none.
    assert bounds.enter(124, Config(tenant_memory=400 << 20)) == {}
    assert (group / "memory.max").read_text() == str(400 << 20)
    assert (group / "cpu.max").read_text() == "max 100000"
    assert bounds.enter(125, Config()) == {}
    assert (group / "memory.max").read_text() == "max"
    assert (group / "cgroup.procs").read_text() == "125"
    for file in group.iterdir():  # as the kernel does
        file.unlink()
    bounds.close()
    assert not group.exists()


def test_without_cgroups() -> None:
    """The process limits itself: memory with room for the stacks, processors in turn."""
    config = Config(tenant_memory=64 << 20, tenant_cpu=1.0, threads=8)
    asked = Bounds(Groups(None), "shop", 1).enter(123, config)
    assert asked["data"] == (64 << 20) + 16 * (8 << 20)
    assert len(asked["processors"]) == 1
    assert Bounds(Groups(None), "shop", 1).enter(123, Config()) == {}


def test_groups_that_cannot_be_divided(tmp_path: Path) -> None:
    """Said once, and nothing is left behind; where nobody wants them nobody looks."""
    groups = Groups.find(wanted=True, root=tmp_path / "nothing")
    assert groups.make("shop", 1, 1) is None
    assert list(tmp_path.iterdir()) == []
    assert Groups.find(wanted=False, root=tmp_path).make("shop", 1, 1) is None


def test_processors_in_turn() -> None:
    """Tenants are spread; nobody gets more than there are, or none."""
    there = sorted(os.sched_getaffinity(0))
    assert processors(0.5, 0) == [there[0]]
    assert processors(0.5, 1) == [there[1 % len(there)]]
    assert processors(1.5, 0) == there[:2]
    assert sorted(processors(10_000, 3)) == there


def test_near() -> None:
    """A tenant is started anew before its memory is used up, or when --max-rss says so."""
    assert near(100, 0) == 90
    assert near(100, 50) == 50
    assert near(0, 50) == 50


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_whose_it_is(tmp_path: Path) -> None:
    """The owner of the folder, never with root's group; root's own folders are refused."""
    bounds = Bounds(Groups(None), "shop", 1)
    config = Config(tenant_user="owner")
    assert bounds.identity(Config(), str(tmp_path)).for_child() == {}
    with pytest.raises(ConfigError, match="belongs to root"):
        bounds.identity(config, str(tmp_path))
    os.chown(tmp_path, 54321, 0)
    found = bounds.identity(config, str(tmp_path)).for_child()
    assert found == {"user": 54321, "group": 54321, "extra_groups": []}
    os.chown(tmp_path, 54321, 4321)
    found = bounds.identity(config, str(tmp_path)).for_child()
    assert found == {"user": 54321, "group": 4321, "extra_groups": []}
    found = bounds.identity(Config(tenant_user="12345"), str(tmp_path)).for_child()
    assert found["group"] == 12345


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="for root")
def test_users_that_are_numbers() -> None:
    """--user with a number that nobody has written down: never with root's group."""
    found = Identity.of("54321", "").for_child()
    assert found == {"user": 54321, "group": 54321, "extra_groups": []}
    found = Identity.of("54321", "4321").for_child()
    assert found == {"user": 54321, "group": 4321, "extra_groups": [4321]}
