"""The agent finds the best plan where it is known; a wrong sign in the reward, or a wrong decoding, and it does not."""

from collections.abc import Iterator

import numpy as np
import pytest

import simulators.environment
from agents.trained import Trained
from simulators.environment import EmbeddingSizes
from stream.core.action import ACTION_SPACES, ActionSpace, Numbers, ThreeNumbers
from stream.core.sizes import SizeDecision
from stream.core.stats import Quality
from tests.known_answers import environment, learn, try_out

WORLDS = ("planted-history", "planted-crowd")
"""Users are worth nearly everything in the one and next to nothing in the other; which it is can be seen."""
STEPS = 160
NUM_WINDOWS = 10


@pytest.fixture(scope="module")
def env() -> EmbeddingSizes:
    return environment(WORLDS, seed=1, num_windows=NUM_WINDOWS, num_lives=12)


@pytest.fixture(scope="module")
def trained(env: EmbeddingSizes) -> Trained:
    return learn(env, STEPS)


def shares_of(trained: Trained) -> tuple[float, float]:
    """Return the users' share that an agent gives in each world, of another seed, on average."""
    history, crowd = (
        float(np.mean([found.decision.users_share for found in try_out(trained, name, NUM_WINDOWS)])) for name in WORLDS
    )
    return history, crowd


def is_found(shares: tuple[float, float]) -> bool:
    """Return whether both shares are nearer to the known answers than to their opposites."""
    history, crowd = shares
    return history > 0.8 and crowd < 0.4


def test_the_agent_finds_the_users_share_of_each_world(trained: Trained) -> None:
    assert is_found(shares_of(trained))


def test_it_does_not_if_the_reward_has_the_wrong_sign(env: EmbeddingSizes, monkeypatch: pytest.MonkeyPatch) -> None:
    reward_of = simulators.environment.reward_of

    def of_the_wrong_sign(quality: Quality, reference: Quality) -> float:
        return -reward_of(quality, reference)

    monkeypatch.setattr(simulators.environment, "reward_of", of_the_wrong_sign)
    assert not is_found(shares_of(learn(env, STEPS)))


class Muddled(ThreeNumbers):
    """Takes the users' share from the wrong number."""

    def decode(self, action: Numbers) -> SizeDecision:
        share, users, items = np.asarray(action, np.float64)
        return super().decode([-share * users, users, items])


@pytest.fixture
def muddled() -> Iterator[ActionSpace]:
    right = ACTION_SPACES["scall"]
    ACTION_SPACES["scall"] = wrong = Muddled()
    yield wrong
    ACTION_SPACES["scall"] = right


def test_it_does_not_if_its_numbers_are_decoded_in_another_way(trained: Trained, muddled: ActionSpace) -> None:
    assert muddled.name == trained.actions
    assert not is_found(shares_of(trained))
