"""What is kept of each benchmark: its figures, or why there are none, and where, when and with what it was measured."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[2]
KEPT = Path(__file__).with_name("benchmarks.json")
"""The figures that the README shows."""
QUICK = ROOT / "out" / "benchmarks-quick.json"
"""The figures of quick runs, which show that everything works and no more."""
Figures = dict[str, Any]


class Machine(msgspec.Struct, frozen=True):
    """Where something was measured; None is what nobody noted."""

    processor: str | None
    cores: int | None
    memory_gib: float | None
    python: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A benchmark's row in the file."""

    figures: Figures | None
    why: str | None = None
    """Why there are no figures: what failed, or that there was no time."""
    goals: dict[str, float] = {}
    measured_at: str
    """Date and time, UTC, in ISO 8601; of figures from before this file, the day on which they were taken over."""
    seconds: float | None = None
    """How long the whole benchmark took."""
    quick: bool = False
    commit: str | None = None
    """The commit measured; with a ``+`` where files were changed since."""
    versions: dict[str, str] | None = None
    machine: Machine | None = None
    note: str | None = None


Entries = dict[str, Entry]


def read_entries(path: Path) -> Entries:
    """Return the entries of a file; none, where there is none."""
    return msgspec.json.decode(path.read_bytes(), type=Entries) if path.exists() else {}


def write_entries(path: Path, entries: Mapping[str, Entry]) -> None:
    """Write entries to a file, which is never half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(entries, order="sorted"), indent=2)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_bytes(text + b"\n")
    unfinished.replace(path)


def file_for(*, quick: bool) -> Path:
    """Return where figures go: those of quick runs have a file of their own."""
    return QUICK if quick else KEPT


def this_machine() -> Machine:
    """Describe the machine that this runs on."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(_processor(), len(os.sched_getaffinity(0)), round(pages / 2**30, 1), platform.python_version())


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", told.read_text(), re.MULTILINE) if told.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def this_commit() -> str | None:
    """Return the commit of the checkout, None where there is no repository."""

    def told_by_git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        commit = told_by_git("rev-parse", "--short=10", "HEAD")
        # The file that is being written is no change to what is measured.
        changes = told_by_git("status", "--porcelain", "--untracked-files=no", "--", f":!{KEPT.relative_to(ROOT)}")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+" if changes else commit


def versions_of(libraries: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of libraries by name; those that are not installed are left out."""
    found = {}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
