"""Training: what is frozen acts as the model does, what is thawed is the same again, and the best trial counts."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from agents import sac
from agents.sac import Plan, Score, Trial, evaluate, freeze, search_at_random, thaw, train
from agents.trained import cost_of, load, save
from stream.core.observation import OBSERVATION_LENGTH, PARTS

Floats = NDArray[np.float32]
BEST = np.array([-0.5, 0.4, 0.0], np.float32)
STEPS = 4


class Bowl(gymnasium.Env[Floats, Floats]):
    """The reward of an action is the higher, the nearer it is to the best one; what is seen is noise."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1, 1, (OBSERVATION_LENGTH,), np.float32)
        self.action_space = spaces.Box(-1, 1, (3,), np.float32)
        self.reset(seed=5)
        self.begun: list[dict[str, Any]] = []

    def _seen(self) -> Floats:
        return self.np_random.uniform(-0.1, 0.1, OBSERVATION_LENGTH).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Floats, dict[str, Any]]:
        super().reset(seed=seed)
        if options is not None:
            self.begun.append(options)
        self._step = 0
        return self._seen(), {}

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        self._step += 1
        reward = 0.1 - 0.2 * float(((action - BEST) ** 2).sum())
        return self._seen(), reward, False, self._step == STEPS, {"part": self._step / STEPS}


class Noted:
    def __init__(self) -> None:
        self.scores: list[Score] = []
        self.num_steps = 0

    def step(self, number: int, reward: float) -> None:
        assert -2 < reward <= 0.1
        self.num_steps = number

    def score(self, score: Score) -> None:
        self.scores.append(score)


@pytest.fixture
def model() -> Any:
    env = VecNormalize(DummyVecEnv([Bowl]), norm_reward=False, clip_obs=5.0)
    seen = np.zeros(OBSERVATION_LENGTH)
    for part in sac.SEEN:
        seen[PARTS[part]] = 1
    env.obs_rms.update(seen * np.random.default_rng(1).normal(0.1, 0.3, (50, OBSERVATION_LENGTH)))
    return SAC("MlpPolicy", env, seed=3, device="cpu", **sac.HYPER)


def observations() -> Floats:
    return np.random.default_rng(2).uniform(-1, 1, (10, OBSERVATION_LENGTH)).astype(np.float32)


def test_a_frozen_policy_acts_as_the_model_does(model: Any) -> None:
    frozen = freeze(model, "scall")
    for observation in observations():
        seen = np.where(np.isfinite(frozen.scale), observation, 0).astype(np.float32)
        normalised = model.get_vec_normalize_env().normalize_obs(seen[None])
        expected, _ = model.predict(normalised, deterministic=True)
        assert frozen.act(observation) == pytest.approx(expected[0], abs=1e-5)


def test_frozen_critics_tell_returns_in_the_environments_own_scale(model: Any) -> None:
    import torch

    frozen = freeze(model, "scall")._replace(caution=0.5)
    for observation in observations():
        action = frozen.act(observation)
        normalised = torch.as_tensor(frozen.normalised(observation)[None])
        values = model.critic(normalised, torch.as_tensor(action[None]))
        expected = min(float(value.detach()) for value in values) / sac.REWARD_SCALE + cost_of(action, 0.5)
        assert frozen.worth(observation, action) == pytest.approx(expected, abs=1e-5)


def test_a_thawed_policy_is_frozen_to_the_same(model: Any, tmp_path: Path) -> None:
    frozen = freeze(model, "scall")
    other = SAC("MlpPolicy", model.get_env(), seed=4, device="cpu", **sac.HYPER)
    assert freeze(other, "scall").act(observations()[0]) != pytest.approx(frozen.act(observations()[0]), abs=1e-3)
    save(frozen, tmp_path / "policy.npz")
    thaw(load(tmp_path / "policy.npz"), other)
    again = freeze(other, "scall")
    for observation in observations():
        action = frozen.act(observation)
        assert again.act(observation) == pytest.approx(action, abs=1e-5)
        assert again.worth(observation, action) == pytest.approx(frozen.worth(observation, action), abs=1e-4)


