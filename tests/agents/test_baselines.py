"""What every size policy owes the loop, whoever decides; and what the fixed curves decide."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agents.baselines import open_policy
from stream.core.observation import OBSERVATION_LENGTH
from stream.core.sizes import FAMILIES, Curve, SizeBounds, SizeDecision, plan_sizes
from stream.errors import UsageError
from stream.ports import SizePolicy

Observation = NDArray[np.float32]
Open = Callable[[], SizePolicy]


def fixed(text: str) -> Open:
    return lambda: open_policy(text, users_share=0.4)


FIXED = [*FAMILIES, *(f"{name}:{shape:g}" for name, family in FAMILIES.items() for shape in family.shape_range)]
POLICIES = [pytest.param(fixed(text), text, id=text) for text in FIXED]
"""Every policy by how to open it afresh, and the name it is asked for by."""

every_policy = pytest.mark.parametrize(("open_afresh", "name"), POLICIES)


def observations() -> list[Observation]:
    """Nothing seen yet, the widest ranges that floats have, and what a stream may show."""
    largest = np.finfo(np.float32).max
    random = np.random.default_rng(1)
    return [
        np.zeros(OBSERVATION_LENGTH, np.float32),
        np.full(OBSERVATION_LENGTH, largest, np.float32),
        np.full(OBSERVATION_LENGTH, -largest, np.float32),
        np.full(OBSERVATION_LENGTH, np.finfo(np.float32).tiny, np.float32),
        *random.normal(size=(5, OBSERVATION_LENGTH)).astype(np.float32),
        *(1e6 * random.normal(size=(2, OBSERVATION_LENGTH))).astype(np.float32),
    ]


def through_json(state: dict[str, Any]) -> dict[str, Any]:
    restored: dict[str, Any] = json.loads(json.dumps(state, allow_nan=False))
    return restored


def assert_valid(decision: SizeDecision) -> None:
    assert 0 <= decision.users_share <= 1
    for curve in (decision.users, decision.items):
        low, high = FAMILIES[curve.family].shape_range
        assert low <= curve.shape <= high
    described = [decision.users_share, list(decision.users), list(decision.items)]
    assert json.loads(json.dumps(described, allow_nan=False)) == described


# The contract


@every_policy
def test_a_policy_goes_by_the_name_it_is_asked_for_by(open_afresh: Open, name: str) -> None:
    assert open_afresh().name == name


@every_policy
def test_a_decision_is_valid_whatever_is_observed(open_afresh: Open, name: str) -> None:
    policy = open_afresh()
    for observation in observations():
        before = observation.copy()
        assert_valid(policy.decide(observation))
        assert (observation == before).all(), f"{name} wrote into what it observed"


@every_policy
def test_the_same_policy_decides_the_same_of_the_same(open_afresh: Open, name: str) -> None:
    one, other = open_afresh(), open_afresh()
    for observation in observations():
        assert one.decide(observation) == other.decide(observation), name
    assert through_json(one.state()) == through_json(other.state())


@every_policy
def test_a_restored_policy_goes_on_as_if_it_had_never_stopped(open_afresh: Open, name: str) -> None:
    unbroken = open_afresh()
    first, second = observations()[:6], observations()[6:]
    for observation in first:
        unbroken.decide(observation)
    restored = open_afresh()
    restored.restore(through_json(unbroken.state()))
    assert through_json(restored.state()) == through_json(unbroken.state())
    for observation in second:
        assert restored.decide(observation) == unbroken.decide(observation), name


# Fixed curves


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fixed_curve_is_the_same_for_both_sides_in_every_window(family: str) -> None:
    policy = open_policy(family, users_share=0.3)
    curve = Curve(family, FAMILIES[family].default_shape)
    for observation in observations():
        assert policy.decide(observation) == SizeDecision(0.3, curve, curve)


def test_the_shape_stands_behind_a_colon() -> None:
    assert open_policy("pareto:2.5", users_share=0.5).decide(observations()[0]).items == Curve("pareto", 2.5)


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"uniform", "frequency"}))
def test_the_ends_of_a_shape_make_other_plans(family: str) -> None:
    plans = [
        plan_sizes(open_policy(f"{family}:{shape}", 0.5).decide(observations()[0]).items, 50, 500, SizeBounds(0, 60))
        for shape in FAMILIES[family].shape_range
    ]
    assert plans[0].tolist() != plans[1].tolist()


@pytest.mark.parametrize("text", ["", "gaussian", "powerlaw:", "powerlaw:0", "powerlaw:nan", "uniform:2"])
def test_a_policy_that_does_not_exist_is_a_usage_error_that_names_it(text: str) -> None:
    with pytest.raises(UsageError, match=r"^policy .*(write one of|write a number|write 'uniform' alone)") as error:
        open_policy(text, users_share=0.5)
    assert repr(text) in str(error.value)
    assert "\n" not in str(error.value)
