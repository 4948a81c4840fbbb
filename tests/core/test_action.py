"""What an agent's numbers mean: always a decision that can be carried out, on scales that a person can check."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.core.action import ACTION_SPACES, ActionSpace, action_space, number_of, share_of, uniform_decision
from stream.core.families import RANK_GROUPS
from stream.core.observation import OBSERVATION_LENGTH, PARTS
from stream.core.sizes import Curve, SizeBounds, is_legal, plan_sizes, sizes_by_rank
from stream.errors import UsageError

every_space = pytest.mark.parametrize("space", ACTION_SPACES.values(), ids=ACTION_SPACES)
numbers = st.floats(-1, 1)
quick = settings(derandomize=True, deadline=None)


def seeing(users_share: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    observation = np.zeros(OBSERVATION_LENGTH, np.float32)
    observation[PARTS["entities"]] = users_share, 0.5
    return observation


@every_space
@quick
@given(seed=st.integers(0, 2**32))
def test_every_action_is_a_decision_that_can_be_carried_out(space: ActionSpace, seed: int) -> None:
    action = np.random.default_rng(seed).uniform(-1.5, 1.5, space.length)
    decision = space.decode(action)
    assert 0 <= decision.users_share <= 1
    for curve in (decision.users, decision.items):
        assert is_legal(curve)
        assert plan_sizes(curve, 30, 200, SizeBounds(0, 64))[1:].sum() == 200


@every_space
def test_numbers_beyond_the_ends_count_as_the_ends(space: ActionSpace) -> None:
    beyond, ends = np.full(space.length, 7.0), np.ones(space.length)
    assert space.decode(beyond) == space.decode(ends)
    assert space.decode(-beyond) == space.decode(-ends)


@every_space
def test_what_is_no_action_is_refused(space: ActionSpace) -> None:
    rest = [0.0] * (space.length - 1)
    for wrong in ([], rest, [0.0, 0.0, *rest], [math.nan, *rest], [*rest, math.inf]):
        with pytest.raises(ValueError, match="an action is"):
            space.decode(wrong)


@quick
@given(number=numbers)
def test_the_odds_of_a_share_go_with_the_cube_of_its_number(number: float) -> None:
    share = share_of(number)
    assert math.log(share / (1 - share)) == pytest.approx(3.5 * number**3 - 0.6, abs=1e-6)
    assert number_of(share) ** 3 == pytest.approx(number**3, abs=1e-9)


@quick
@given(share=st.floats(1e-6, 1 - 1e-6))
def test_the_number_of_a_share_is_the_nearest_that_there_is(share: float) -> None:
    assert share_of(number_of(share)) == pytest.approx(min(max(share, share_of(-1.0)), share_of(1.0)))


@quick
@given(one=numbers, other=numbers)
def test_more_is_more_for_the_users_and_flatter_for_a_curve(one: float, other: float) -> None:
    less, more = sorted([one, other])
    space = action_space("scall")
    low, high = (space.decode([number, number, number]) for number in (less, more))
    assert low.users_share <= high.users_share
    assert low.users.shape <= high.users.shape
    assert low.items.shape <= high.items.shape


def test_each_number_means_its_own() -> None:
    decode = action_space("scall").decode
    middle = decode([0, 0, 0])
    assert decode([1, 0, 0])._replace(users_share=middle.users_share) == middle
    assert decode([0, 1, 0])._replace(users=middle.users) == middle
    assert decode([0, 0, 1])._replace(items=middle.items) == middle
    assert decode([0, 1, -1]).users == Curve("powerlaw", 30.0)
    assert decode([0, 1, -1]).items == Curve("powerlaw", 0.1)


@every_space
@pytest.mark.parametrize("share", [0.02, 0.25, 0.9])
def test_the_uniform_action_is_as_good_as_uniform(space: ActionSpace, share: float) -> None:
    observation = seeing(share)
    decision, uniform = space.decode(space.uniform(observation)), uniform_decision(observation)
    assert decision.users_share == pytest.approx(share)
    assert uniform.users_share == np.float32(share)
    bounds = SizeBounds(0, 64)
    for curve in (decision.users, decision.items):
        plan, flat = (plan_sizes(one, 1000, 8000, bounds) for one in (curve, uniform.users))
        assert np.abs(plan - flat).sum() < 0.05 * flat.sum()


LENGTH = action_space("groups").length
GROUPS_OF_USERS = slice(1, 1 + len(RANK_GROUPS))
GROUPS_OF_ITEMS = slice(1 + len(RANK_GROUPS), None)
all_numbers = st.lists(st.sampled_from((-1.0, 0.0, 1.0)) | numbers, min_size=LENGTH, max_size=LENGTH)


def shape_of(curve: Curve) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    assert isinstance(curve.shape, tuple)
    return np.array(curve.shape)


@quick
@given(action=all_numbers)
def test_a_group_is_so_many_times_the_next_one_and_each_side_has_its_own(action: list[float]) -> None:
    decision = action_space("groups").decode(action)
    assert decision.users_share == share_of(action[0])
    for curve, at in ((decision.users, GROUPS_OF_USERS), (decision.items, GROUPS_OF_ITEMS)):
        assert is_legal(curve)
        levels = np.append(shape_of(curve), 1.0)
        assert np.log2(levels[:-1] / levels[1:]) - 1 == pytest.approx(action[at], abs=1e-9)


@quick
@given(one=numbers, other=numbers, action=all_numbers, at=st.integers(1, 2 * len(RANK_GROUPS)))
def test_the_more_of_a_groups_number_the_more_for_all_ranks_down_to_it(
    one: float, other: float, action: list[float], at: int
) -> None:
    group = (at - 1) % len(RANK_GROUPS)
    less, more = (
        action_space("groups").decode([*action[:at], number, *action[at + 1 :]]) for number in sorted([one, other])
    )
    assert less.users_share == more.users_share
    raised, kept = ("users", "items") if at <= len(RANK_GROUPS) else ("items", "users")
    assert getattr(less, kept) == getattr(more, kept)
    low, high = shape_of(getattr(less, raised)), shape_of(getattr(more, raised))
    assert (low[: group + 1] <= high[: group + 1]).all()
    assert (low[group + 1 :] == high[group + 1 :]).all()


@quick
@given(
    action=st.lists(st.floats(-1, 0), min_size=LENGTH, max_size=LENGTH), group=st.sampled_from(range(len(RANK_GROUPS)))
)
def test_a_groups_number_takes_words_from_the_ranks_below_for_those_above(action: list[float], group: int) -> None:
    n, bounds = 640, SizeBounds(0, 255)
    before, after = (
        sizes_by_rank(plan_sizes(action_space("groups").decode(numbers).users, n, 8 * n, bounds))
        for numbers in (action, [*action[: group + 1], 1.0, *action[group + 2 :]])
    )
    end = round(n * RANK_GROUPS[group])
    # Rounding may take a word anywhere, or give one.
    assert (after[:end] >= before[:end] - 1).all()
    assert (after[end:] <= before[end:] + 1).all()
    assert after[:end].sum() > before[:end].sum()


def test_an_unknown_space_is_a_usage_error_that_names_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"^action space 'two' is unknown: give one of scall"):
        action_space("two")
