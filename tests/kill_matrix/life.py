"""One life of a service: a process that runs until its stream ends, someone asks it to, or it is killed."""

import logging
import mmap
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from simulators.faults import Death, Steps, kill_process, watched
from stream.adapters.process import ThisProcess
from stream.adapters.progress import ConsoleReporter, LogLines
from stream.commands.run import Part, serve
from stream.errors import ScallError, StorageError
from stream.settings_file import load_service
from tests.kill_matrix.sabotage import SABOTAGE
from tests.kill_matrix.small_polls import SmallPolls

# Of each part of the service, the methods that are steps.
WATCHED = {
    "client": ("poll", "commit"),
    "decoder": ("decode",),
    "source": ("seek", "commit"),
    "dead_letters": ("rewind", "write", "mark"),
    "checkpoints": ("load", "save"),
    "policy": ("restore", "decide", "state"),
    "trainer": ("restore", "sort", "test", "learn", "resize_within_window", "resize", "open_window", "state"),
    "disk": ("create", "write", "flush", "fsync", "rename", "fsync_folder", "remove"),
}
STEPS = tuple(f"{part}.{name}" for part, names in WATCHED.items() for name in names)
AT_THE_START = frozenset(
    {"source.seek", "dead_letters.rewind", "checkpoints.load", "policy.restore", "trainer.restore"}
)
"""Steps that a life takes once, if there is a checkpoint."""


class Life(msgspec.Struct, frozen=True):
    """How a service is to live."""

    config: Path
    log: Path
    """What it says, standard output and error, is added to this file."""
    last_step: Path | None = None
    """A file that holds the name of the step that was taken last, whatever became of the process."""
    until_end: bool = False
    standby: bool = False
    death: Death | None = None
    dawdle_s: float = 0.0
    """Every step waits for up to so long first."""
    records_per_poll: int | None = None
    """At most so many of a partition are given at once; None: as many as there are."""
    seed: int = 0
    sabotage: str | None = None
    """A name in :data:`SABOTAGE`: a part that does not do what it promises."""


def live(life: Life) -> int:
    """Run the service in this process, as the command does; return its exit status."""
    try:
        service = load_service(life.config, os.environ)
        with (
            ThisProcess() as process,
            ConsoleReporter(None, service.settings.memory.budget_bytes) as reporter,
            LogLines(reporter, logging.INFO),
        ):
            part = parts(life, service)
            serve(service, process, reporter, standby=life.standby, until_end=life.until_end, part=part)
    except ScallError as error:
        print(f"scall: {error}", file=sys.stderr)
        return 1 if isinstance(error, StorageError) else 2
    return 0


def parts(life: Life, service: Any) -> Part:
    """Return what stands between the service and its parts."""
    steps = Steps(death=life.death, die=kill_process, watch=watch(life))
    spoil = SABOTAGE[life.sabotage](service) if life.sabotage else None

    def part(name: str, original: Any) -> Any:
        if name == "client" and life.records_per_poll:
            original = SmallPolls(original, life.records_per_poll, random.Random(life.seed))
        if spoil:
            original = spoil(name, original)
        return watched(original, steps, *WATCHED.get(name, ()), prefix=f"{name}.")

    return part


def watch(life: Life) -> Callable[[str], None]:
    rng = random.Random(life.seed)
    memory = shared_memory(life.last_step) if life.last_step else None

    def note(step: str) -> None:
        if memory:
            memory[:] = step.encode().ljust(len(memory))
        if life.dawdle_s:
            time.sleep(rng.uniform(0, life.dawdle_s))

    return note


def shared_memory(path: Path, num_bytes: int = 64) -> mmap.mmap:
    """Return a file as memory: what is written to it is in the file, even if the process is killed right after."""
    path.write_bytes(b" " * num_bytes)
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), num_bytes)
