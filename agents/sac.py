"""Training the agent: soft actor-critic (Haarnoja et al., ICML 2018; Stable-Baselines3), frozen into a policy file."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import TransformObservation
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from agents.trained import Floats, Layers, Trained, cost_of
from stream.core.observation import OBSERVATION_LENGTH, PARTS

REWARD_SCALE: Final = 20.0
"""Five per cent of NDCG are one unit to the learner, whose entropy is of that order."""
HYPER: Final[dict[str, Any]] = {
    "learning_rate": 1e-3,
    "buffer_size": 20_000,
    "learning_starts": 0,
    "batch_size": 128,
    "gamma": 0.5,
    "tau": 0.02,
    "train_freq": (1, "episode"),
    "gradient_steps": 16,
    "ent_coef": "auto_0.05",
    "use_sde": True,
    "policy_kwargs": {
        "net_arch": [64, 64],
        "log_std_init": -2.0,
        "clip_mean": 0.0,
        "optimizer_class": torch.optim.AdamW,
        "optimizer_kwargs": {"weight_decay": 0.1},
    },
}
"""Small networks with weight decay, for there are thousands of steps and not millions; a short horizon, for the
experience that an agent begins with is of actions that have stood for long, whose rewards show what they are worth; and
exploration that stays the same for an episode (gSDE, Raffin et al., CoRL 2021), for new sizes pay late."""
FIRST_UPDATES: Final = 1_500
"""Gradient steps on what is known before the first step, at least."""
UPDATES_PER_WINDOW: Final = 1.5
"""As many for each window of experience, where there is more of it."""
CAUTION: Final = 0.1
"""What extremes cost (:func:`~agents.trained.cost_of`), so that an agent leaves the middle only for what pays.

