"""What more entities cost: an event, a resize, an answer and a checkpoint, from ten thousand to ten million of them.

Four of five entities are users. Items have 16 words on average, by a power law of up to 32; users 24, of which 8 are
their last items. Everyone is learnt once, then events come of users drawn evenly and of items by a power law. Processor
time but for checkpoints, in which a disk takes part.
"""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.assembly import build_trainer
from stream.core.event import ITEM, USER, EventBatch, hash_spans
from stream.core.recommender import Recommender, plan_in_steps
from stream.core.sizes import Curve, SizeDecision
from stream.core.snapshot import Snapshot
from stream.core.trainer import USERS_TURN, Trainer
from stream.core.windows import UNLIMITED
from tests.benchmarks.entries import Figures
from tests.benchmarks.saving import saves
from tests.benchmarks.speed import learn_all, seconds_of
from tests.benchmarks.streams import Shape, sized_settings

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
QUICK_SIZES = (10_000, 100_000)
USERS_SHARE = 0.8
DIGITS = 8
"""Of an id."""
CHUNK = 500_000
"""Events that are made at once."""
POPULARITY = 0.8
"""The exponent of items' popularity by rank."""
RESIZE_EVERY = 2_000
"""Events, as by default; every fourth time users are resized, too."""
NUM_EVENTS = 20 * USERS_TURN * RESIZE_EVERY
"""Events whose cost is measured."""
POWERLAW = Curve("powerlaw", 1.0)
BEGIN_MS = 1_700_000_000_000


def scaling(quick: bool = False) -> Figures:
    """Return the costs at each number of entities, and the exponents of the power laws fitted to them."""
    # Kernels are loaded where they are first called.
    costs_of(2_000)
    points = [costs_of(num) for num in (QUICK_SIZES if quick else SIZES)]
    entities = [point["entities"] for point in points]
    names = [name for name in points[0] if name.endswith("_s") or name == "bytes_per_entity"]
    columns = {name: [point[name] for point in points] for name in names}
    return {
        "points": points,
        "exponents": {name: round(exponent(entities, column), 3) for name, column in columns.items()},
        "last_tenfold": {name: round(exponent(entities[-2:], column[-2:]), 3) for name, column in columns.items()},
    }


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the slope of the straight line through points in equal ratios, by least squares: 1 where y is linear in x.

    >>> round(exponent([10, 100, 1000], [3.0, 300.0, 30000.0]), 6)
    2.0
    """
    slope, _ = np.polyfit(np.log(x), np.log(y), 1)
    return float(slope)


def costs_of(num_entities: int) -> Figures:
    """Return what a model of so many entities costs, in seconds and bytes."""
    num_users = round(USERS_SHARE * num_entities)
    num_items = num_entities - num_users
    shape = Shape(num_users, num_items, DIGITS, num_events=0)
    settings = sized_settings(
        shape, item_size=16, user_size=24, sizes__item_max=32, memory__seen_share=0, evaluation__sample=0
    )
    decision = SizeDecision(settings.users_share, Curve("uniform"), POWERLAW)
    trainer = build_trainer(settings)
    recommender = trainer.recommender
    rng = np.random.default_rng(1)
    for users, items in everyone(num_users, num_items):
        learn(recommender, events_of(users, items, recommender.num_learnt), decision)
    recommender.resize(decision)
    known = recommender.num_users + recommender.num_items
    return {
        "entities": known,
        "users": recommender.num_users,
        "items": recommender.num_items,
        "bytes_per_entity": round(trainer.ledger().total_bytes / known, 1),
        **cost_of_events(recommender, decision, rng, num_users, num_items),
        **cost_of_sizes(recommender, decision),
        **cost_of_answers(recommender, rng, num_users),
        **cost_of_saving(trainer),
    }


def everyone(num_users: int, num_items: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Give users and items of events in which everyone occurs, in chunks."""
    for begin in range(0, num_users, CHUNK):
        users = np.arange(begin, min(begin + CHUNK, num_users))
        yield users, users % num_items


def events_of(users: NDArray[np.int64], items: NDArray[np.int64], number: int) -> EventBatch:
    """Return events of users and items by their numbers, ten a second from event ``number`` on."""
    user_keys, *_ = ids_of(users, USER)
    item_keys, start, length, data = ids_of(items, ITEM)
    numbers = number + np.arange(len(users))
    return EventBatch(
        user=user_keys,
        item=item_keys,
        timestamp_ms=BEGIN_MS + 100 * numbers,
        weight=np.ones(len(users), np.float32),
        partition=np.zeros(len(users), np.int32),
        offset=numbers,
        number=numbers,
        item_start=start,
        item_length=length,
        item_data=data,
    )


