"""The planted worlds keep what they promise: patterns as described, and answers that the real loop confirms."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulators.blocks import BLOCK
from simulators.faults import StillHost
from simulators.nowhere import NoCheckpoints, Silence
from simulators.patterns import draw_cliques, draw_graph, play, walk
from simulators.planted import SETTINGS, STRANGER_EVERY, PlantedWorld
from simulators.tape import Tape
from stream.assembly import build_trainer
from stream.config import make_settings
from stream.core.action import uniform_decision
from stream.core.event import EventBatch
from stream.core.sizes import Curve, SizeDecision
from stream.pipeline import Pipeline, Ports
from tests.doubles import Letters

EVERY_WORLD = pytest.mark.parametrize("name", SETTINGS)
STILL = pytest.mark.parametrize("name", [name for name in SETTINGS if name != "planted-swing"])
WINDOW = 2048
NUM_WINDOWS = 8
WARM_UP = 4

Indices = NDArray[np.int64]
Observation = NDArray[np.float32]
Choice = Callable[[int, Observation], SizeDecision]
"""From the number of the next event, and an observation."""


class Chosen:
    """A policy that knows where the stream is."""

    name = "chosen"

    def __init__(self, choose: Choice) -> None:
        self.trips: dict[str, int] = {}
        self._choose = choose
        self._num_windows = 0

    def decide(self, observation: Observation) -> SizeDecision:
        self._num_windows += 1
        return self._choose(self._num_windows * WINDOW, observation)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...


def ndcg_by_window(tape: Tape, values: dict[str, Any], choose: Choice) -> NDArray[np.float64]:
    """Replay a world through the production loop under somebody's decisions."""
    under = make_settings({**values, "evaluation.sample": 0.1})
    ports = Ports(tape.reopened(), Letters(), NoCheckpoints(), Chosen(choose), Silence(), StillHost())
    report = Pipeline(ports, build_trainer(under), msgspec.to_builtins(under), {}).run()
    assert report.counts.violations == 0
    return np.array([window.quality.ndcg for window in report.windows])


def batches(world: PlantedWorld) -> Iterator[EventBatch]:
    while (poll := world.poll()) is not None:
        yield poll.events


def places(world: PlantedWorld, batch: EventBatch) -> tuple[Indices, Indices]:
    """Which user and which item, by their order in the block, each event of it has."""
    offset = int(batch.offset[0])
    found = []
    for keys, drawn in ((world.user_keys(offset), batch.user), (world.item_keys(offset), batch.item)):
        order = keys.argsort()
        found.append(order[keys[order].searchsorted(drawn)])
    return found[0], found[1]


@STILL
@pytest.mark.parametrize("seed", [1, 2])
def test_the_answer_beats_its_opposite_and_uniform_sizes_in_the_real_loop(name: str, seed: int) -> None:
    world = PlantedWorld(name, seed, NUM_WINDOWS * WINDOW)
    tape, answer = Tape.record(world), world.best_decision(0)
    plans: dict[str, Choice] = {
        "best": lambda _, __: answer.best,
        "opposite": lambda _, __: answer.opposite,
        "uniform": lambda _, observation: uniform_decision(observation),
    }
    if name == "planted-flat":
        # Uniform sizes are the answer.
        del plans["uniform"]
    ndcg = {plan: ndcg_by_window(tape, world.settings, choose)[WARM_UP:].mean() for plan, choose in plans.items()}
    assert ndcg["best"] > 1.35 * ndcg["opposite"], ndcg
    assert ndcg["best"] > 1.15 * ndcg.get("uniform", 0.0), ndcg


@pytest.mark.parametrize("seed", [1, 2])
def test_who_follows_the_swing_beats_whoever_does_not(seed: int) -> None:
    world = PlantedWorld("planted-swing", seed, 4 * BLOCK)
    assert world.num_records == 2 * world.phase_events
    tape = Tape.record(world)
    plans = [(0.9, Curve("uniform")), (0.9, Curve("powerlaw", 1.0)), (0.97, Curve("powerlaw", 0.3))]
    fixed = [
        ndcg_by_window(tape, world.settings, lambda _, __, plan=plan: SizeDecision(*plan, Curve("uniform")))
        for plan in plans
    ]
    following = ndcg_by_window(tape, world.settings, lambda offset, _: world.best_decision(offset).best)
    best_fixed = max(ndcg[1:].mean() for ndcg in fixed)
    assert following[1:].mean() > 1.1 * best_fixed, (following[1:].mean(), best_fixed)


@EVERY_WORLD
def test_the_answer_lies_within_its_own_range_and_far_from_its_opposite(name: str) -> None:
    world = PlantedWorld(name, 1)
    for offset in (0, world.phase_events):
        answer = world.best_decision(offset)
        low, high = answer.users_share
        assert low < answer.best.users_share < high
        assert answer.best != answer.opposite
        assert len(answer.reason) > 20


def test_the_swing_goes_to_and_fro_and_shows_in_the_users_frequencies() -> None:
    world = PlantedWorld("planted-swing", 1)
    phases = [world.best_decision(number * world.phase_events).best for number in range(4)]
    assert phases[0] == phases[2] != phases[1] == phases[3]
    assert world.best_decision(world.phase_events - 1).best == phases[0]
    world = PlantedWorld("planted-swing", 1, 4 * world.phase_events)
    num_users = [len(np.unique(batch.user)) for batch in batches(world)]
    assert num_users == [256, 256, 32, 32, 256, 256, 32, 32]


