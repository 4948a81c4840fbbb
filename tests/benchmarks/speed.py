"""How fast: learning, planning and resizing, looking up.

Medians of several runs on one thread, in processor time: what other tenants of the machine take does not count.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from stream.assembly import build_trainer
from stream.config import PLAIN, Settings
from stream.core import index
from stream.core.event import ITEM, EventBatch
from stream.core.recommender import Recommender
from stream.core.sizes import Curve, SizeDecision, parse_curve
from stream.core.trainer import USERS_TURN
from stream.core.windows import UNLIMITED
from tests.benchmarks.streams import Shape, events_of, shape_of, sized_settings

Figures = dict[str, Any]


def seconds_of(action: Callable[[], Any]) -> float:
    """Return the processor time a call takes."""
    begin = time.process_time()
    action()
    return time.process_time() - begin


def learn_all(recommender: Recommender, events: EventBatch, decision: SizeDecision, resize_every: int) -> Figures:
    """Learn a whole stream in the bare learner; return the seconds of learning and of resizing."""
    at, learning, resizing, num_events = 0, 0.0, 0.0, events.num_events
    while at < num_events:
        end = min(num_events, at - at % resize_every + resize_every)
        begin = time.process_time()
        at, _, needs_resize = recommender.learn(events, at, end, UNLIMITED)
        middle = time.process_time()
        if needs_resize or at == end:
            recommender.resize(decision, items_only=not needs_resize and at % (USERS_TURN * resize_every) != 0)
        learning += middle - begin
        resizing += time.process_time() - middle
    return {"learning_s": learning, "resizing_s": resizing}


def rate_of(settings: Settings, events: EventBatch, curve: str, runs: int = 5) -> Figures:
    """Return the median learning rate in events a second, resizes apart, and the resizes' share of learning."""
    decision = SizeDecision(settings.users_share, parse_curve(curve), parse_curve(curve))
    rates, shares = [], []
    for _ in range(runs):
        recommender = build_trainer(settings).recommender
        figures = learn_all(recommender, events, decision, settings.sizes.resize_every_events)
        rates.append(events.num_events / figures["learning_s"])
        shares.append(figures["resizing_s"] / figures["learning_s"])
    sizes = recommender.sizes(ITEM)
    mean_size = float(np.arange(len(sizes)) @ sizes / sizes.sum())
    return {
        "events_per_s": round(median(rates)),
        "lowest": round(min(rates)),
        "highest": round(max(rates)),
        "resizing_share": round(median(shares), 4),
        "mean_item_size": round(mean_size, 2),
    }


def learning(quick: bool = False) -> Figures:
    """Learning rates at mean size 16, uniform and elastic in the same bytes; the plain setting beside it.

    Quick: one real stream and one world, a quarter of their events, two runs.
    """
    out: Figures = {}
    names = ("globo", "synthetic:drift") if quick else ("ml100k", "movietweetings", "globo", "synthetic:drift")
    for name in names:
        events = events_of(name, 50_000 if quick else 200_000)
        shape = shape_of(events)
        uniform = sized_settings(shape, item_size=16, user_size=24, evaluation__sample=0)
        elastic = sized_settings(shape, item_size=16, user_size=24, sizes__item_max=32)
        ways = ((uniform, "uniform"), (elastic, "powerlaw:1"))
        both = [rate_of(settings, events, curve, 2 if quick else 5) for settings, curve in ways]
        ratio = both[1]["events_per_s"] / both[0]["events_per_s"]
        out[name] = {"uniform": both[0], "elastic": both[1], "elastic_to_uniform": round(ratio, 3)}
    return out


def plain(quick: bool = False) -> Figures:
    """Labelled examples a second in the plain setting with one negative (two examples an event)."""
    out: Figures = {}
    for name in ("globo",) if quick else ("ml100k", "globo"):
        events = events_of(name, 50_000 if quick else 200_000)
        shape = shape_of(events)
        rates = {}
        for kind, curve, item_max in (("uniform", "uniform", 16), ("elastic", "powerlaw:1", 32)):
            values = {path.replace(".", "__"): value for path, value in PLAIN.items()}
            values |= {"sizes__item_max": item_max, "sizes__user_max": item_max}
            settings = sized_settings(shape, item_size=16, user_size=16, **values)
            rates[kind] = 2 * rate_of(settings, events, curve, 2 if quick else 5)["events_per_s"]
        out[name] = {f"{kind}_examples_per_s": rate for kind, rate in rates.items()}
    return out


def resizing(quick: bool = False) -> Figures:
    """Plan and resize of 250,000 entities when everything moves, and each 2,000 events with 100,000 entities.

    Quick: a fifth of the entities, and of the events.
    """
    scale = 5 if quick else 1
    events = events_of("synthetic:churn", 1_100_000 // scale)
    settings = sized_settings(shape_of(events), item_size=16, user_size=24, sizes__item_max=32, sizes__user_max=24)
    recommender = build_trainer(settings).recommender
    decision = SizeDecision(settings.users_share, Curve("powerlaw", 1.0), Curve("powerlaw", 1.0))
    learn_until(recommender, events, decision, 250_000 // scale)
    other = SizeDecision(settings.users_share / 2, Curve("powerlaw", 0.5), Curve("powerlaw", 3.0))
    everything = [seconds_of(lambda d=d: recommender.resize(d)) for d in (other, decision) * 5]
    small = build_trainer(settings).recommender
    at = learn_until(small, events, decision, 100_000 // scale)
    learnt = events.cut(at, at + 60_000 // scale)
    num_resizes = 30 // scale
    figures = learn_all(small, learnt, decision, 2_000)
    return {
        "entities": recommender.num_users + recommender.num_items,
        "everything_moves_ms": round(1000 * median(everything), 1),
        "entities_when_little_moves": small.num_users + small.num_items,
        "little_moves_ms": round(1000 * figures["resizing_s"] / num_resizes, 2),
        "learning_2000_events_ms": round(1000 * figures["learning_s"] / num_resizes, 2),
        "share_of_learning": round(figures["resizing_s"] / figures["learning_s"], 3),
    }


def learn_until(recommender: Recommender, events: EventBatch, decision: SizeDecision, num_entities: int) -> int:
    """Learn until so many entities are known; return the first event not learnt."""
    at = 0
    while recommender.num_users + recommender.num_items < num_entities:
        missing = num_entities - recommender.num_users - recommender.num_items
        at, _, needs_resize = recommender.learn(events, at, min(at + 2_000, events.num_events), missing)
        if needs_resize or at % 2_000 == 0:
            recommender.resize(decision)
    return at


def look_up(quick: bool = False) -> Figures:
    """Look-ups a second in batches, of known and of unknown keys, with a million entities (quick: 100,000)."""
    rng = np.random.default_rng(1)
    num = 100_000 if quick else 1_000_000
    keys, unknown = rng.integers(1, 2**64 - 1, (2, num), dtype=np.uint64)
    settings = sized_settings(Shape(num, 1_000, 8, num), item_size=8, user_size=8)
    memory = build_trainer(settings).recommender.memory
    memory.slots["key"][: len(keys)] = keys
    for slot in range(len(keys)):
        index.insert(memory, keys[slot], slot)
    known = rng.permutation(keys)
    rates = {}
    for name, asked in (("known", known), ("unknown", unknown)):
        times = [seconds_of(lambda asked=asked: index.find_all(memory, asked)) for _ in range(7)]
        rates[f"{name}_per_s"] = round(len(asked) / median(times))
    return rates
