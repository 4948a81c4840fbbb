"""Policies that do not learn: a decision for good, written by a person or another policy's first."""

import numpy as np
import pytest

from agents.catalogue import open_policy
from stream.core.action import uniform_decision
from stream.core.observation import OBSERVATION_LENGTH, PARTS
from stream.core.sizes import FAMILIES, Curve, SizeBounds, SizeDecision, plan_sizes

NOTHING = np.zeros(OBSERVATION_LENGTH, np.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fixed_curve_is_the_same_for_both_sides_in_every_window(family: str) -> None:
    policy = open_policy(family, users_share=0.3, seed=1)
    curve = Curve(family, FAMILIES[family].default_shape)
    for value in (0, 1, -1e9):
        assert policy.decide(NOTHING + np.float32(value)) == SizeDecision(0.3, curve, curve)


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"uniform", "frequency"}))
def test_the_ends_of_a_shape_make_other_plans(family: str) -> None:
    curves = [open_policy(f"{family}:{end}", 0.5, 1).decide(NOTHING).items for end in FAMILIES[family].shape_range]
    plans = [plan_sizes(curve, 50, 500, SizeBounds(0, 60)).tolist() for curve in curves]
    assert plans[0] != plans[1]


@pytest.mark.parametrize("name", ["random", "bandit"])
def test_an_unchanged_policy_holds_the_first_decision_of_the_one_it_wraps(name: str) -> None:
    unchanged = open_policy(f"unchanged:{name}", users_share=0.3, seed=5)
    wrapped = open_policy(name, users_share=0.3, seed=5)
    first, *later = [wrapped.decide(NOTHING) for _ in range(5)]
    assert [unchanged.decide(NOTHING) for _ in range(5)] == [first] * 5
    assert first not in later


def test_a_fixed_policy_stays_what_it_is_when_it_is_held_unchanged() -> None:
    fixed, held = (open_policy(name, 0.3, 1).decide(NOTHING) for name in ("pareto:3@0.1", "unchanged:pareto:3@0.1"))
    assert fixed == held


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_even_gives_both_sides_the_same_mean_size(share: float) -> None:
    observation = np.zeros(OBSERVATION_LENGTH, np.float32)
    observation[PARTS["entities"]] = share, 0.5
    decision = open_policy("uniform/powerlaw:0.5@even", users_share=0.4, seed=1).decide(observation)
    assert decision == SizeDecision(share, Curve("uniform"), Curve("powerlaw", 0.5))
    assert open_policy("uniform@even", users_share=0.4, seed=1).decide(observation) == uniform_decision(observation)
