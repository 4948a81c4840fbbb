"""A trained policy as a file: small networks, what they were trained on, and how well they did."""

import json
import zipfile
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core.action import ACTION_SPACES
from stream.core.observation import OBSERVATION_LENGTH
from stream.errors import UsageError

Floats = NDArray[np.float32]
Layers = tuple[tuple[Floats, Floats], ...]
"""Weights float32[out, in] and biases float32[out] of each layer, ReLU in between."""
FORMAT: Final = 2
MAX_BYTES: Final = 2**20
_CLIP: Final = 5.0
"""Standard deviations beyond which an observation is like any other."""


def apply(layers: Layers, x: Floats) -> Floats:
    """Return what a network makes of float32[in], as float32[out].

    >>> apply(((np.eye(2, dtype=np.float32), np.ones(2, np.float32)),), np.array([1.0, -3.0], np.float32))
    array([ 2., -2.], dtype=float32)
    """
    for i, (weight, bias) in enumerate(layers):
        hidden = x if i == 0 else np.maximum(x, np.float32(0.0))
        x = np.add(weight @ hidden, bias, dtype=np.float32)
    return x


def cost_of(action: Floats, caution: float) -> float:
    """Return what an action costs in training: ``caution`` times the mean square of its numbers.

    It is in rewards of the environment's own scale, so a caution of 0.1 is worth 10 % of NDCG at the utmost.

    >>> round(cost_of(np.array([0.0, 0.0, 1.0], np.float32), 0.1), 3), cost_of(np.zeros(3, np.float32), 0.1)
    (0.033, 0.0)
    """
    return caution * float(np.mean(np.square(action)))


class Trained(NamedTuple):
    """An agent after its training (:mod:`agents.sac`): an actor, the critics it learnt from, and the range it knows."""

    actions: str
    """Name of the action space."""
    mean: Floats
    """Of the observations in training, float32[OBSERVATION_LENGTH]; ``scale``: their standard deviations."""
    scale: Floats
    actor: Layers
    """From a normalised observation to numbers whose hyperbolic tangents are the action."""
    critics: tuple[Layers, ...]
    """From a normalised observation and an action to the return; none for a policy without."""
    low: Floats
    """The least and the greatest that each number of an action was, when the policy was tried."""
    high: Floats
    provenance: dict[str, Any]
    """Data, seeds, budgets, versions, learning curve: fit for JSON."""
    caution: float = 0.0
    """What extremes cost in training (:func:`cost_of`), and so what the critics expect less of them."""

    def normalised(self, observation: Floats) -> Floats:
        """Return an observation in standard deviations from the mean, at most five."""
        deviations: Floats = np.clip((observation - self.mean) / self.scale, -_CLIP, _CLIP).astype(np.float32)
        return deviations

    def act(self, observation: Floats) -> Floats:
        """Return the action, each number within (-1, 1), or NaN where the networks say so."""
        action: Floats = np.tanh(apply(self.actor, self.normalised(observation)))
        return action

    def worth(self, observation: Floats, action: Floats) -> float | None:
        """Return the least that a critic expects from here on, without what the action costs; None without critics."""
        if not self.critics:
            return None
        x = np.concatenate((self.normalised(observation), action.astype(np.float32)))
        return min(float(apply(critic, x)[0]) for critic in self.critics) + cost_of(action, self.caution)


def constant(action: Floats, actions: str, provenance: dict[str, Any]) -> Trained:
    """Return a policy that always takes one action, as random search finds it."""
    bias = np.arctanh(np.clip(action, -0.9999, 0.9999)).astype(np.float32)
    weight = np.zeros((len(action), OBSERVATION_LENGTH), np.float32)
    zeros, ones = np.zeros(OBSERVATION_LENGTH, np.float32), np.ones(OBSERVATION_LENGTH, np.float32)
    low, high = action - np.float32(1e-3), action + np.float32(1e-3)
    return Trained(actions, zeros, ones, ((weight, bias),), (), low, high, provenance)


def save(trained: Trained, path: Path) -> int:
    """Write a policy; return how many bytes it takes, always below MAX_BYTES.

    Raises:
        UsageError: the file cannot be written.

    """
    arrays = {"mean": trained.mean, "scale": trained.scale, "low": trained.low, "high": trained.high}
    for name, network in _networks(trained):
        for layer, (weight, bias) in enumerate(network):
            arrays |= {f"{name}.{layer}.weight": weight, f"{name}.{layer}.bias": bias}
    head = {
        "format": FORMAT, "actions": trained.actions, "caution": trained.caution, "provenance": trained.provenance
    }  # fmt: skip
    arrays["head"] = np.frombuffer(json.dumps(head, allow_nan=False).encode(), np.uint8)
    try:
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # it takes no other keyword by these names
    except OSError as error:
        raise UsageError(f"policy {path} cannot be written: {error.strerror or error}; name another file") from None
    num_bytes = path.stat().st_size
    assert num_bytes < MAX_BYTES, f"a policy of {num_bytes} bytes"
    return num_bytes


def load(path: Path) -> Trained:
    """Read a policy.

    Raises:
        UsageError: the file is not there, is no policy, or was made for another observation or action.

    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as members:
            arrays = {name: members[name] for name in members.files}
        head = json.loads(arrays["head"].tobytes())
        networks = {name: _network(arrays, name) for name in ("actor", "critic0", "critic1")}
        trained = Trained(
            actions=head["actions"],
            mean=arrays["mean"],
            scale=arrays["scale"],
            actor=networks.pop("actor"),
            critics=tuple(network for network in networks.values() if network),
            low=arrays["low"],
            high=arrays["high"],
            provenance=head["provenance"],
            caution=float(head["caution"]),
        )
    except OSError as error:
        raise UsageError(f"policy {path} cannot be read: {error.strerror or error}; check the path") from None
    except (AttributeError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is no policy ({error}): give a file that scall search wrote") from None
    if head["format"] != FORMAT or len(trained.mean) != OBSERVATION_LENGTH or trained.actions not in ACTION_SPACES:
        raise UsageError(f"policy {path} was made for another version of observations or actions: train it again")
    return trained


def _networks(trained: Trained) -> list[tuple[str, Layers]]:
    return [("actor", trained.actor), *((f"critic{i}", critic) for i, critic in enumerate(trained.critics))]


def _network(arrays: dict[str, NDArray[Any]], name: str) -> Layers:
    layers = sum(key.startswith(f"{name}.") for key in arrays) // 2
    return tuple((arrays[f"{name}.{i}.weight"], arrays[f"{name}.{i}.bias"]) for i in range(layers))
