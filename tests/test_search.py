"""``scall search``: a policy out of data and worlds, the same for the same command, and what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agents import sac
from agents.trained import load
from stream.__main__ import main
from stream.core.observation import OBSERVATION_LENGTH

Told = pytest.CaptureFixture[str]
SMALL = (
    *("--world", "drift", "--limit", "5000", "--window", "500events", "--episode", "2", "--snapshots", "6"),
    *("--mean-sizes", "4", "--eval-sample", "0.2", "--evaluate-every", "32", "--quiet"),
)


def search(path: Path, *more: str) -> int:
    return main(["search", *SMALL, "--out", str(path), *more])


@pytest.fixture(autouse=True, scope="module")
def few_updates() -> Iterator[None]:
    """What is found need not be good here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sac, "FIRST_UPDATES", 100)
        yield


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    assert search(folder / "policy.npz", "--steps", "48", "--logs", str(folder / "logs")) == 0
    return folder / "policy.npz"


def test_a_policy_is_written_with_all_that_it_came_from(found: Path) -> None:
    assert found.stat().st_size < 2**20
    provenance = load(found).provenance
    assert provenance["data"] == [["synthetic:drift", {}]]
    assert (provenance["seed"], provenance["mean_sizes"], provenance["learner"]) == (1, [4], "sac")
    assert load(found).caution == provenance["caution"] == sac.CAUTION == 0.1
    assert {"numpy", "torch", "stable-baselines3", "gymnasium", "scall-stream"} <= provenance["versions"].keys()
    assert [step for step, *_ in provenance["learning_curve"]] == [0, 32, 48]
    assert json.loads(json.dumps(provenance)) == provenance


def test_logs_can_be_read_by_tensorboard(found: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logs = EventAccumulator(str(found.parent / "logs"))
    logs.Reload()
    assert {"eval/mean_reward", "train/critic_loss", "rollout/ep_rew_mean"} <= set(logs.Tags()["scalars"])
    curve = load(found).provenance["learning_curve"]
    logged = [(event.step, event.value) for event in logs.Scalars("eval/mean_reward")]
    assert logged == [(step, pytest.approx(reward, abs=1e-6)) for step, reward, _ in curve]


def test_the_same_command_finds_the_same_policy(found: Path, tmp_path: Path) -> None:
    assert search(tmp_path / "again.npz", "--steps", "48") == 0
    observation = np.random.default_rng(1).uniform(-1, 1, OBSERVATION_LENGTH).astype(np.float32)
    again, first = load(tmp_path / "again.npz"), load(found)
    assert (again.act(observation) == first.act(observation)).all()
    assert again.provenance["learning_curve"] == first.provenance["learning_curve"]


def test_random_search_is_a_learner_too(tmp_path: Path, capsys: Told) -> None:
    assert search(tmp_path / "random.npz", "--steps", "64", "--learner", "random") == 0
    assert capsys.readouterr().out == ""
    policy = load(tmp_path / "random.npz")
    assert [error for _, _, error in policy.provenance["learning_curve"]] == [None]
    actions = [policy.act(observation) for observation in np.eye(2, OBSERVATION_LENGTH, dtype=np.float32)]
    assert (actions[0] == actions[1]).all()
    assert policy.provenance["learner"] == "random"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--steps", "0"), "--steps 0: give at least 1"),
        (("--caution", "-1"), "--caution -1: give a cost from 0 to 1"),
        (("--held-out", "1"), "--held-out 1: give a share between 0 and 1"),
        (("--held-out", "0.01"), "--held-out 0.01: no window of 10 of synthetic:drift; give a larger share"),
        (("--mean-sizes", "4,x"), "--mean-sizes: 'x' is not a size"),
        (("--budgets", "tiny"), "'tiny' is not a size"),
        (("--actions", "seven"), "action space 'seven' is unknown"),
        (("--seen", "room,moon"), "--seen moon: an observation has no such part: give some of user_frequencies, "),
        (("--episode", "9"), "give more events, shorter windows or shorter episodes"),
        (("--data", "nowhere.csv"), "nowhere.csv cannot be read"),
    ],
)
def test_what_cannot_be_searched_is_told_in_one_line(
    more: tuple[str, ...], told: str, tmp_path: Path, capsys: Told
) -> None:
    assert search(tmp_path / "policy.npz", *more) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "policy.npz").exists()


def test_nothing_to_train_on_is_told(tmp_path: Path, capsys: Told) -> None:
    assert main(["search", "--out", str(tmp_path / "policy.npz")]) == 2
    assert "give --data, --data-once or --world" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_told_before_training(tmp_path: Path, capsys: Told) -> None:
    assert search(tmp_path / "none" / "policy.npz") == 2
    assert "No such file or directory" in capsys.readouterr().err
