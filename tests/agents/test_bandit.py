"""The bandit: against a twin that remembers everything, and on streams whose best decision is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from agents.bandit import DISCOUNT, EXPLORATION, NOISE, NUM_CONTEXT, DiscountedLinUCB, arm_features
from agents.context import Context
from agents.decisions import GRID
from stream.core.observation import LAST_REWARD, OBSERVATION_LENGTH
from stream.core.sizes import Curve, SizeBounds, SizeDecision, plan_sizes, sizes_by_rank
from tests.agents.surface import SPREAD, Surface, play

NUM_WINDOWS = 180
SEEDS = range(6)
THIRD = NUM_WINDOWS // 3
Vector = NDArray[np.float64]


class Remembering:
    """D-LinUCB as it is written down: from all windows so far, by sums over them and inverses."""

    def __init__(self, seed: int) -> None:
        self.context = Context(NUM_CONTEXT, seed)
        self.rewarded: list[tuple[Vector, float]] = []
        self.level: float | None = None
        self.pulled: Vector | None = None
        self.num_windows = 0

    def features(self, decision: SizeDecision, context: Vector) -> Vector:
        arm, youth = arm_features(decision), 2.0 / np.sqrt(1.0 + self.num_windows / 2)
        return np.concatenate([[3.0, youth], 0.5 * context, arm, 0.3 * np.outer(arm[:3], context).ravel()])

    def sums(self, num: int) -> tuple[NDArray[np.float64], NDArray[np.float64], Vector]:
        """Return the inverse of V, W and theta after ``num`` rewards."""
        dims = len(self.features(GRID[0], np.zeros(NUM_CONTEXT)))
        gram, squares, moment = np.eye(dims), np.eye(dims), np.zeros(dims)
        for age, (x, reward) in enumerate(reversed(self.rewarded[:num])):
            gram += DISCOUNT**age * np.outer(x, x)
            squares += DISCOUNT ** (2 * age) * np.outer(x, x)
            moment += DISCOUNT**age * reward * x
        inverse = np.linalg.inv(gram)
        return inverse, squares, inverse @ moment

    def noise(self) -> float:
        num = len(self.rewarded)
        errors, windows = NOISE**2 * DISCOUNT**num, DISCOUNT**num
        for at, (x, reward) in enumerate(self.rewarded):
            inverse, _, theta = self.sums(at)
            error = reward - x @ theta
            errors += DISCOUNT ** (num - 1 - at) * error**2 / (1 + x @ inverse @ x)
            windows += DISCOUNT ** (num - 1 - at)
        return float(np.sqrt(errors / windows))

    def bounds(self, observation: NDArray[np.float32]) -> Vector:
        """Take in the reward of what was pulled last; return the arms' bounds."""
        reward = float(observation[LAST_REWARD])
        self.level = reward if self.level is None else self.level
        if self.pulled is not None:
            self.rewarded.append((self.pulled, reward - self.level))
        self.now = self.context.read(observation)
        inverse, squares, theta = self.sums(len(self.rewarded))
        spread, noise = inverse @ squares @ inverse, self.noise()
        rows = [self.features(decision, self.now) for decision in GRID]
        return np.array([x @ theta + EXPLORATION * noise * np.sqrt(x @ spread @ x) for x in rows])

    def pull(self, decision: SizeDecision) -> None:
        self.pulled = self.features(decision, self.now)
        self.num_windows += 1


def worth(bandit: DiscountedLinUCB, surface: Surface, seed: int, **told: float) -> Vector:
    return play(bandit, surface, NUM_WINDOWS, seed, **told)