def test_training_finds_the_best_action_and_keeps_the_best_trial(tmp_path: Path) -> None:
    noted = Noted()
    plan = Plan(steps=240, evaluate_every=80, patience=9, seed=1, log_dir=tmp_path)
    agent, scores = train(Bowl(), Trial(Bowl(), [{}]), "scall", plan, noted)
    assert [score.step for score in scores] == [0, 80, 160, 240]
    assert noted.scores == scores
    assert noted.num_steps == 240
    best = max(scores, key=lambda score: score.reward)
    # The middle of all actions is worth 0.018, the best one 0.1.
    assert best.reward > max(0.019, scores[0].reward)
    assert (agent.low == best.low).all()
    assert evaluate(Trial(Bowl(), [{}] * 5), agent.act).reward == pytest.approx(best.reward, abs=0.05)
    assert any("tfevents" in path.name for path in tmp_path.iterdir())


def test_experience_alone_teaches_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sac, "FIRST_UPDATES", 600)
    random, plan = np.random.default_rng(1), Plan(steps=4, evaluate_every=4, patience=1, seed=1)
    experience = []
    for _ in range(800):
        action = random.uniform(-1, 1, 3).astype(np.float32)
        seen = random.uniform(-0.1, 0.1, (2, OBSERVATION_LENGTH)).astype(np.float32)
        experience.append((seen[0], action, 0.1 - 0.2 * float(((action - BEST) ** 2).sum()), seen[1]))
    _, taught = train(Bowl(), Trial(Bowl(), [{}] * 5), "scall", plan, Noted(), experience)
    middle = evaluate(Trial(Bowl(), [{}]), lambda _: np.zeros(3, np.float32))
    assert taught[0].reward > middle.reward + 0.02


def learnt_where_nothing_pays(monkeypatch: pytest.MonkeyPatch, caution: float) -> Floats:
    """Return how far from the middle an agent's numbers are, whose experience is that no action is worth anything."""
    monkeypatch.setattr(sac, "FIRST_UPDATES", 600)
    random = np.random.default_rng(1)
    plan = Plan(steps=4, evaluate_every=4, patience=1, seed=1, caution=caution)
    experience = []
    for _ in range(800):
        seen = random.uniform(-0.1, 0.1, (2, OBSERVATION_LENGTH)).astype(np.float32)
        experience.append((seen[0], random.uniform(-1, 1, 3).astype(np.float32), 0.0, seen[1]))
    agent, _ = train(Bowl(), Trial(Bowl(), [{}]), "scall", plan, Noted(), experience)
    distances: Floats = np.abs([agent.act(observation) for observation in 0.1 * observations()]).mean(axis=0)
    return distances


def test_an_agent_leaves_the_middle_only_for_what_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (learnt_where_nothing_pays(monkeypatch, sac.CAUTION) < 0.2).all()
    assert (learnt_where_nothing_pays(monkeypatch, -sac.CAUTION) > 0.5).all()


def test_what_the_agent_does_not_learn_from_does_not_move_it(model: Any) -> None:
    frozen, observation = freeze(model, "scall"), observations()[0]
    for name, part in PARTS.items():
        moved = observation.copy()
        moved[part] = -moved[part]
        assert (frozen.act(moved) != pytest.approx(frozen.act(observation), abs=1e-6)) is (name in sac.SEEN), name


def test_training_ends_early_when_nothing_gets_better() -> None:
    class Flat(Bowl):
        def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
            seen, _, *rest = super().step(action)
            return seen, 0.0, *rest

    noted = Noted()
    _, scores = train(Flat(), Trial(Flat(), [{}]), "scall", Plan(400, evaluate_every=40, patience=2, seed=1), noted)
    assert [score.step for score in scores] == [0, 40, 80]


def test_a_trial_counts_what_is_behind_a_part_of_the_stream_and_begins_where_it_is_told() -> None:
    env, given = Bowl(), iter([BEST + 1, BEST + 1, BEST, BEST])
    score = evaluate(Trial(env, [{"scene": 3}], counts_from=0.75), lambda _: next(given))
    assert env.begun == [{"scene": 3}]
    assert score.reward == pytest.approx(0.1)
    assert score.low.tolist() == BEST.tolist()
    assert score.high.tolist() == (BEST + 1).tolist()


def test_random_search_comes_near_the_best_action_with_as_many_steps() -> None:
    noted = Noted()
    action, (score,) = search_at_random(Bowl(), Trial(Bowl(), [{}]), Plan(1600, 1, 1, seed=1), noted)
    assert score.reward > 0.05
    assert np.abs(action - BEST).max() < 0.6
    assert noted.num_steps <= 1600
