"""What a policy sees, against loops over every entity: always as long, always finite."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.assembly import build_trainer
from stream.config import PLAIN, make_settings
from stream.core import memory
from stream.core.event import ITEM, USER
from stream.core.observation import LAST_REWARD, NUM_COORDINATES, NUM_GROUPS, OBSERVATION_LENGTH, PARTS, observe
from stream.core.recommender import Recommender
from stream.core.sizes import Curve, SizeDecision
from stream.core.stats import Quality
from tests.core.twins import events_of

Floats = NDArray[np.float64]

SMALL = {"memory.budget_bytes": 1 << 16, "model.half_life_slow": 150, "sizes.user_min": 0}
SETTINGS: list[dict[str, Any]] = [SMALL, SMALL | PLAIN]
STEEP = SizeDecision(0.4, Curve("powerlaw", 0.3), Curve("powerlaw", 0.3))
_BUCKET = np.log1p(1 / 32)
"""How far the logarithm of a frequency may be from that of the middle of its bucket."""


def after(num_events: int, settings: dict[str, Any]) -> Recommender:
    """A recommender that has learnt a stream of long tails, and has given its users and items sizes of all kinds."""
    recommender = build_trainer(make_settings(settings)).recommender
    random = np.random.default_rng(num_events)
    users, items = random.zipf(1.3, (2, num_events)) % 200
    events = events_of([f"u{user}" for user in users], [f"i{item}" for item in items])
    reached = 0
    recommender.resize(STEEP)
    while reached < num_events:
        reached, *_ = recommender.learn(events, reached, min(reached + 100, num_events), max_new=1 << 40)
        recommender.resize(STEEP)
    return recommender


def slots_of(recommender: Recommender, side: int) -> Any:
    """The records of a side's entities: items lie below all users."""
    m = recommender.memory
    below, above = np.split(m.slots, [m.counters[memory.ITEM_TOP]])
    slots = below if side == ITEM else above
    return slots[slots["alive"] == 1]


def naive_pool(frequencies: Floats) -> Floats:
    """The mean log by group: every rank is cut into as many pieces as there are groups."""
    logs = np.sort(np.log1p(frequencies))[::-1]
    pooled: Floats = np.repeat(logs, NUM_GROUPS).reshape(NUM_GROUPS, -1).mean(axis=1)
    return pooled


def naive_mean(recommender: Recommender, side: int, skip: int) -> list[float]:
    """The mean of each leading coordinate, 0 where an entity has not so many."""
    slots = slots_of(recommender, side)
    sums = [0.0] * NUM_COORDINATES
    for slot in slots:
        payload = recommender.memory.arena[int(slot["offset"]) :][: int(slot["size"])]
        for c, coordinate in enumerate(payload[skip : skip + NUM_COORDINATES].tolist()):
            sums[c] += coordinate
    return [total / max(len(slots), 1) for total in sums]


NOTHING_TESTED = dict.fromkeys(("all", "first", "under_1h", "over_1h"), Quality(0))


def parts_of(recommender: Recommender, quality: Mapping[str, Quality] = NOTHING_TESTED) -> dict[str, Floats]:
    observation = observe(recommender, quality)
    assert observation.shape == (OBSERVATION_LENGTH,)
    assert observation.dtype == np.float32
    assert np.abs(observation).max() <= 1
    return {name: observation[part].astype(np.float64) for name, part in PARTS.items()}


every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=["with histories", "plain"])


@every_setting
@pytest.mark.parametrize("num_events", [0, 1, 2, 3, 1000])
def test_an_observation_has_the_same_length_and_is_finite_whatever_there_is_to_see(
    num_events: int, settings: dict[str, Any]
) -> None:
    parts = parts_of(after(num_events, settings), {**NOTHING_TESTED, "all": Quality(3, 0.5, 0.25, 0.2, 0.4, 0.5, 0.1)})
    assert all(np.isfinite(part).all() for part in parts.values())
    assert parts["last_reward"].tolist() == [-0.25]


def test_the_parts_cover_an_observation_without_gap_or_overlap() -> None:
    places = [place for part in PARTS.values() for place in range(OBSERVATION_LENGTH)[part]]
    assert places == list(range(OBSERVATION_LENGTH))
    assert LAST_REWARD == OBSERVATION_LENGTH - 1


@every_setting
@pytest.mark.parametrize("num_events", [1, 40, 1000])
def test_frequencies_are_pooled_by_rank_over_groups_of_as_many(num_events: int, settings: dict[str, Any]) -> None:
    recommender = after(num_events, settings)
    parts = parts_of(recommender)
    for side, name in ((USER, "user_frequencies"), (ITEM, "item_frequencies")):
        slow = slots_of(recommender, side)["slow"].astype(np.float64)
        assert np.abs(10 * parts[name] - naive_pool(slow / recommender.shared.decay[0])).max() < _BUCKET
        histogram = recommender.frequencies(side)
        assert 10 * parts[name] == pytest.approx(naive_pool(np.repeat(histogram.value, histogram.count)), rel=1e-6)
        assert (np.diff(parts[name]) <= 1e-6).all()


