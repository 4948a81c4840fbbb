"""Policies that learn, in the loop that everybody runs: its rewards reach them, and a stop changes nothing."""

from pathlib import Path

import numpy as np
import pytest

from agents.catalogue import LEARNERS
from agents.trained import save
from simulators.faults import StillHost
from simulators.synthetic import open_world
from tests.agents.networks import LENGTH, random_policy
from tests.doubles import TIGHT, Case, outcome, replay, replay_in_memory

NAMES = [*LEARNERS, *(f"unchanged:{name}" for name in LEARNERS)]


def case(name: str) -> Case:
    world = Case(lambda: open_world("churn", 3, 1500), {**TIGHT, "policy": name})
    return world.under(windows__close_after="100events", evaluation__sample=1)


@pytest.mark.parametrize("name", NAMES)
def test_every_decision_of_a_policy_runs_within_the_budget(name: str) -> None:
    report, _ = replay_in_memory(case(name))
    decisions = [str(window.decision) for window in report.windows]
    assert report.policy == name
    assert report.counts.violations == 0
    assert len(set(decisions)) == (1 if name.startswith("unchanged") else pytest.approx(len(decisions), rel=0.8))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_asked", [9, 40])
def test_a_run_that_is_stopped_and_resumed_ends_as_one_that_was_not(name: str, num_asked: int, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    expected = outcome(replay(case(name), whole), whole)
    assert not replay(case(name), parts, host=StillHost(num_asked)).finished
    assert outcome(replay(case(name), parts, resume=True), parts) == expected


@pytest.mark.parametrize("prefix", ["", "unchanged:"])
def test_the_guard_s_steps_are_reported_and_counted_on_over_a_restart(prefix: str, tmp_path: Path) -> None:
    # No action lies where this policy says that it was tried.
    elsewhere = np.full(LENGTH, 2, np.float32)
    save(random_policy()._replace(low=elsewhere, high=elsewhere), tmp_path / "policy.npz")
    guarded = case(f"{prefix}scall:{tmp_path / 'policy.npz'}")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    report = replay(guarded, whole)
    decided = [1 if prefix else number + 1 for number in range(len(report.windows))]
    assert [window.guard_trips for window in report.windows] == [{"outside the known range": num} for num in decided]
    assert report.guard_trips == report.windows[-1].guard_trips
    interrupted = replay(guarded, parts, host=StillHost(40))
    assert 0 < len(interrupted.windows) < len(report.windows)
    assert outcome(replay(guarded, parts, resume=True), parts) == outcome(report, whole)


def test_what_the_stream_was_like_decides_what_the_bandit_decides() -> None:
    """Rewards and observations are the loop's own: another world leads to other decisions."""
    decided = []
    for world in ("churn", "stationary"):
        found = Case(lambda world=world: open_world(world, 3, 1500), case("bandit").settings)
        report, _ = replay_in_memory(found)
        decided.append([window.decision for window in report.windows])
    assert decided[0] != decided[1]
