"""How fast others learn, beside ours: the same events, the same machine, one run.

Rates are by processor time, which counts all threads of a library: so they are per core, and what other tenants of the
machine take does not count. The rate on the clock stands beside it.
"""

import gc
import time
from collections.abc import Callable
from importlib.metadata import version
from statistics import median
from typing import Any, NamedTuple

from stream.assembly import build_trainer
from stream.config import PLAIN, Settings
from stream.core.event import EventBatch
from stream.core.sizes import SizeDecision, parse_curve
from tests.benchmarks.peers.catalogue import missing, open_peer, version_of
from tests.benchmarks.peers.learner import EXAMPLES, Work, work_of
from tests.benchmarks.speed import Figures, learn_all
from tests.benchmarks.streams import events_of, shape_of, sized_settings

STREAM = "synthetic:drift"
NUM_EVENTS = 200_000
FACTORS = (8, 16, 64)
RUNS = 5
HISTORY = 8
"""Ids that a user of the full setting has beside its coordinates."""


class Plan(NamedTuple):
    """How a peer is measured."""

    name: str
    batch: int | None
    """Events learnt at once; None: the library goes over all of them in one call."""
    num_events: int = NUM_EVENTS
    """Fewer where a run would take minutes."""
    note: str = ""
    num_examples: int = EXAMPLES
    """Of an event."""


PLANS = (
    Plan("River BiasedMF", 1, 10_000, "a call an example; squared loss"),
    Plan("Vowpal Wabbit --lrq", None, 50_000, "an example at a time, from a text file, by the library's own driver"),
    Plan("torch sparse Adagrad", 1, 2_000, "gradients of the scores by hand, without autograd's graph of the loss"),
    Plan("torch sparse Adagrad", 64, 50_000),
    Plan("torch sparse Adagrad", 1024),
    Plan("torch SparseAdam", 1024),
    Plan("FBGEMM TBE", 1, 2_000, "row-wise Adagrad fused into the backward pass; gradients of the scores by hand"),
    Plan("FBGEMM TBE", 64, 50_000),
    Plan("FBGEMM TBE", 1024),
    Plan("implicit ALS", None, note="an epoch; an event is a different pair; no negatives are drawn", num_examples=1),
    Plan("implicit BPR", None, note="an epoch; an event is a different pair"),
)
GOALS = (
    ("FBGEMM TBE", 1024, 2),
    ("torch sparse Adagrad", 1024, 5),
    ("Vowpal Wabbit --lrq", None, 10),
    ("River BiasedMF", 1, 50),
)
"""How many times as fast ours is meant to be: peer, batch, factor."""
OURS = (
    ("ours, plain, uniform", True, "uniform"),
    ("ours, plain, elastic", True, "powerlaw:1"),
    ("ours, full, uniform", False, "uniform"),
    ("ours, full, elastic", False, "powerlaw:1"),
)


class Timing(NamedTuple):
    """What one run took."""

    processor_s: float
    wall_s: float
    num_missed: int
    resizing_s: float = 0.0
    """Processor time of resizes, which is in the first; only ours resizes."""


class Subject(NamedTuple):
    """One row to be: who is measured on what."""

    row: Figures
    """What is told of it whatever it takes."""
    num_events: int
    num_examples: int
    """Of an event."""
    run: Callable[[], Timing]
    """Learns all events once, from nothing."""


