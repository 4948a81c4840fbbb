"""The learnt policy that goes on learning in service, from its own windows."""

import base64
import io
from typing import Any, Final

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import SAC

from agents.policy import Observation, last_reward
from agents.sac import HYPER, Env, learner_reward, logger_to, thaw
from agents.scall import ScallPolicy
from agents.trained import Floats, Trained
from stream.core.observation import OBSERVATION_LENGTH

MEMORY: Final = 1_000
"""Windows that it remembers."""
FIRST: Final = 16
"""Windows before it begins to learn."""
GRADIENT_STEPS: Final = 8
EXPLORATION: Final = 0.1
"""Standard deviation of the noise on each number of an action."""
_TYPICAL_NDCG: Final = 0.2
_FORGETTING: Final = 0.9


class OnlineScallPolicy(ScallPolicy):
    """Acts as the frozen policy does at first, explores a little, and learns by soft actor-critic at each window.

    No uniform twin runs in service, so a window's reward is its lead over popularity less the lead of late: the running
    mean stands for how hard the events are. The frozen critics judge each action: where they expect a drop, and
    wherever the guard would step in, the frozen policy decides (and may be overruled itself, by uniform sizes).

    All of it, networks, optimizers, what is remembered and random states, is part of :meth:`state`: about a megabyte.
    """

    def __init__(self, name: str, trained: Trained, seed: int) -> None:
        super().__init__(name, trained)
        with _own_randomness(None) as randomness:
            np.random.seed(seed % 2**32)  # noqa: NPY002 - the replay buffer draws from the global state
            torch.set_num_threads(1)
            hyper = {**HYPER, "buffer_size": MEMORY}
            self._model: Any = SAC("MlpPolicy", _Nowhere(len(trained.low)), seed=seed, device="cpu", **hyper)
            self._model.set_logger(logger_to(None))
            thaw(trained, self._model)
        self._randomness = randomness.state
        self._noise = np.random.default_rng(seed)
        self._before: tuple[Floats, Floats] | None = None
        self._lead_of_late: float | None = None

    def _act(self, observation: Observation) -> Floats:
        """Learn from the window that has closed, and return the action for the next, or the frozen one."""
        frozen = super()._act(observation)
        if not np.isfinite(observation).all():
            self._before = None
            return frozen
        normalised = self._trained.normalised(observation)
        self._remember(observation, normalised)
        learnt, _ = self._model.policy.predict(normalised, deterministic=True)
        noise = self._noise.normal(0, EXPLORATION, learnt.shape)
        action: Floats = np.clip(learnt + noise, -1, 1).astype(np.float32)
        if self._reason_against(observation, action) is not None or self._expects_drop(observation, action, frozen):
            self._trips["learnt online"] += 1
            action = frozen
        self._before = (normalised, action)
        return action

    def _remember(self, observation: Observation, normalised: Floats) -> None:
        lead = last_reward(observation)
        if lead is None:
            return
        expected = lead if self._lead_of_late is None else self._lead_of_late
        self._lead_of_late = _FORGETTING * expected + (1 - _FORGETTING) * lead
        if self._before is None:
            return
        before, action = self._before
        reward = learner_reward((lead - expected) / _TYPICAL_NDCG, action, self._trained.caution)
        buffer = self._model.replay_buffer
        buffer.add(before, normalised, action, np.array([reward]), np.zeros(1), [{}])
        if buffer.size() >= FIRST:
            with _own_randomness(self._randomness) as randomness:
                self._model.train(GRADIENT_STEPS, batch_size=min(buffer.size(), HYPER["batch_size"]))
            self._randomness = randomness.state

    def state(self) -> dict[str, Any]:
        """Return the guard's counts and everything that was learnt."""
        buffer = self._model.replay_buffer
        arrays = {name: getattr(buffer, name)[: buffer.size()] for name in _REMEMBERED}
        learnt = {
            "parameters": self._model.get_parameters(),
            # The one variable that is not among them.
            "log_ent_coef": self._model.log_ent_coef.detach(),
            "num_updates": self._model._n_updates,
            "arrays": {name: torch.from_numpy(array.copy()) for name, array in arrays.items()},
            "place": buffer.pos,
            "full": buffer.full,
            "randomness": self._randomness,
            "before": None if self._before is None else [torch.from_numpy(part) for part in self._before],
        }
        return super().state() | {
            "learnt": _to_text(learnt),
            "noise": self._noise.bit_generator.state,
            "lead_of_late": self._lead_of_late,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        super().restore(state)
        learnt = _from_text(state["learnt"])
        self._model.set_parameters(learnt["parameters"], exact_match=True, device="cpu")
        with torch.no_grad():
            self._model.log_ent_coef.copy_(learnt["log_ent_coef"])
        self._model._n_updates = learnt["num_updates"]
        buffer = self._model.replay_buffer
        for name, array in learnt["arrays"].items():
            getattr(buffer, name)[: len(array)] = array.numpy()
        buffer.pos, buffer.full = learnt["place"], learnt["full"]
        self._randomness = learnt["randomness"]
        before = learnt["before"]
        self._before = None if before is None else (before[0].numpy(), before[1].numpy())
        self._noise.bit_generator.state = state["noise"]
        self._lead_of_late = state["lead_of_late"]


_REMEMBERED: Final = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class _Nowhere(Env):
    """Spaces without a world: windows come from the service."""

    def __init__(self, length: int) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (OBSERVATION_LENGTH,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (length,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        raise NotImplementedError

    def step(self, action: Any) -> Any:
        raise NotImplementedError


class _own_randomness:  # noqa: N801 - a context, used as a function is
    """Lets libraries draw from global states that are this policy's own, and puts back what was there."""

    def __init__(self, state: tuple[Any, ...] | None) -> None:
        self.state = state

    def __enter__(self) -> "_own_randomness":
        self._outside = _global_states()
        if self.state is not None:
            _set_global_states(self.state)
        return self

    def __exit__(self, *_: object) -> None:
        self.state = _global_states()
        _set_global_states(self._outside)


def _global_states() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return kind, torch.from_numpy(np.asarray(keys, np.int64)), rest, torch.get_rng_state()


def _set_global_states(states: tuple[Any, ...]) -> None:
    kind, keys, rest, of_torch = states
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(of_torch)


def _to_text(values: Any) -> str:
    file = io.BytesIO()
    torch.save(values, file)
    return base64.b64encode(file.getvalue()).decode()


def _from_text(text: str) -> Any:
    return torch.load(io.BytesIO(base64.b64decode(text)), weights_only=True)
