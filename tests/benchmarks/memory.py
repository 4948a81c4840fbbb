"""Memory under endless new ids: ours flat under its budget, and what others take beside it.

Every learner has a process of its own, so that resident memory is its own: ``python -m tests.benchmarks.memory NAME
EVENTS SECONDS`` prints a line of JSON after each twentieth of the stream.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from simulators.synthetic import open_world
from stream.assembly import build_trainer
from stream.config import make_settings
from stream.core.event import EventBatch
from stream.core.memory import arrays_of
from stream.core.sizes import SizeDecision, parse_curve
from tests.benchmarks.peers.catalogue import missing, open_peer, version_of
from tests.benchmarks.peers.learner import Learner, Work
from tests.benchmarks.speed import Figures, learn_all
from tests.benchmarks.streams import join

WORLD = "churn"
BUDGET_BYTES = 32 * 2**20
FACTORS = 16
NUM_EVENTS = 5_000_000
NUM_SAMPLES = 20
LIMIT_S = 120
"""Processor time after which a learner is stopped, at the next twentieth of the stream."""
BATCH = 1024
RECENT = 4096
"""Last events whose items negatives are drawn from."""
VOWPAL_BITS = 21
"""With 16 bytes a weight, the size of our budget."""
OURS = "ours"
PEERS = ("River BiasedMF", "Vowpal Wabbit --lrq", "torch sparse Adagrad", "implicit ALS")
NOTES = {
    OURS: "full setting; the bare learner, evicting the least frequent where the index is full",
    "Vowpal Wabbit --lrq": "flat as well: ids are hashed into a table of 32 MiB, and share its weights",
    "torch sparse Adagrad": "tables doubled when ids outgrow them, with a dict from ids to rows",
    "implicit ALS": "refitted to all events so far after each twentieth, an epoch each, with a dict from ids to rows",
}


class Feed(Protocol):
    """A learner that takes raw events."""

    def learn(self, events: EventBatch) -> None:
        """Learn the next events."""

    @property
    def num_bytes(self) -> int:
        """Bytes of the model alone."""


class Ours:
    """Our learner under its budget, resized every 2,000 events."""

    def __init__(self) -> None:
        self._settings = make_settings({"memory.budget_bytes": BUDGET_BYTES})
        curve = parse_curve("powerlaw:1")
        self._decision = SizeDecision(self._settings.users_share, curve, curve)
        self._recommender = build_trainer(self._settings).recommender

    def learn(self, events: EventBatch) -> None:
        """Learn the events in the bare learner."""
        learn_all(self._recommender, events, self._decision, self._settings.sizes.resize_every_events)

    @property
    def num_bytes(self) -> int:
        """All that the ledger names."""
        return sum(array.nbytes for array in arrays_of(self._recommender.memory).values())


class Direct:
    """A peer that takes ids as they are; negatives are drawn from the last items."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._recent = np.zeros(0, np.int64)
        self._rng = np.random.default_rng(1)

    def learn(self, events: EventBatch) -> None:
        """Learn the events with a negative each, in one batch."""
        user, item = ((keys >> np.uint64(1)).astype(np.int64) for keys in (events.user, events.item))
        self._learner.learn(self._learner.prepare(self._work(user, item)))

    def _work(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Work:
        self._recent = np.concatenate([self._recent, item])[-RECENT:]
        return Work(user, item, self._rng.choice(self._recent, len(item)))

    @property
    def num_bytes(self) -> int:
        """What the peer counts."""
        return self._learner.num_bytes


class Numbered(Direct):
    """A peer whose tables are by row: a dict gives each id the next row, and the tables double when they are full."""

    def __init__(self, learner: Any) -> None:
        super().__init__(learner)
        self._rows: tuple[dict[int, int], dict[int, int]] = ({}, {})

    def learn(self, events: EventBatch) -> None:
        """Make room for the events, and learn them in batches."""
        work = self._work(*self.number(events))
        self._learner.make_room(*map(len, self._rows))
        for batch in work.in_batches(BATCH):
            self._learner.learn(self._learner.prepare(batch))

    def number(self, events: EventBatch) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of the events' users, and those of their items."""
        for rows, keys in zip(self._rows, (events.user, events.item), strict=True):
            yield np.array([rows.setdefault(key, len(rows)) for key in keys.tolist()])


class Refitted(Numbered):
    """A peer that keeps all events and is fitted anew to them."""

    def __init__(self, learner: Any) -> None:
        super().__init__(learner)
        self._all: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []

    def learn(self, events: EventBatch) -> None:
        """Add the events to those so far, and go over all of them."""
        user, item = (column.astype(np.int32) for column in self.number(events))
        self._all.append((user, item))
        users, items = (np.concatenate(column) for column in zip(*self._all, strict=True))
        self._learner.learn(self._learner.prepare(Work(users, items, items)))


def open_feed(name: str) -> Feed:
    """Return a learner before its first event."""
    if name == OURS:
        return Ours()
    if name.startswith("Vowpal"):
        from tests.benchmarks.peers.vowpal import VowpalWabbit

        return Direct(VowpalWabbit(FACTORS, VOWPAL_BITS))
    learner = open_peer(name, FACTORS, BATCH, BATCH)
    kinds = {"torch sparse Adagrad": Numbered, "implicit ALS": Refitted}
    return kinds.get(name, Direct)(learner)


def live(name: str, num_events: int, limit_s: float) -> Iterator[Figures]:
    """Learn the world's events; yield events, resident and model bytes at the start and after each twentieth."""
    feed, world = open_feed(name), open_world(WORLD, 1, num_events)
    polls: list[EventBatch] = []
    num_learnt, num_read, begin = 0, 0, time.process_time()
    yield sample(feed, 0)
    while (poll := world.poll()) is not None and time.process_time() - begin < limit_s:
        polls.append(poll.events)
        num_read += poll.events.num_events
        if num_read - num_learnt >= num_events // NUM_SAMPLES or num_read == num_events:
            feed.learn(join(polls))
            polls, num_learnt = [], num_read
            yield sample(feed, num_learnt)


def sample(feed: Feed, num_events: int) -> Figures:
    """Measure this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {"events": num_events, "resident_bytes": 4096 * pages, "model_bytes": feed.num_bytes}


def memory_under_churn(quick: bool = False) -> Figures:
    """Resident and model bytes of ours and of peers over millions of events of ids that keep coming."""
    num_events = 200_000 if quick else NUM_EVENTS
    rows = [curve_of(name, num_events, LIMIT_S) for name in (OURS, *PEERS)]
    return {"stream": f"synthetic:{WORLD}", "events": num_events, "budget_bytes": BUDGET_BYTES, "rows": rows}


def curve_of(name: str, num_events: int, limit_s: float) -> Figures:
    """Run a learner in a process of its own; a row that says why, where its library is missing."""
    if name != OURS and (why := missing(name)):
        return {"name": name, "missing": why}
    command = [sys.executable, "-m", "tests.benchmarks.memory", name, str(num_events), str(limit_s)]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = done.stderr.strip().splitlines() or [""]
        return {"name": name, "missing": f"its process ended with status {done.returncode}: {told[-1]}"}
    samples = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        "name": name,
        "version": version("scall-stream") if name == OURS else version_of(name),
        "k": FACTORS,
        **summary_of(samples, num_events, limit_s),
        "wall_s": round(time.perf_counter() - begin, 1),
        "note": NOTES.get(name, ""),
        "samples": samples,
    }


def summary_of(samples: list[Figures], num_events: int, limit_s: float) -> Figures:
    """Return how far it came, and what it grew by: after the first twentieth, and in the second half by events.

    What is allocated once, early, is in the first of the two and not in the second.
    """
    early, middle, last = samples[min(1, len(samples) - 1)], samples[len(samples) // 2], samples[-1]
    millions = (last["events"] - middle["events"]) / 1e6
    late = last["resident_bytes"] - middle["resident_bytes"]
    return {
        "events_learnt": last["events"],
        "stopped": None if last["events"] == num_events else f"by its limit of {limit_s:g} s of processor time",
        "model_bytes": last["model_bytes"],
        "resident_bytes": last["resident_bytes"],
        "resident_growth_bytes": last["resident_bytes"] - early["resident_bytes"],
        "late_growth_bytes_per_million_events": round(late / millions) if millions else None,
    }


if __name__ == "__main__":
    for figures in live(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])):
        print(json.dumps(figures), flush=True)
