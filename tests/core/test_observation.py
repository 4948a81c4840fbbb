"""What a policy sees, against loops over every entity: always as long, always finite."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.commands.assembly import build_trainer
from stream.config import PLAIN, make_settings
from stream.core import memory
from stream.core.event import ITEM, USER
from stream.core.observation import NUM_COORDINATES, NUM_GROUPS, OBSERVATION_LENGTH, observe
from stream.core.recommender import Recommender
from stream.core.sizes import Curve, SizeDecision
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


def parts_of(observation: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    lengths = {"users": NUM_GROUPS, "items": NUM_GROUPS, "item": NUM_COORDINATES, "user": NUM_COORDINATES, "rest": 5}
    borders = np.cumsum(list(lengths.values()))
    assert borders[-1] == len(observation) == OBSERVATION_LENGTH
    return dict(zip(lengths, np.split(observation, borders[:-1]), strict=True))


every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=["with histories", "plain"])


@every_setting
@pytest.mark.parametrize("num_events", [0, 1, 2, 3, 1000])
def test_an_observation_has_the_same_length_and_is_finite_whatever_there_is_to_see(
    num_events: int, settings: dict[str, Any]
) -> None:
    observation = observe(after(num_events, settings), last_reward=-0.25)
    assert observation.shape == (OBSERVATION_LENGTH,)
    assert observation.dtype == np.float32
    assert np.isfinite(observation).all()
    assert observation[-1] == -0.25


@every_setting
@pytest.mark.parametrize("num_events", [1, 40, 1000])
def test_frequencies_are_pooled_by_rank_over_groups_of_as_many(num_events: int, settings: dict[str, Any]) -> None:
    recommender = after(num_events, settings)
    parts = parts_of(observe(recommender, 0.0))
    for side, name in ((USER, "users"), (ITEM, "items")):
        slow = slots_of(recommender, side)["slow"].astype(np.float64)
        assert np.abs(parts[name] - naive_pool(slow / recommender.shared.decay[0])).max() < _BUCKET
        histogram = recommender.frequencies(side)
        assert parts[name] == pytest.approx(naive_pool(np.repeat(histogram.value, histogram.count)), rel=1e-6)
        assert (np.diff(parts[name]) <= 1e-6).all()


def test_the_groups_tell_a_head_from_a_tail() -> None:
    parts = parts_of(observe(after(1000, SMALL), 0.0))
    for name in ("users", "items"):
        assert parts[name][0] > 2 * parts[name][-1] > 0


@every_setting
@pytest.mark.parametrize("num_events", [1, 1000])
def test_mean_embeddings_are_those_of_a_loop_over_everyone(num_events: int, settings: dict[str, Any]) -> None:
    recommender = after(num_events, settings)
    parts = parts_of(observe(recommender, 0.0))
    assert parts["item"] == pytest.approx(naive_mean(recommender, ITEM, 0), rel=1e-6, abs=1e-9)
    assert parts["user"] == pytest.approx(naive_mean(recommender, USER, recommender.hyper.num_ids), rel=1e-6, abs=1e-9)
    assert np.abs(parts["item"]).max() > 0
    if num_events > 1:
        assert np.abs(parts["user"]).max() > 0


@every_setting
def test_the_rest_is_shares_spreads_and_the_reward(settings: dict[str, Any]) -> None:
    recommender = after(1000, settings)
    # They leave holes, which are not in use.
    recommender.evict(ITEM, 10)
    users, items = (slots_of(recommender, side) for side in (USER, ITEM))
    words = sum(1 + int(slot["lead"]) + int(slot["size"]) for slot in (*users, *items))
    assert words < recommender.memory.counters[memory.ARENA_TOP]
    assert min(users["size"].std(), items["size"].std()) > 1
    assert parts_of(observe(recommender, 0.125))["rest"] == pytest.approx(
        [
            len(users) / (len(users) + len(items)),
            users["size"].std(dtype=float) / users["size"].mean(dtype=float),
            items["size"].std(dtype=float) / items["size"].mean(dtype=float),
            words / len(recommender.memory.words),
            0.125,
        ],
        rel=1e-6,
    )


@pytest.mark.parametrize("side", [USER, ITEM])
def test_a_side_that_was_evicted_shows_as_nothing(side: int) -> None:
    recommender = after(1000, SMALL)
    recommender.evict(side, int(recommender.memory.counters[side]))
    observation = observe(recommender, 0.0)
    parts = parts_of(observation)
    frequencies, embedding = ("users", "user") if side == USER else ("items", "item")
    assert not parts[frequencies].any()
    assert not parts[embedding].any()
    assert parts["rest"][0] == (0.0 if side == USER else 1.0)
    assert np.isfinite(observation).all()


def test_observing_changes_nothing() -> None:
    recommender = after(300, SMALL)
    before = {name: array.tobytes() for name, array in recommender.state().items()}
    first, second = observe(recommender, 0.5), observe(recommender, 0.5)
    assert first.tobytes() == second.tobytes()
    assert {name: array.tobytes() for name, array in recommender.state().items()} == before
