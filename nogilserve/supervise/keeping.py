"""The body of the keeper process: keeps certificates for the server that started it.

It gets its configuration on standard input, a line whenever there is another, and ends when that is
closed. The listening socket for questions is inherited, so that those of serving processes wait
while a keeper is started again.
"""

import faulthandler
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Final

from nogilserve.config import Config
from nogilserve.supervise.interrupts import MASTERS, STOPPING, leave_to_master
from nogilserve.supervise.spec import config_of
from nogilserve.supervise.words import configure_logging
from nogilserve.tls.acme.jobs import Jobs
from nogilserve.tls.acme.keeper import Keeper
from nogilserve.tls.acme.permission import Gate
from nogilserve.tls.acme.questions import answer_questions
from nogilserve.tls.acme.settings import Settings, settings_of
from nogilserve.tls.storage import FolderStorage, Storage, open_storage, storage_folder
from nogilserve.tls.storage.records import Certificate

__all__ = ["main"]

_ENDING: Final = 2.0
"""Seconds for what is in progress to be given up."""


def main() -> int:
    """`python -c … ROOT DESCRIPTOR LABEL`: the exit status."""
    faulthandler.enable()
    leave_to_master(*STOPPING, *MASTERS)  # the end of standard input ends it
    config = config_of(json.loads(sys.stdin.buffer.readline()))
    configure_logging(config.log_level, form=config.log_format)
    listener = socket.socket(fileno=int(sys.argv[2]))
    keeper = _keeper(config)
    threading.Thread(
        target=answer_questions, args=(listener, keeper), name="questions", daemon=True
    ).start()
    orders = threading.Thread(target=_follow, args=(keeper,), name="orders", daemon=True)
    orders.start()
    keeper.run()
    orders.join()
    # Threads that still wait for an authority are left: their locks end with the process, or soon.
    os._exit(0)


def _follow(keeper: Keeper) -> None:
    """Follow the configuration (see `keeper.KeeperProcess`) until the end of standard input, then
    let what is in progress let go of its locks."""
    while (line := sys.stdin.buffer.readline()).endswith(b"\n"):  # else only a part fitted in
        config = config_of(json.loads(line))
        configure_logging(config.log_level)
        keeper.follow(config.domains)
    keeper.stop(_ENDING)


def _keeper(config: Config) -> Keeper:
    storage = open_storage(config.storage)
    copies = storage
    if not isinstance(copies, FolderStorage):
        copies = FolderStorage(storage_folder(config.storage))
    settings = settings_of(config)
    gate = None
    if config.on_demand:
        gate = Gate(config.on_demand_allow, config.on_demand_ask, config.on_demand_dir)
    return Keeper(
        config.domains,
        _jobs(settings, storage, copies),
        storage,
        copies,
        gate,
        config.on_demand_rate,
    )


def _jobs(
    settings: Settings, storage: Storage, copies: Storage
) -> Callable[[Callable[[float], None], Callable[[str, Certificate], None]], Jobs]:
    def make(wait: Callable[[float], None], save: Callable[[str, Certificate], None]) -> Jobs:
        return Jobs(settings, storage, wait, save, copies)

    return make
