"""Random search: what it tries when, and what it finds on streams whose best decision is known."""

import numpy as np
import pytest

from agents.search import NUM_CANDIDATES, TRY_RATE, RandomSearch
from stream.core.observation import LAST_REWARD, OBSERVATION_LENGTH
from stream.core.sizes import SizeDecision
from tests.agents.surface import SPREAD, Surface, play

NUM_WINDOWS = 300
SEEDS = range(10)
THIRD = NUM_WINDOWS // 3


def told(reward: float) -> np.ndarray:
    observation = np.zeros(OBSERVATION_LENGTH, np.float32)
    observation[LAST_REWARD] = reward
    return observation


def found_by(seed: int, sign: float = 1.0) -> float:
    return float(play(RandomSearch("random", seed), Surface(seed), NUM_WINDOWS, seed, sign=sign)[-THIRD:].mean())


def after_start(search: RandomSearch, rewards: dict[int, float]) -> list[SizeDecision]:
    """Show the candidates one each: those in ``rewards`` are rewarded so, all others with nothing."""
    first = [search.decide(told(rewards.get(window - 1, 0.0))) for window in range(NUM_CANDIDATES)]
    return [*first, search.decide(told(rewards.get(NUM_CANDIDATES - 1, 0.0)))]


def test_the_first_windows_try_a_decision_each() -> None:
    search = RandomSearch("random", seed=1)
    tried = [search.decide(told(0.0)) for _ in range(NUM_CANDIDATES)]
    assert len(set(tried)) == NUM_CANDIDATES


@pytest.mark.parametrize("best", [0, 5, NUM_CANDIDATES - 1])
def test_then_the_one_with_the_best_reward_stands(best: int) -> None:
    *first, then = after_start(RandomSearch("random", seed=1), {best: 0.05})
    assert then == first[best]


def test_one_lucky_window_does_not_make_a_decision_the_best_for_long() -> None:
    search = RandomSearch("random", seed=1)
    *first, then = after_start(search, {3: 0.05, 7: 0.04})
    assert then == first[3]
    later = [search.decide(told(-0.02 if i < 3 else 0.04)) for i in range(6)]
    assert first[7] in later
    assert later[-1] != first[3]


def test_it_goes_on_trying_now_and_then() -> None:
    search, num = RandomSearch("random", seed=1), 1000
    before = set(after_start(search, {4: 0.1}))
    later, reward = [], 0.1
    for _ in range(num):
        later.append(search.decide(told(reward)))
        reward = 0.1 if later[-1] in before else 0.0
    new = set(later) - before
    assert 0.3 * TRY_RATE * num < len(new) < 0.7 * TRY_RATE * num


def test_it_finds_a_decision_near_the_best() -> None:
    """Rewards are as noisy as the decisions' worth is wide."""
    best = np.mean([Surface(seed).best_worth(0) for seed in SEEDS])
    assert np.mean([found_by(seed) for seed in SEEDS]) > 0.5 * best


def test_rewards_of_the_wrong_sign_lead_it_astray() -> None:
    assert np.mean([found_by(seed, sign=-1.0) for seed in SEEDS]) < -0.5 * SPREAD