def ids_of(numbers: NDArray[np.int64], side: int) -> tuple[Any, ...]:
    """Return keys of ids that are numbers with leading zeros, and where their bytes stand."""
    digits = numbers[:, None] // 10 ** np.arange(DIGITS - 1, -1, -1) % 10
    data = (digits + ord("0")).astype(np.uint8).ravel()
    start = DIGITS * np.arange(len(numbers), dtype=np.int64)
    length = np.full(len(numbers), DIGITS, np.int32)
    return hash_spans(data, start, length, side), start, length, data


def learn(recommender: Recommender, events: EventBatch, decision: SizeDecision) -> None:
    """Learn events, resizing only where a newcomer finds no room."""
    at = 0
    while at < events.num_events:
        at, _, needs_resize = recommender.learn(events, at, events.num_events, UNLIMITED)
        if needs_resize:
            recommender.resize(decision)


def cost_of_events(
    recommender: Recommender, decision: SizeDecision, rng: np.random.Generator, num_users: int, num_items: int
) -> Figures:
    """Return the seconds that an event takes, of those whose sizes fit, and with the resizes that go with them."""
    chances = np.arange(1, num_items + 1) ** -POPULARITY
    up_to = np.cumsum(chances / chances.sum())

    def drawn(count: int) -> EventBatch:
        items = np.searchsorted(up_to, rng.random(count)).clip(0, num_items - 1)
        # Which item is popular has nothing to do with where it stands.
        items = items * 7_919 % num_items
        return events_of(rng.integers(0, num_users, count), items, recommender.num_learnt)

    learn_all(recommender, drawn(USERS_TURN * RESIZE_EVERY), decision, RESIZE_EVERY)
    found = learn_all(recommender, drawn(NUM_EVENTS), decision, RESIZE_EVERY)
    return {
        "event_s": found["learning_s"] / NUM_EVENTS,
        "event_and_resizes_s": (found["learning_s"] + found["resizing_s"]) / NUM_EVENTS,
    }


def cost_of_sizes(recommender: Recommender, decision: SizeDecision) -> Figures:
    """Return the seconds of planning alone, of resizing everyone anew, and items only where little has changed."""
    words = recommender.split_words(decision.users_share)

    def plan() -> None:
        for side, curve, num in (
            (USER, decision.users, recommender.num_users),
            (ITEM, decision.items, recommender.num_items),
        ):
            plan_in_steps(curve, num, words[side], recommender.bounds[side])

    other = SizeDecision(decision.users_share / 2, POWERLAW, Curve("uniform"))
    everything = [seconds_of(lambda d=d: recommender.resize(d)) for d in (other, decision) * 2]
    items = [seconds_of(lambda: recommender.resize(decision, items_only=True)) for _ in range(5)]
    return {
        "plan_s": median(seconds_of(plan) for _ in range(9)),
        "resize_all_s": median(everything),
        "resize_items_s": median(items),
    }


def cost_of_answers(recommender: Recommender, rng: np.random.Generator, num_users: int) -> Figures:
    """Return the seconds that the best 20 of all items for one user take, and the first answer of a snapshot."""
    watermark_ms = BEGIN_MS + 100 * recommender.num_learnt
    snapshot = Snapshot(recommender.state(), recommender.hyper, watermark_ms=watermark_ms)
    users = [f"{number:0{DIGITS}d}" for number in rng.integers(0, num_users, 40)]
    # It outlines the model first, once for all answers.
    first = seconds_of(lambda: snapshot.recommend(users[0], 20, exclude_seen=False))
    times = [seconds_of(lambda user=user: snapshot.recommend(user, 20, exclude_seen=False)) for user in users]
    return {"rank_s": median(times), "first_answer_s": first}


def cost_of_saving(trainer: Trainer) -> Figures:
    """Return the seconds that learning stands still for a checkpoint, and until it is durable."""
    arrays, meta = trainer.state(None, {})
    found = saves(arrays, meta, 3)
    return {
        "checkpoint_bytes": found["bytes"],
        "stall_s": found["stall_ms"] / 1000,
        "durable_s": found["durable_after_ms"] / 1000,
    }
