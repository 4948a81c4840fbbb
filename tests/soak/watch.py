"""What is watched from outside while the service lives: its memory, its budget, its processes."""

import json
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from tests.soak.visitors import HOST

_WARM_S = 20.0
"""A process that has just started still grows: caches, threads, connections."""


class Sample(NamedTuple):
    """Resident bytes of one process of one life."""

    at_s: float
    learner: int
    answering: int


def resident_bytes(process: int) -> int:
    """Return the resident memory of a process that runs, 0 of one that is gone."""
    try:
        return 4096 * int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0


def children(process: int) -> list[int]:
    """Return the processes that a process has started."""
    try:
        return [int(text) for text in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def state(port: int) -> dict[str, Any] | None:
    """Return what ``/v1/state`` tells, None while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/v1/state", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)["status"]
            return found
    except (OSError, ValueError, KeyError):
        return None


class Watch(threading.Thread):
    """Looks twice a second: memory of the present life, the ledger against the budget."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.is_over = threading.Event()
        self.complaints: list[str] = []
        self.lives: list[list[Sample]] = []
        self.looks = 0
        self._port = port
        self._process = 0

    def begin_life(self, process: int) -> None:
        """From now on this process is watched."""
        self.lives.append([])
        self._process = process

    def run(self) -> None:
        while not self.is_over.wait(0.5):
            process, life = self._process, self.lives[-1]
            answering = sum(map(resident_bytes, children(process)))
            life.append(Sample(time.monotonic(), resident_bytes(process), answering))
            status = state(self._port)
            if status is None:
                continue
            self.looks += 1
            ledger, budget = sum(line["bytes"] for line in status["ledger"]), status["budget_bytes"]
            if ledger > budget or status["counts"]["violations"]:
                self.complaints.append(f"ledger {ledger} of {budget}, {status['counts']['violations']} violations")

    def growth(self) -> dict[str, float]:
        """Return by how many MiB each process of the longest life grew, from warm to its end (medians of ten looks)."""
        life = max(self.lives, key=len)
        warm = [sample for sample in life if sample.at_s >= life[0].at_s + _WARM_S and sample.learner] if life else []
        if len(warm) < 20:
            return {}
        found = {}
        for name in ("learner", "answering"):
            sizes = [getattr(sample, name) for sample in warm]
            found[name] = (sorted(sizes[-10:])[5] - sorted(sizes[:10])[5]) / 2**20
        return found
