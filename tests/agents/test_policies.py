"""What every size policy owes the loop, whoever decides."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from agents.catalogue import LEARNERS, open_policy
from stream.core.observation import LAST_REWARD, OBSERVATION_LENGTH
from stream.core.sizes import FAMILIES, SizeDecision, is_legal
from stream.ports import SizePolicy

Observation = NDArray[np.float32]
Open = Callable[[], SizePolicy]

FIXED = [*FAMILIES, *(f"{name}:{shape:g}" for name, family in FAMILIES.items() for shape in family.shape_range)]
NAMES = [
    *FIXED,
    "scall",
    "uniform@even",
    "powerlaw:0.3@even",
    "uniform/powerlaw:0.5",
    "frequency@0.1",
    "lognormal:1/pareto:2@1",
    *LEARNERS,
]
NAMES += [f"unchanged:{name}" for name in ("powerlaw:0.3@0.2", "scall", *LEARNERS)]
MAX_STATE_BYTES = 32 * 1024


def named(name: str) -> Open:
    return lambda: open_policy(name, users_share=0.4, seed=7)


POLICIES = [pytest.param(named(name), name, id=name) for name in NAMES]
"""Every policy by how to open it afresh, and the name it is asked for by."""

every_policy = pytest.mark.parametrize(("open_afresh", "name"), POLICIES)


def observations(num: int, seed: int = 1) -> list[Observation]:
    """Return what a stream may show, with rewards in it."""
    random = np.random.default_rng(seed)
    made = random.normal(size=(num, OBSERVATION_LENGTH)).astype(np.float32)
    made[:, LAST_REWARD] = random.normal(0.02, 0.05, num)
    return list(made)


def odd_observations() -> list[Observation]:
    """Return nothing seen yet, the widest ranges that floats have, what is no number, and rewards like that."""
    largest = np.finfo(np.float32).max
    of_one = [0.0, largest, -largest, np.finfo(np.float32).tiny, np.nan, np.inf, -np.inf]
    odd = [np.full(OBSERVATION_LENGTH, value, np.float32) for value in of_one]
    for observation, reward in zip(observations(len(of_one)), of_one, strict=True):
        observation[LAST_REWARD] = reward
        odd.append(observation)
    return [*odd, *(1e6 * observation for observation in observations(2, seed=2))]


def decisions_of(policy: SizePolicy, shown: list[Observation]) -> list[SizeDecision]:
    return [policy.decide(observation) for observation in shown]


def through_json(state: dict[str, Any]) -> dict[str, Any]:
    restored: dict[str, Any] = json.loads(json.dumps(state, allow_nan=False))
    return restored


def assert_valid(decision: SizeDecision) -> None:
    assert 0 <= decision.users_share <= 1
    for curve in (decision.users, decision.items):
        assert is_legal(curve)
    state = json.loads(json.dumps(decision.state(), allow_nan=False))
    assert SizeDecision.from_state(state) == decision


@every_policy
def test_a_policy_goes_by_the_name_it_is_asked_for_by(open_afresh: Open, name: str) -> None:
    assert open_afresh().name == name


@every_policy
def test_a_decision_is_valid_whatever_is_observed(open_afresh: Open, name: str) -> None:
    policy = open_afresh()
    for observation in odd_observations() + observations(30) + odd_observations():
        before = observation.copy()
        assert_valid(policy.decide(observation))
        assert np.array_equal(observation, before, equal_nan=True), f"{name} wrote into what it observed"


@pytest.mark.parametrize("name", [*LEARNERS, *(f"unchanged:{name}" for name in LEARNERS)])
@settings(derandomize=True, deadline=None, max_examples=30)
@given(shown=st.lists(arrays(np.float32, OBSERVATION_LENGTH, elements=st.floats(width=32)), max_size=20))
def test_a_policy_that_learns_takes_any_floats(name: str, shown: list[Observation]) -> None:
    policy = named(name)()
    for observation in shown:
        assert_valid(policy.decide(observation))
    through_json(policy.state())


@every_policy
def test_the_same_policy_decides_the_same_of_the_same(open_afresh: Open, name: str) -> None:
    one, other = open_afresh(), open_afresh()
    shown = observations(20) + odd_observations()
    assert decisions_of(one, shown) == decisions_of(other, shown), name
    assert through_json(one.state()) == through_json(other.state())


@every_policy
def test_what_no_policy_is_told_of_does_not_change_it(open_afresh: Open, name: str) -> None:
    """Only its own observations do: neither another policy beside it nor the global random state."""
    alone, shown = open_afresh(), observations(20)
    expected = decisions_of(alone, shown)
    one, other = open_afresh(), open_afresh()
    for observation, decision in zip(shown, expected, strict=True):
        other.decide(-observation)
        np.random.seed(3)  # noqa: NPY002
        assert one.decide(observation) == decision, name


@every_policy
@pytest.mark.parametrize("num_before", [0, 1, 6, 40])
def test_a_restored_policy_goes_on_as_if_it_had_never_stopped(open_afresh: Open, name: str, num_before: int) -> None:
    unbroken = open_afresh()
    before, after = observations(num_before), odd_observations() + observations(30, seed=3)
    decisions_of(unbroken, before)
    state = unbroken.state()
    kept = through_json(state)
    expected = decisions_of(unbroken, after)
    assert through_json(state) == kept, f"{name} goes on in a state that it gave away"
    for restored_from in (kept, msgspec.json.decode(msgspec.json.encode(state))):
        restored = open_afresh()
        restored.restore(restored_from)
        assert through_json(restored.state()) == kept
        assert decisions_of(restored, after) == expected, name
        assert restored_from == kept, f"{name} goes on in a state that it was given"


@every_policy
def test_a_state_stays_small(open_afresh: Open, name: str) -> None:
    policy = open_afresh()
    decisions_of(policy, observations(100))
    assert len(json.dumps(policy.state())) <= MAX_STATE_BYTES, name


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("reward", [np.nan, np.inf, -np.inf, 3.0, -1e30])
def test_a_reward_that_was_never_measured_teaches_nothing(name: str, reward: float) -> None:
    """Whatever stands in its place, what the policy does later is the same."""
    told, untold = named(name)(), named(name)()
    before, after = observations(20), observations(30, seed=3)
    odd = observations(20, seed=2)
    decided = []
    for policy, shown in ((told, reward), (untold, np.nan)):
        for observation in odd:
            observation[LAST_REWARD] = shown
        decided.append(decisions_of(policy, before + odd + after))
    assert decided[0] == decided[1]


@pytest.mark.parametrize("name", LEARNERS)
def test_a_policy_that_learns_heeds_its_rewards_and_its_seed(name: str) -> None:
    shown = observations(60)
    turned = [observation.copy() for observation in shown]
    for observation in turned:
        observation[LAST_REWARD] *= -1
    decided = decisions_of(named(name)(), shown)
    assert decisions_of(named(name)(), turned) != decided
    assert decisions_of(open_policy(name, users_share=0.4, seed=8), shown) != decided