def test_the_groups_tell_a_head_from_a_tail() -> None:
    parts = parts_of(after(1000, SMALL))
    for name in ("user_frequencies", "item_frequencies"):
        assert parts[name][0] > 2 * parts[name][-1] > 0


@every_setting
@pytest.mark.parametrize("num_events", [1, 1000])
def test_mean_embeddings_are_those_of_a_loop_over_everyone(num_events: int, settings: dict[str, Any]) -> None:
    recommender = after(num_events, settings)
    parts = parts_of(recommender)
    item, user = (naive_mean(recommender, ITEM, 0), naive_mean(recommender, USER, recommender.hyper.num_ids))
    assert parts["item_embedding"] == pytest.approx(item, rel=1e-6, abs=1e-9)
    assert parts["user_vector"] == pytest.approx(user, rel=1e-6, abs=1e-9)
    assert np.abs(item).max() > 0
    if num_events > 1:
        assert np.abs(user).max() > 0


@every_setting
def test_sizes_and_room_are_those_of_a_loop_over_everyone(settings: dict[str, Any]) -> None:
    recommender = after(1000, settings)
    # They leave holes, which are not in use.
    recommender.evict(ITEM, 10)
    users, items = (slots_of(recommender, side) for side in (USER, ITEM))
    words = sum(1 + int(slot["lead"]) + int(slot["size"]) for slot in (*users, *items))
    assert words < recommender.memory.counters[memory.ARENA_TOP]
    sizes = [side["size"].astype(np.float64) for side in (users, items)]
    assert min(side.std() for side in sizes) > 1
    parts, entities = parts_of(recommender), len(users) + len(items)
    slots = len(recommender.memory.slots)
    assert parts["entities"] == pytest.approx([len(users) / entities, entities / slots], rel=1e-6)
    means = [np.log2(1 + side.mean()) / 8 for side in sizes]
    spreads = [side.std() / side.mean() / 2 for side in sizes]
    assert parts["sizes"] == pytest.approx([*means, *spreads], rel=1e-6)
    payload = sum(recommender.split_words(0.5).values())
    assert parts["room"] == pytest.approx(
        [
            np.log2(1 + payload / entities) / 8,
            sizes[0].sum() / (sizes[0].sum() + sizes[1].sum()),
            words / len(recommender.memory.words),
        ],
        rel=1e-6,
    )


@every_setting
def test_drift_is_the_distance_between_what_was_and_what_is_popular(settings: dict[str, Any]) -> None:
    recommender = after(1000, settings)
    items = slots_of(recommender, ITEM)
    slow, mid, fast = (items[name].astype(np.float64) / items[name].sum() for name in ("slow", "mid", "fast"))
    distances = [np.abs(slow - mid).sum() / 2, np.abs(mid - fast).sum() / 2]
    assert parts_of(recommender)["drift"] == pytest.approx(distances, rel=1e-4)
    assert min(distances) > 0.01


def test_quality_is_shown_by_time_since_the_last_event_as_a_lead_over_popularity() -> None:
    quality = {
        "all": Quality(8, 0.5, 0.375, 0.3, 0.25, 0.125, 0.1, 0.0625),
        "first": Quality(2, 0.5, 0.4, 0.3, 0.75, 0.2, 0.1, 0.0),
        "under_1h": Quality(6, 0.75, 0.4, 0.3, 0.25, 0.2, 0.1, 0.0),
        "over_1h": Quality(0),
    }
    parts = parts_of(after(40, SMALL), quality)
    assert parts["gaps"].tolist() == [0.25, 0.75, 0.0]
    assert parts["gap_leads"].tolist() == [-0.25, 0.5, 0.0]
    assert parts["quality"].tolist() == [0.5, 0.25, 0.0625]
    assert parts["last_reward"].tolist() == [0.25]


@pytest.mark.parametrize("side", [USER, ITEM])
def test_a_side_that_was_evicted_shows_as_nothing(side: int) -> None:
    recommender = after(1000, SMALL)
    recommender.evict(side, int(recommender.memory.counters[side]))
    parts = parts_of(recommender)
    frequencies, embedding = [("user_frequencies", "user_vector"), ("item_frequencies", "item_embedding")][side]
    assert not parts[frequencies].any()
    assert not parts[embedding].any()
    assert parts["entities"][0] == (0.0 if side == USER else 1.0)


def test_observing_changes_nothing() -> None:
    recommender = after(300, SMALL)
    before = {name: array.tobytes() for name, array in recommender.state().items()}
    first, second = observe(recommender, NOTHING_TESTED), observe(recommender, NOTHING_TESTED)
    assert first.tobytes() == second.tobytes()
    assert {name: array.tobytes() for name, array in recommender.state().items()} == before