Where sizes hardly matter it would otherwise do the most unusual things for nothing, and on a stream that it has not
seen those are not for nothing. Where it is to act on what it was trained on, less is better."""
SEEN: Final = ("room",)
"""Parts of an observation that the agent learns from. The others are the same to it: by others it tells the few
streams that it is trained on from each other, and on one that it has not seen it gets worse than if it never looked."""
_EPSILON: Final = 1e-3

Env = gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]
Experience = tuple[NDArray[np.float32], NDArray[np.float32], float, NDArray[np.float32]]
"""An observation, an action, the reward and the next observation."""
Act = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Plan(NamedTuple):
    """How long to train."""

    steps: int
    evaluate_every: int
    patience: int
    """Training ends after so many evaluations without a better one."""
    seed: int
    log_dir: Path | None = None
    """Where the logs for TensorBoard go."""
    seen: Sequence[str] = SEEN
    """Parts of an observation that the agent learns from."""
    caution: float = CAUTION


class Score(NamedTuple):
    """What a policy got on held-out episodes."""

    step: int
    reward: float
    """Mean reward of a step."""
    standard_error: float | None
    """Over episodes; None where there was only one."""
    low: Floats
    """Least and greatest of each number of the actions taken."""
    high: Floats


class Watcher(Protocol):
    """Sees how a search goes on."""

    def step(self, number: int, reward: float) -> None:
        """Note a step of training and its reward, in training by SAC less what the action costs."""

    def score(self, score: Score) -> None:
        """Note an evaluation."""


class Trial(NamedTuple):
    """What a policy is judged by."""

    env: Env
    episodes: Sequence[dict[str, int]]
    """Options of the resets that begin them."""
    counts_from: float = 0.0
    """Only windows behind this part of a stream (the environment's ``info["part"]``) count: what is before is lived
    through by the same policy, for new sizes pay late, but may have been learnt from."""


def evaluate(trial: Trial, act: Act, step: int = 0) -> Score:
    """Let a policy live through the episodes of a trial; rewards are of the environment's own scale."""
    rewards, actions = [], []
    for options in trial.episodes:
        observation, _ = trial.env.reset(options=options)
        is_over, of_episode = False, []
        while not is_over:
            action = act(observation)
            observation, reward, terminated, truncated, info = trial.env.step(action)
            if info.get("part", 1.0) >= trial.counts_from:
                of_episode.append(float(reward))
            actions.append(action)
            is_over = terminated or truncated
        rewards.append(np.mean(of_episode))
    error = float(np.std(rewards, ddof=1) / np.sqrt(len(rewards))) if len(rewards) > 1 else None
    return Score(step, float(np.mean(rewards)), error, np.min(actions, axis=0), np.max(actions, axis=0))


def train(
    env: Env, trial: Trial, actions: str, plan: Plan, watcher: Watcher, experience: Iterable[Experience] = ()
) -> tuple[Trained, list[Score]]:
    """Train an agent; return the policy that did best in the trial, and all scores.

    It learns from ``experience`` first. Deterministic on one thread: same environments and plan, same policy.
    """
    torch.set_num_threads(1)
    rewarded: Any = _Rewarded(Monitor(env), plan.caution)
    mask = _mask_of(plan.seen)
    masked: Any = TransformObservation(rewarded, lambda seen: seen * mask, env.observation_space)
    normalised = VecNormalize(DummyVecEnv([lambda: masked]), norm_reward=False, clip_obs=5.0)
    model = SAC("MlpPolicy", normalised, seed=plan.seed, device="cpu", **HYPER)
    model.set_logger(logger_to(plan.log_dir))
    selection = _Selection(trial, actions, plan, watcher)
    _learn_first(model, normalised, list(experience), mask, plan.caution)
    try:
        model.learn(plan.steps, callback=selection, log_interval=1)
    finally:
        model.logger.close()
    assert selection.best is not None, "the last step is evaluated"
    return selection.best, selection.scores


def learner_reward(reward: float, action: Floats, caution: float) -> float:
    """Return a reward as the learner gets it: less what the action costs, in the learner's scale."""
    return REWARD_SCALE * (reward - cost_of(action, caution))


class _Rewarded(gymnasium.Wrapper[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]):
    """Gives rewards as the learner gets them."""

    def __init__(self, env: Env, caution: float) -> None:
        super().__init__(env)
        self._caution = caution

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, learner_reward(float(reward), action, self._caution), terminated, truncated, info


def _mask_of(seen: Iterable[str]) -> NDArray[np.float32]:
    """Return 1 for every number of an observation that belongs to a part that is seen, 0 for the others."""
    mask = np.zeros(OBSERVATION_LENGTH, np.float32)
    for part in seen:
        mask[PARTS[part]] = 1.0
    return mask


def _learn_first(
    model: Any, normalised: VecNormalize, experience: list[Experience], mask: NDArray[np.float32], caution: float
) -> None:
    """Fill the replay buffer with experience, and learn from it."""
    if not experience:
        return
    normalised.obs_rms.update(np.stack([observation * mask for observation, *_ in experience]))
    for observation, action, reward, following in experience:
        rewards = np.array([learner_reward(reward, action, caution)])
        seen, next_seen = observation[None] * mask, following[None] * mask
        model.replay_buffer.add(seen, next_seen, action[None], rewards, np.zeros(1), [{}])
    model._current_progress_remaining = 1.0
    updates = max(FIRST_UPDATES, round(UPDATES_PER_WINDOW * len(experience)))
    model.train(updates, batch_size=model.batch_size)


def logger_to(log_dir: Path | None) -> Logger:
    """Return a logger for TensorBoard; without a folder, one that writes nothing and leaves no folder behind."""
    return Logger(None, []) if log_dir is None else configure(str(log_dir), ["tensorboard", "csv"])


class _Selection(BaseCallback):
    """Evaluates now and then, keeps the best, and ends the training when it gets no better."""

    def __init__(self, trial: Trial, actions: str, plan: Plan, watcher: Watcher) -> None:
        super().__init__()
        self.best: Trained | None = None
        self.scores: list[Score] = []
        self._trial, self._actions, self._plan, self._watcher = trial, actions, plan, watcher

    def _on_training_start(self) -> None:
        """Judge what has been learnt from experience alone."""
        self._evaluate(0)

    def _on_step(self) -> bool:
        step = self.num_timesteps
        self._watcher.step(step, float(self.locals["rewards"][0]) / REWARD_SCALE)
        if step % self._plan.evaluate_every and step != self._plan.steps:
            return True
        self._evaluate(step)
        best = max(self.scores, key=lambda one: one.reward)
        return step - best.step < self._plan.patience * self._plan.evaluate_every

    def _evaluate(self, step: int) -> None:
        frozen = freeze(self.model, self._actions, self._plan.seen)
        score = evaluate(self._trial, frozen.act, step)
        self.logger.record("eval/mean_reward", score.reward)
        self.logger.dump(step)
        self._watcher.score(score)
        self.scores.append(score)
        if score is max(self.scores, key=lambda one: one.reward):
            self.best = frozen._replace(low=score.low, high=score.high, caution=self._plan.caution)


def freeze(model: Any, actions: str, seen: Sequence[str] = SEEN) -> Trained:
    """Return what a model has learnt as small arrays; the range of actions is all there is."""
    statistics = model.get_vec_normalize_env().obs_rms
    actor, critic = model.policy.actor, model.policy.critic
    critics = tuple(_rescaled(_layers(network)) for network in critic.q_networks)
    length = model.action_space.shape[0]
    return Trained(
        actions,
        statistics.mean.astype(np.float32),
        np.where(_mask_of(seen) > 0, np.sqrt(statistics.var + _EPSILON**2), np.inf).astype(np.float32),
        (*_layers(actor.latent_pi), *_layers([actor.mu])),
        critics,
        np.full(length, -1, np.float32),
        np.full(length, 1, np.float32),
        {},
    )


def thaw(trained: Trained, model: Any) -> None:
    """Give a model, of normalised observations, the networks of a trained policy; targets are as the critics are.

    The reverse of :func:`freeze`. Where the networks have other shapes (a policy found by random search has none to
    speak of), the model starts from its own.
    """
    actor, critic = model.policy.actor, model.policy.critic
    pairs = [
        ([*_linear(actor.latent_pi), actor.mu], trained.actor),
        *((_linear(network), layers) for network, layers in zip(critic.q_networks, trained.critics, strict=False)),
    ]
    shapes = [
        ([tuple(module.weight.shape) for module in modules], [w.shape for w, _ in layers]) for modules, layers in pairs
    ]
    if any(own != given for own, given in shapes):
        return
    with torch.no_grad():
        for number, (modules, layers) in enumerate(pairs):
            scale = [1.0] * (len(layers) - 1) + [REWARD_SCALE if number else 1.0]
            for module, (weight, bias), factor in zip(modules, layers, scale, strict=True):
                module.weight.copy_(torch.from_numpy(factor * weight))
                module.bias.copy_(torch.from_numpy(factor * bias))
    model.policy.critic_target.load_state_dict(critic.state_dict())


def _linear(modules: Any) -> list[Any]:
    return [module for module in modules if isinstance(module, torch.nn.Linear)]


def _layers(modules: Any) -> Layers:
    return tuple(
        (layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()) for layer in _linear(modules)
    )


def _rescaled(layers: Layers) -> Layers:
    """Return a critic that tells returns in the environment's own scale."""
    weight, bias = layers[-1]
    return (*layers[:-1], (weight / np.float32(REWARD_SCALE), bias / np.float32(REWARD_SCALE)))


def search_at_random(env: Env, trial: Trial, plan: Plan, watcher: Watcher) -> tuple[NDArray[np.float32], list[Score]]:
    """Try actions drawn at random, each for an episode; return the best of those tried, and its score in the trial.

    As many steps of the environment as the agent gets. Each of the better half is tried again, on other episodes, until
    one is left (successive halving, Karnin et al., ICML 2013), for one episode says little.
    """
    random = np.random.default_rng(plan.seed)
    env.reset(seed=plan.seed)
    assert env.action_space.shape is not None
    length = env.action_space.shape[0]
    rewards: dict[int, list[float]] = {}
    taken = 0
    candidates = random.uniform(-1, 1, (1024, length)).astype(np.float32)
    rounds = _rounds(plan.steps, episodes_of=8)
    alive = list(range(rounds[0]))
    for survivors in [*rounds[1:], 1]:
        for number in alive:
            env.reset()
            is_over = False
            while not is_over:
                _, reward, terminated, truncated, _ = env.step(candidates[number])
                rewards.setdefault(number, []).append(float(reward))
                taken += 1
                watcher.step(taken, float(reward))
                is_over = terminated or truncated
        alive = sorted(alive, key=lambda one: -float(np.mean(rewards[one])))[:survivors]
    best = candidates[alive[0]]
    score = evaluate(trial, lambda _: best, taken)
    watcher.score(score)
    return best, [score]


def _rounds(steps: int, episodes_of: int) -> list[int]:
    """Return how many candidates each round has, halving to one, for so many steps in all."""
    first = max(2, steps // (2 * episodes_of))
    rounds = [first]
    while rounds[-1] > 1:
        rounds.append(rounds[-1] // 2)
    return rounds