def learning_peers(quick: bool = False) -> Figures:
    """Events a second of ours and of each peer by embedding size and batch; how many times as fast ours is, by goal.

    The runs go round: a spell in which the machine is slow hits everyone's.
    """
    runs, share = (2, 10) if quick else (RUNS, 1)
    events = events_of(STREAM, NUM_EVENTS // share)
    work = work_of(events)
    rows: list[Figures] = []
    for k in FACTORS:
        subjects = [our_subject(name, events, k, is_plain, curve) for name, is_plain, curve in OURS]
        for plan in PLANS:
            if why := missing(plan.name):
                rows.append({"name": plan.name, "k": k, "batch": plan.batch or "all", "missing": why})
            else:
                subjects.append(peer_subject(plan, work.cut(0, max(1_000, plan.num_events // share)), k))
        rounds = [[subject.run() for subject in subjects] for _ in range(runs)]
        rows += [
            row_of(subject, [*timings]) for subject, timings in zip(subjects, zip(*rounds, strict=True), strict=True)
        ]
    return {"stream": STREAM, "runs": runs, "rows": rows, "ratios": [ratios(rows, k) for k in FACTORS]}


def our_subject(name: str, events: EventBatch, k: int, is_plain: bool, curve: str) -> Subject:
    """Return our learner at a mean size of k, ready to be measured."""
    settings = our_settings(events, k, is_plain, curve)
    time_ours(settings, events.cut(0, 4_000), curve)
    row = {"name": name, "version": version("scall-stream"), "k": k, "batch": 1}
    row["note"] = "keys looked up, negatives drawn and resizes within the time"
    num_examples = 1 + settings.model.negatives_recent + settings.model.negatives_uniform
    return Subject(row, events.num_events, num_examples, lambda: time_ours(settings, events, curve))


def our_settings(events: EventBatch, k: int, is_plain: bool, curve: str) -> Settings:
    """Return settings with a mean size of k: the plain ones, or all that there is."""
    item_max = k if curve == "uniform" else 2 * k
    if not is_plain:
        return sized_settings(shape_of(events), item_size=k, user_size=HISTORY + k, sizes__item_max=item_max)
    values = {path.replace(".", "__"): value for path, value in PLAIN.items()}
    values |= {"sizes__item_max": item_max, "sizes__user_max": item_max}
    return sized_settings(shape_of(events), item_size=k, user_size=k, **values)


def time_ours(settings: Settings, events: EventBatch, curve: str) -> Timing:
    """Learn all events once, from nothing."""
    decision = SizeDecision(settings.users_share, parse_curve(curve), parse_curve(curve))
    recommender = build_trainer(settings).recommender
    figures: Figures = {}

    def learn() -> None:
        figures.update(learn_all(recommender, events, decision, settings.sizes.resize_every_events))

    taken = time_call(learn)
    return Timing(*taken, events.num_events - recommender.num_learnt, figures["resizing_s"])


def peer_subject(plan: Plan, work: Work, k: int) -> Subject:
    """Return a peer whose library is there, ready to be measured."""
    time_peer(plan, work.cut(0, min(work.num_events, 10 * (plan.batch or 100))), k)
    row: Figures = {"name": plan.name, "version": version_of(plan.name), "k": k, "batch": plan.batch or "all"}
    if plan.note:
        row["note"] = plan.note
    # What is repeated is one pair to implicit: it is the pairs that an epoch goes over.
    num_events = num_pairs(work) if plan.name.startswith("implicit") else work.num_events
    return Subject(row, num_events, plan.num_examples, lambda: time_peer(plan, work, k))


def num_pairs(work: Work) -> int:
    """Return how many different pairs of user and item there are."""
    return len(set(zip(work.user.tolist(), work.item.tolist(), strict=True)))


def time_peer(plan: Plan, work: Work, k: int) -> Timing:
    """Learn all events once, from nothing; what is made ready for the library beforehand is not measured."""
    learner = open_peer(plan.name, k, int(work.user.max()) + 1, int(work.item.max()) + 1)
    batches = [learner.prepare(batch) for batch in work.in_batches(plan.batch or work.num_events)]

    def learn() -> None:
        for batch in batches:
            learner.learn(batch)

    return Timing(*time_call(learn), learner.num_missed(work))


def time_call(action: Callable[[], Any]) -> tuple[float, float]:
    """Return the seconds of the processor, all threads together, and of the clock that a call takes."""
    gc.collect()
    processor, wall = time.process_time(), time.perf_counter()
    action()
    return time.process_time() - processor, time.perf_counter() - wall


def row_of(subject: Subject, timings: list[Timing]) -> Figures:
    """Return the median rate, the lowest and the highest, and what stands beside them."""
    rates = [subject.num_events / timing.processor_s for timing in timings]
    row = {
        **subject.row,
        "events": subject.num_events,
        "events_per_s": round(median(rates)),
        "low": round(min(rates)),
        "high": round(max(rates)),
        "examples_per_s": round(subject.num_examples * median(rates)),
        "wall_events_per_s": round(median(subject.num_events / timing.wall_s for timing in timings)),
        "missed_events": max(timing.num_missed for timing in timings),
        "by_run": [round(rate) for rate in rates],
    }
    if any(timing.resizing_s for timing in timings):
        row["resizing_share"] = round(median(timing.resizing_s / timing.processor_s for timing in timings), 3)
    return row


def ratios(rows: list[Figures], k: int) -> Figures:
    """Return by goal how many times as many events a second each of our settings learns, run by run; the median.

    Peers do not resize, so what ours would be without resizes is told too. None without the peer.
    """
    of_k = {(row["name"], row["batch"]): row for row in rows if row["k"] == k}
    out: Figures = {"k": k}
    for name, batch, goal in GOALS:
        peer = of_k[name, batch or "all"].get("by_run")
        told: Figures = {"goal": goal}
        for ours, *_ in OURS:
            row = of_k[ours, 1]
            times = median(a / b for a, b in zip(row["by_run"], peer, strict=True)) if peer else None
            told[ours] = times and round(times, 2)
            told[f"{ours}, resizes apart"] = times and round(times / (1 - row.get("resizing_share", 0)), 2)
        out[f"{name} at {batch or 'one at a time'}"] = told
    return out
