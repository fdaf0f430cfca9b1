"""Scenes of the master: one reload meets another, or a generation that fails or still drains."""

from collections.abc import Callable

from stress.mastership import Office, perform
from stress.scenes.scene import Scene
from stress.world import World

__all__ = ["SCENES"]

Deployer = Callable[[Office], None]


def asking(*pauses: float, broken: bool = False) -> Deployer:
    """Somebody who deploys and has the control socket reload, again and again. `broken`: the code
    of every other time."""

    def guest(office: Office) -> None:
        for number, pause in enumerate(pauses):
            office.world.sleep("guest.pause", pause)
            version = office.deploy(broken=broken and not number % 2)
            good, text = office.reload()
            if good and office.newest < version:
                office.world.fail(f"{text!r}, and {office.newest} is served, not {version}")
            if not good and not office.broken and "another one" not in text:
                office.world.fail(f"a reload of good code failed: {text!r}")
            if good and version in office.broken and office.newest <= version:
                office.world.fail(f"{text!r}, with code that cannot be imported")

    return guest


def signalling(*pauses: float) -> Deployer:
    """Somebody who deploys and sends SIGHUP, again and again."""

    def guest(office: Office) -> None:
        for pause in pauses:
            office.world.sleep("guest.pause", pause)
            office.deploy()
            office.hang_up()

    return guest


def starving(office: Office) -> None:
    """Somebody whose reload comes when no process can be started."""
    office.deploy()
    office.scarce = 1
    good, text = office.reload()
    if good or "no process" not in text:
        office.world.fail(f"no process can be started, and a reload says {text!r}")
    office.hang_up()


def reload(world: World) -> None:
    """Several reloads at once, by signals and by commands, while generations start and drain."""
    perform(world, asking(0.0, 0.0), signalling(0.0, 0.06, 0.0), asking(0.06))


def reload_failing(world: World) -> None:
    """Code that cannot be imported, while other reloads wait for their turn."""
    perform(world, asking(0.0, 0.01, broken=True), signalling(0.055, 0.01), asking(0.06, 0.0))


def reload_scarce(world: World) -> None:
    """A process that cannot be started, while a reload waits for it."""
    perform(world, starving)


_FOCUS = ("queue", "process", "master", "guest")

SCENES = [
    Scene("reload", reload.__doc__ or "", reload, _FOCUS),
    Scene("reload-failing", reload_failing.__doc__ or "", reload_failing, _FOCUS),
    Scene("reload-scarce", reload_scarce.__doc__ or "", reload_scarce, _FOCUS),
]
