"""A trained policy survives its file, and what is no policy is refused in one line."""

from pathlib import Path

import numpy as np
import pytest

from agents.trained import MAX_BYTES, Trained, apply, constant, load, save
from stream.core.observation import OBSERVATION_LENGTH
from stream.errors import UsageError
from tests.agents.networks import random_policy


def assert_same(one: Trained, other: Trained) -> None:
    assert (one.actions, one.provenance, len(one.critics)) == (other.actions, other.provenance, len(other.critics))
    for observation in np.random.default_rng(3).uniform(-1, 1, (20, OBSERVATION_LENGTH)).astype(np.float32):
        action = one.act(observation)
        assert (action == other.act(observation)).all()
        assert one.worth(observation, action) == other.worth(observation, action)


@pytest.mark.parametrize("num_critics", [0, 2])
def test_a_policy_comes_back_from_its_file_as_it_was(tmp_path: Path, num_critics: int) -> None:
    trained = random_policy(num_critics=num_critics)
    num_bytes = save(trained, tmp_path / "policy.npz")
    assert num_bytes == (tmp_path / "policy.npz").stat().st_size < MAX_BYTES
    assert_same(trained, load(tmp_path / "policy.npz"))


def test_a_network_is_what_its_layers_say() -> None:
    layers = random_policy().actor
    x = np.random.default_rng(1).normal(size=OBSERVATION_LENGTH).astype(np.float32)
    naive = x.astype(np.float64)
    for number, (weight, bias) in enumerate(layers):
        naive = weight.astype(np.float64) @ (naive if number == 0 else np.maximum(naive, 0)) + bias
    assert apply(layers, x) == pytest.approx(naive, abs=1e-4)


def test_a_constant_policy_always_does_the_same() -> None:
    action = np.array([0.5, -0.25, 0.0], np.float32)
    trained = constant(action, "scall", {"learner": "random"})
    for observation in np.random.default_rng(1).uniform(-1, 1, (5, OBSERVATION_LENGTH)).astype(np.float32):
        assert trained.act(observation) == pytest.approx(action, abs=1e-6)
    assert trained.worth(observation, action) is None


def test_far_observations_count_as_five_standard_deviations() -> None:
    trained = random_policy()
    far = trained.mean + 100 * trained.scale
    assert trained.act(far) == pytest.approx(trained.act(trained.mean + 5 * trained.scale), abs=1e-5)
    assert trained.act(far) != pytest.approx(trained.act(trained.mean), abs=0.01)


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "cannot be read: No such file"), (b"", "is no policy"), (b"PK\x03\x04junk", "is no policy")],
)
def test_what_is_no_policy_is_refused(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "policy.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=told) as error:
        load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_other_arrays_and_other_observations_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(UsageError, match="is no policy"):
        load(tmp_path / "other.npz")
    shorter = random_policy()._replace(mean=np.zeros(5, np.float32))
    save(shorter, tmp_path / "shorter.npz")
    with pytest.raises(UsageError, match="train it again"):
        load(tmp_path / "shorter.npz")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: No such file or directory; name another file"):
        save(random_policy(), tmp_path / "none" / "policy.npz")
