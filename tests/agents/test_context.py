"""The few numbers that stand for an observation."""

import numpy as np
import pytest

from agents.context import Context
from stream.core.observation import LAST_REWARD, OBSERVATION_LENGTH


def shifted(random: np.random.Generator, scale: float, level: float) -> np.ndarray:
    return (level + scale * random.normal(size=OBSERVATION_LENGTH)).astype(np.float32)


@pytest.mark.parametrize(("scale", "level"), [(1.0, 0.0), (0.01, 0.5), (0.1, -3.0)])
def test_coordinates_are_about_standard_normal_whatever_the_scale(scale: float, level: float) -> None:
    context, random = Context(num_coordinates=2, seed=1), np.random.default_rng(2)
    read = np.array([context.read(shifted(random, scale, level)) for _ in range(300)])[50:]
    assert np.abs(read.mean(axis=0)).max() < 0.2
    assert 0.7 < read.std(axis=0).min() <= read.std(axis=0).max() < 1.3


def test_what_never_changes_says_nothing() -> None:
    context = Context(num_coordinates=2, seed=1)
    for _ in range(10):
        assert np.abs(context.read(np.full(OBSERVATION_LENGTH, 0.3, np.float32))).max() < 1e-6


def test_a_change_of_all_that_is_observed_is_seen() -> None:
    context, random = Context(num_coordinates=2, seed=1), np.random.default_rng(2)
    direction = random.choice([-3.0, 3.0], OBSERVATION_LENGTH)
    before = np.array([context.read(shifted(random, 1.0, 0.0)) for _ in range(50)])
    after = np.array([context.read((shifted(random, 1.0, 0.0) + direction).astype(np.float32)) for _ in range(10)])
    assert np.abs(after.mean(axis=0) - before.mean(axis=0)).max() > 1.0


def test_the_last_reward_is_left_out() -> None:
    one, other, random = Context(2, seed=1), Context(2, seed=1), np.random.default_rng(2)
    for _ in range(10):
        observation = shifted(random, 1.0, 0.0)
        turned = observation.copy()
        turned[LAST_REWARD] += 1.0
        assert one.read(observation).tolist() == other.read(turned).tolist()


def test_one_odd_observation_neither_leaves_the_range_nor_blinds_it_for_long() -> None:
    context, random = Context(2, seed=1), np.random.default_rng(2)
    for _ in range(50):
        context.read(shifted(random, 1.0, 0.0))
    for odd in (np.inf, np.nan, np.finfo(np.float32).max):
        assert np.abs(context.read(np.full(OBSERVATION_LENGTH, odd, np.float32))).max() <= 3.0
    later = np.array([context.read(shifted(random, 1.0, 0.0)) for _ in range(400)])[200:]
    assert later.std(axis=0).min() > 0.5
