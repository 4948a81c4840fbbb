"""The learnt policy acts as it was trained; where it cannot be trusted, it does not, and that is counted."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agents.online import FIRST, OnlineScallPolicy
from agents.scall import ScallPolicy
from agents.trained import Trained
from stream.core.action import ACTION_SPACES, uniform_decision
from stream.core.observation import LAST_REWARD, OBSERVATION_LENGTH, PARTS
from tests.agents.networks import random_policy

Observation = NDArray[np.float32]


def seen(number: int = 0) -> Observation:
    observation = np.random.default_rng(number).uniform(-0.5, 0.5, OBSERVATION_LENGTH).astype(np.float32)
    observation[PARTS["entities"]] = 0.4, 0.9
    return observation


@pytest.fixture
def trained() -> Trained:
    return random_policy()


def valued(trained: Trained, of_numbers: list[float]) -> Trained:
    """The policy with critics that value an action by these factors of its numbers alone."""
    weight = np.zeros((1, OBSERVATION_LENGTH + 3), np.float32)
    weight[0, -3:] = of_numbers
    critic = ((weight, np.zeros(1, np.float32)),)
    return trained._replace(critics=(critic, critic))


def test_it_does_what_the_agent_does(trained: Trained) -> None:
    policy = ScallPolicy("scall", trained._replace(critics=()))
    for number in range(10):
        observation = seen(number)
        decoded = ACTION_SPACES["scall"].decode(trained.act(observation))
        assert policy.decide(observation) == decoded
    assert policy.trips == {}


@pytest.mark.parametrize("place", [0, LAST_REWARD])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_acted_on(trained: Trained, place: int, value: float) -> None:
    policy, observation = ScallPolicy("scall", trained), seen()
    observation[place] = value
    assert policy.decide(observation) == uniform_decision(seen())
    assert policy.trips == {"not finite": 1}


def test_networks_that_are_broken_are_not_trusted(trained: Trained) -> None:
    weight, bias = trained.actor[-1]
    broken = trained._replace(actor=(*trained.actor[:-1], (weight, np.full_like(bias, np.nan))))
    policy = ScallPolicy("scall", broken)
    assert policy.decide(seen()) == uniform_decision(seen())
    assert policy.trips == {"not finite": 1}


def test_outside_the_known_range_the_nearest_action_within_is_taken(trained: Trained) -> None:
    action = trained.act(seen())
    for beside, is_known in ((0.05, True), (0.2, False)):
        nearest = action + np.float32(beside)
        policy = ScallPolicy("scall", trained._replace(low=nearest, high=nearest, critics=()))
        taken = action if is_known else nearest
        assert policy.decide(seen()) == ACTION_SPACES["scall"].decode(taken)
        assert policy.trips == ({} if is_known else {"outside the known range": 1})


def test_a_number_outside_the_known_range_changes_no_other(trained: Trained) -> None:
    action = trained.act(seen())
    low = np.array([-1, action[1] + np.float32(0.3), -1], np.float32)
    policy = ScallPolicy("scall", trained._replace(low=low, high=np.ones(3, np.float32), critics=()))
    expected = action.copy()
    expected[1] = low[1]
    assert policy.decide(seen()) == ACTION_SPACES["scall"].decode(expected)


def test_the_nearest_known_action_is_not_taken_where_a_drop_is_expected_of_it(trained: Trained) -> None:
    far = np.full(3, -0.9, np.float32)
    # Uniform sizes are an action that ends in (1, 1): these critics love it.
    policy = ScallPolicy("scall", valued(trained, [0, 5.0, 5.0])._replace(low=far, high=far))
    assert policy.decide(seen()) == uniform_decision(seen())
    assert policy.trips == {"outside the known range": 1, "predicted drop": 1}


def test_a_predicted_drop_is_not_risked(trained: Trained) -> None:
    share, users, items = trained.act(seen())
    # These critics love or hate the users' share, and nothing else.
    for factor, is_risked in ((1.0 if share > 0 else -1.0, True), (-5.0 if share > 0 else 5.0, False)):
        policy = ScallPolicy("scall", valued(trained, [factor, 0, 0]))
        assert (policy.decide(seen()) == uniform_decision(seen())) is not is_risked
        assert policy.trips == ({} if is_risked else {"predicted drop": 1})
    assert abs(share) > 0.05, (share, users, items)


def test_what_was_counted_survives_a_restart(trained: Trained) -> None:
    policy = ScallPolicy("scall", trained)
    policy.decide(np.full(OBSERVATION_LENGTH, np.nan, np.float32))
    restored = ScallPolicy("scall", trained)
    restored.restore(policy.state())
    assert restored.trips == policy.trips == {"not finite": 1}


# Learning in service


def rewarded(number: int, decision_share: float) -> Observation:
    """What is seen after a decision: the lead is the higher, the more the users got."""
    observation = seen(number % 3)
    observation[LAST_REWARD] = 0.05 + 0.1 * (decision_share - 0.4)
    return observation


def test_it_learns_from_its_own_windows(trained: Trained) -> None:
    calm = trained._replace(critics=())
    policy, frozen = OnlineScallPolicy("scall-online", calm, seed=1), ScallPolicy("scall", calm)
    share, shares = 0.4, []
    for number in range(90):
        share = policy.decide(rewarded(number, share)).users_share
        shares.append(share)
    before = np.mean([frozen.decide(seen(number % 3)).users_share for number in range(3)])
    assert np.mean(shares[-30:]) > before + 0.05
    assert np.mean(shares[-30:]) > np.mean(shares[:FIRST]) + 0.05


def test_the_frozen_policy_decides_where_a_drop_is_expected(trained: Trained) -> None:
    # Critics that love the frozen action and nothing else would be no networks; these hate every other share.
    share = float(trained.act(seen())[0])
    policy = OnlineScallPolicy("scall-online", valued(trained, [50.0 if share > 0 else -50.0, 0, 0]), seed=2)
    frozen = ACTION_SPACES["scall"].decode(trained.act(seen()))
    decided = [policy.decide(seen()) for _ in range(10)]
    assert frozen in decided
    assert policy.trips["learnt online"] == decided.count(frozen)
    assert all((one.users_share - frozen.users_share) * share >= -0.05 for one in decided)


def test_a_restart_changes_nothing_of_what_it_will_do(trained: Trained) -> None:
    unbroken = OnlineScallPolicy("scall-online", trained, seed=3)
    for number in range(FIRST + 4):
        unbroken.decide(seen(number))
    restored = OnlineScallPolicy("scall-online", trained, seed=3)
    restored.restore(unbroken.state())
    assert [restored.decide(seen(number)) for number in range(6)] == [unbroken.decide(seen(n)) for n in range(6)]


def test_it_leaves_no_files_behind(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    policy = OnlineScallPolicy("scall-online", trained, seed=1)
    for number in range(FIRST + 2):
        policy.decide(rewarded(number, 0.4))
    assert list(tmp_path.iterdir()) == []


def test_it_leaves_the_randomness_of_others_alone(trained: Trained) -> None:
    np.random.seed(7)  # noqa: NPY002
    expected = np.random.random(3).tolist()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    policy = OnlineScallPolicy("scall-online", trained, seed=1)
    for number in range(FIRST + 2):
        policy.decide(seen(number))
    assert np.random.random(3).tolist() == expected  # noqa: NPY002