@EVERY_WORLD
def test_users_come_as_often_as_their_rates_say(name: str) -> None:
    world = PlantedWorld(name, 3, 6 * BLOCK)
    for batch in batches(world):
        user, _ = places(world, batch)
        rates = world.user_rates(int(batch.offset[0]))
        np.testing.assert_array_equal(np.bincount(user, minlength=len(rates)), np.round(rates * BLOCK))


@EVERY_WORLD
def test_items_are_taken_as_often_as_their_rates_say(name: str) -> None:
    world = PlantedWorld(name, 3, 30 * BLOCK)
    num_items = len(world.item_keys(0))
    expected, observed = np.zeros((2, 20))
    for batch in batches(world):
        _, item = places(world, batch)
        group = np.arange(num_items) * 20 // num_items
        expected += np.bincount(group, BLOCK * world.item_rates(int(batch.offset[0])))
        observed += np.bincount(group[item], minlength=20)
    assert expected.sum() == pytest.approx(observed.sum())
    # An item that is drawn for a playlist comes again and again: twenty draws count as one.
    assert ((observed - expected) ** 2 / (20 * expected)).sum() < 45


@EVERY_WORLD
def test_who_knows_the_pattern_far_outdoes_popularity(name: str) -> None:
    world = PlantedWorld(name, 4, 4 * BLOCK)
    for batch in batches(world):
        _, item = places(world, batch)
        first = int(batch.offset[0])
        at = np.arange(BLOCK // 2, BLOCK // 2 + 400)
        chances = np.array([world.item_probabilities(first + i)[item[i]] for i in at])
        assert chances.mean() > 5 * world.item_rates(first)[item[at]].mean()


def test_strangers_never_come_back_and_are_one_event_in_eight() -> None:
    world = PlantedWorld("planted-crowd", 1, 3 * BLOCK)
    users = np.concatenate([batch.user for batch in batches(world)])
    _, times = np.unique(users, return_counts=True)
    assert (times == 1).sum() == len(users) // STRANGER_EVERY
    assert (times > 1).sum() == 32
    assert len(np.unique(users[STRANGER_EVERY - 1 :: STRANGER_EVERY])) == len(users) // STRANGER_EVERY


def test_only_the_head_of_planted_head_is_popular() -> None:
    rates = PlantedWorld("planted-head", 1).item_rates(0)
    assert rates[:120].sum() == pytest.approx(0.92)
    assert rates[:120].min() > 20 * rates[120:].max()


def test_neighbours_in_a_graph_are_mutual_and_equally_many() -> None:
    graph = draw_graph(30, 5, np.random.default_rng(0))
    pairs = [(item, neighbour) for item in range(30) for neighbour in graph[item].tolist()]
    assert sorted(pairs) == sorted((neighbour, item) for item, neighbour in pairs)
    assert all(item != neighbour for item, neighbour in pairs)


def test_a_clique_is_the_same_seen_from_each_of_its_items() -> None:
    others = draw_cliques(30, 4, np.random.default_rng(0))
    groups = {frozenset([item, *others[item].tolist()]) for item in range(30)}
    assert sorted(map(len, groups)) == [5] * 6


SEEDS = st.integers(0, 2**32)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(SEEDS, st.integers(1, 12), st.integers(1, 5))
def test_walkers_go_on_from_their_last_item_unless_they_stray(seed: int, num_rounds: int, num_users: int) -> None:
    rng = np.random.default_rng(seed)
    followers = draw_graph(6, 2, rng)
    shape = num_rounds, num_users
    # Items 6 to 8 follow no pattern.
    strays = np.where(rng.random(shape) < 0.4, rng.integers(9, size=shape), -1)
    items, followed = walk(followers, strays, rng)
    for user in range(num_users):
        last = -1
        for turn in range(num_rounds):
            item = items[turn, user]
            assert followed[turn, user] == (last if last < 6 else -1)
            if strays[turn, user] >= 0:
                assert item == strays[turn, user]
            else:
                assert item in (followers[last] if 0 <= last < 6 else range(6))
            last = item


@settings(derandomize=True, deadline=None, max_examples=50)
@given(SEEDS, st.integers(0, 3), st.booleans())
def test_players_play_one_list_in_a_circle_and_then_another(seed: int, block: int, is_opening: bool) -> None:
    rng = np.random.default_rng(seed)
    num_rounds, num_users = 12, 4
    length = rng.integers(1, 5, num_users)
    before, after = rng.integers(50, size=(2, num_users, 4))
    shape = num_rounds, num_users
    strays = np.where(rng.random(shape) < 0.2, rng.integers(50, size=shape), -1)
    first = block * num_rounds
    items, followed = play(before, after, length, strays, first, is_opening)
    for user in range(num_users):
        change, n = user * num_rounds // num_users, int(length[user])
        # What has been played of the list: before these rounds, what came after the change to it in the last block.
        num_played = 0 if is_opening else num_rounds - change
        for turn in range(num_rounds):
            if turn == change:
                num_played = 0
            song = (after if turn >= change else before)[user, (first + turn) % n]
            assert items[turn, user] == (song if strays[turn, user] < 0 else strays[turn, user])
            assert followed[turn, user] == (song if num_played >= n else -1)
            num_played += 1