def moving(seed: int) -> Surface:
    return Surface(seed, lambda window: int(window >= NUM_WINDOWS // 2))


def swinging(seed: int) -> Surface:
    return Surface(seed, lambda window: window // 20 % 2)


def at_random(surface: Surface, seed: int) -> Vector:
    random = np.random.default_rng((seed, 2))
    return np.array([surface.worth(GRID[random.integers(len(GRID))], window) for window in range(NUM_WINDOWS)])


def observations(num: int, seed: int) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    made = random.normal(size=(num, OBSERVATION_LENGTH)).astype(np.float32)
    made[:, LAST_REWARD] = random.normal(0.03, 0.01, num)
    return made


# What it computes


@pytest.mark.parametrize("seed", [1, 2])
def test_it_pulls_the_arm_with_the_highest_bound_of_all_it_was_ever_told(seed: int) -> None:
    bandit, twin = DiscountedLinUCB("bandit", seed), Remembering(seed)
    for observation in observations(40, seed):
        bounds, decision = twin.bounds(observation), bandit.decide(observation)
        assert bounds[GRID.index(decision)] >= bounds.max() - 2e-6
        twin.pull(decision)


def test_what_all_decisions_are_rewarded_with_alike_changes_no_decision() -> None:
    one, other = (DiscountedLinUCB("bandit", 1) for _ in range(2))
    for observation in observations(60, 3):
        raised = observation.copy()
        raised[LAST_REWARD] += 0.25
        assert one.decide(observation) == other.decide(raised)


@pytest.mark.parametrize("shape", [0.3, 1.0, 3.0])
def test_the_coordinates_of_a_curve_are_the_gini_coefficient_of_its_sizes(shape: float) -> None:
    plan = plan_sizes(Curve("powerlaw", shape), 400, 400 * 40, SizeBounds(0, 255))
    sizes = np.sort(sizes_by_rank(plan)).astype(np.float64)
    rank = np.arange(1, len(sizes) + 1)
    gini = float(((2 * rank - len(sizes) - 1) * sizes).sum() / (len(sizes) * sizes.sum()))
    coordinates = arm_features(SizeDecision(0.2, Curve("powerlaw", shape), Curve("uniform")))
    assert (coordinates[1] + 1) / 2 * 0.625 == pytest.approx(gini, abs=0.01)


def test_no_two_arms_look_alike() -> None:
    assert len({tuple(arm_features(decision)) for decision in GRID}) == len(GRID)


# Known answers


def test_it_follows_the_best_decision_where_that_has_moved() -> None:
    """Rewards are as noisy as the grid is wide; better than random and than uniform sizes by over half that width."""
    uniform = SizeDecision(0.5, Curve("uniform"), Curve("uniform"))
    found, random, even, best = [], [], [], []
    for seed in SEEDS:
        surface = moving(seed)
        found.append(worth(DiscountedLinUCB("bandit", seed), surface, seed)[-THIRD:].mean())
        random.append(at_random(surface, seed)[-THIRD:].mean())
        even.append(surface.worth(uniform, NUM_WINDOWS - 1))
        best.append(surface.best_worth(NUM_WINDOWS - 1))
    assert np.mean(found) > np.mean(random) + 0.6 * SPREAD
    assert np.mean(found) > np.mean(even) + 0.6 * SPREAD
    assert np.mean(found) > 0.5 * np.mean(best)
    assert np.sum(np.array(found) > random) >= len(SEEDS) - 1


def test_it_finds_the_best_decision_of_a_stream_that_stays_as_it_is() -> None:
    found = [worth(DiscountedLinUCB("bandit", seed), Surface(seed), seed)[-THIRD:].mean() for seed in SEEDS]
    assert np.mean(found) > 0.7 * np.mean([Surface(seed).best_worth(0) for seed in SEEDS])


def test_rewards_of_the_wrong_sign_lead_it_astray() -> None:
    found = [worth(DiscountedLinUCB("bandit", seed), moving(seed), seed, sign=-1.0)[-THIRD:].mean() for seed in SEEDS]
    assert np.mean(found) < np.mean([at_random(moving(seed), seed)[-THIRD:].mean() for seed in SEEDS]) - 0.6 * SPREAD


def test_it_makes_use_of_what_it_observes() -> None:
    """Where the best decision swings to and fro, it does better if the observation shows which it is."""
    seen, unseen = (
        np.mean([worth(DiscountedLinUCB("bandit", s), swinging(s), s, visible=visible)[THIRD:].mean() for s in SEEDS])
        for visible in (2.0, 0.0)
    )
    assert seen > unseen + 0.15 * SPREAD
