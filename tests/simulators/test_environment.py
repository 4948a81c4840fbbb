"""The environment is the production loop: same observations, same sizes, same figures; seeded, cheap to begin."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_for_gymnasium
from numpy.typing import NDArray
from stable_baselines3.common.env_checker import check_env as check_for_sb3

from simulators.environment import EmbeddingSizes, Stream, reward_of
from simulators.faults import StillHost
from simulators.nowhere import NoCheckpoints, Silence
from simulators.sizes_picture import by_rank
from simulators.synthetic import open_world
from simulators.tape import Tape
from stream.assembly import build_trainer
from stream.core.action import ThreeNumbers, uniform_decision
from stream.core.event import ITEM, USER
from stream.core.observation import PARTS
from stream.core.sizes import SizeDecision
from stream.core.stats import Quality
from stream.errors import BudgetError, UsageError
from stream.pipeline import Pipeline, Ports
from tests.doubles import Letters

Action = NDArray[np.float32]
SMALL: dict[str, Any] = {"limit": 4_500, "window": "500events", "episode_windows": 3, "num_snapshots": 12}
SHORT = SMALL | {"limit": 3_000}
"""For what is the same however long a stream is."""
STEEP = np.array([-0.5, 0.3, -0.6], np.float32)
ID = "simulators.environment:scall/EmbeddingSizes-v0"


@pytest.fixture(scope="module")
def env() -> EmbeddingSizes:
    return EmbeddingSizes("synthetic:drift", **SMALL)


def episode(env: EmbeddingSizes, action: Action, **options: int) -> list[tuple[Any, ...]]:
    observation, _ = env.reset(options=options)
    steps: list[tuple[Any, ...]] = [(observation.tobytes(),)]
    is_over = False
    while not is_over:
        observation, reward, terminated, is_over, info = env.step(action)
        assert not terminated
        steps.append((observation.tobytes(), reward, info["ndcg"], info["user_sizes"], info["item_sizes"]))
    return steps


# What Gymnasium and Stable-Baselines3 ask for


def test_gymnasium_and_stable_baselines_find_nothing_to_complain_about() -> None:
    # A warning of theirs is an error in every test.
    check_for_gymnasium(gymnasium.make(ID, render_mode="rgb_array", **SHORT).unwrapped)
    check_for_sb3(EmbeddingSizes(**SHORT), warn=True)


def test_it_can_be_made_by_name_without_an_import() -> None:
    code = f"import gymnasium; print(gymnasium.make('{ID}', limit=9000, window='1000events').spec.id)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout.strip() == "scall/EmbeddingSizes-v0"


def test_it_can_be_vectorised() -> None:
    envs = gymnasium.make_vec(ID, num_envs=2, vectorization_mode="sync", **SHORT)
    envs.reset(seed=3)
    _, rewards, *_ = envs.step(np.stack([STEEP, -STEEP]))
    assert rewards.shape == (2,)
    assert rewards[0] != rewards[1]
    envs.close()


# Seeded and reproducible


def test_the_same_seed_and_actions_give_the_same_episodes(env: EmbeddingSizes) -> None:
    other = EmbeddingSizes("synthetic:drift", **SMALL)
    for one in (env, other):
        one.reset(seed=11)
    assert [episode(env, STEEP) for _ in range(3)] == [episode(other, STEEP) for _ in range(3)]


def test_an_episode_does_not_depend_on_what_was_before(env: EmbeddingSizes) -> None:
    first = episode(env, STEEP, scene=0, snapshot=1)
    episode(env, -STEEP, scene=0, snapshot=2)
    env.reset(options={"scene": 0, "snapshot": 3})
    env.step(STEEP)
    assert episode(env, STEEP, scene=0, snapshot=1) == first
    assert episode(env, -STEEP, scene=0, snapshot=1)[1:] != first[1:]


def test_episodes_begin_all_over_the_stream_and_in_different_lives(env: EmbeddingSizes) -> None:
    begins = set()
    env.reset(seed=1)
    for _ in range(90):
        observation, info = env.reset()
        begins.add((info["window"], observation.tobytes()))
    scene = env.scene(0)
    assert len(begins) == len(scene.snapshots) == 12
    assert len({window for window, _ in begins}) == 2
    assert {window for window, _ in begins} == {snapshot.window for snapshot in scene.snapshots}


def test_observations_belong_to_whoever_asked(env: EmbeddingSizes) -> None:
    clean = episode(env, STEEP, scene=0, snapshot=0)
    observation, _ = env.reset(options={"scene": 0, "snapshot": 0})
    observation[:] = -1.0
    observation, reward, *_ = env.step(STEEP)
    assert (observation.tobytes(), reward) == clean[1][:2]


# The production loop


class Told:
    """A policy that does what the environment is told, and notes what it sees."""

    name = "told"

    def __init__(self, begin: int, action: Action) -> None:
        self.seen: list[bytes] = []
        self.trips: dict[str, int] = {}
        self._begin = begin
        self._action = action

    def decide(self, observation: NDArray[np.float32]) -> SizeDecision:
        self.seen.append(observation.tobytes())
        if len(self.seen) <= self._begin:
            return uniform_decision(observation)
        return ThreeNumbers().decode(self._action)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...


@pytest.mark.parametrize("snapshot", [0, 1])
def test_a_step_is_a_window_of_the_loop(env: EmbeddingSizes, snapshot: int) -> None:
    """What a replay from the beginning sees and scores is what the environment shows, to the last bit."""
    scene = env.scene(0)
    begin = scene.snapshots[snapshot].window
    policy = Told(begin, STEEP)
    ports = Ports(scene.tape.reopened(), Letters(), NoCheckpoints(), policy, Silence(), StillHost())
    report = Pipeline(ports, build_trainer(scene.settings), {"seed": 0}, {}).run()
    steps = episode(env, STEEP, scene=0, snapshot=snapshot)
    assert [seen for seen, *_ in steps] == policy.seen[begin : begin + 4]
    windows = report.windows[begin + 1 : begin + 4]
    assert [ndcg for _, _, ndcg, *_ in steps[1:]] == [window.quality.ndcg for window in windows]
    reference = scene.lives.reference
    assert [window.quality for window in report.windows[: begin + 1]] == reference[: begin + 1]
    assert windows[0].quality.ndcg != report.windows[begin].quality.ndcg


def test_a_reward_is_the_lead_over_a_life_with_uniform_sizes(env: EmbeddingSizes) -> None:
    seen, _ = env.reset(options={"scene": 0, "snapshot": 0})
    uniform = np.array(env.actions.uniform(seen), np.float32)
    # The first two snapshots are of that life itself, and a power law of shape 30 is nearly uniform.
    nearly = [step[1] for snapshot in range(2) for step in episode(env, uniform, scene=0, snapshot=snapshot)[1:]]
    assert np.abs(nearly).mean() < 0.03
    env.reset(options={"scene": 0, "snapshot": 0})
    _, reward, _, _, info = env.step(STEEP)
    assert reward == pytest.approx(info["ndcg"] / info["reference_ndcg"] - 1)
    assert info["reference_ndcg"] == env.scene(0).lives.reference[info["window"]].ndcg


def test_the_lives_tell_what_came_of_decisions_drawn_at_random(env: EmbeddingSizes) -> None:
    experience = list(env.experience())
    assert len(experience) == 5 * 8
    assert len({action.tobytes() for _, action, *_ in experience}) == 5
    lives = env.scene(0).lives
    one = lives.transitions[4]
    assert experience[4][2] == pytest.approx((one.quality.ndcg or 0) / (lives.reference[one.window].ndcg or 1) - 1)
    assert (experience[4][3] == experience[5][0]).all()


def test_a_reward_is_relative_but_not_to_next_to_nothing() -> None:
    assert reward_of(Quality(10, ndcg=0.3), Quality(10, ndcg=0.2)) == pytest.approx(0.5)
    assert reward_of(Quality(10, ndcg=0.1), Quality(10, ndcg=0.2)) == pytest.approx(-0.5)
    assert reward_of(Quality(10, ndcg=0.01), Quality(10, ndcg=0.0)) == pytest.approx(0.5)
    assert reward_of(Quality(0), Quality(0)) == 0.0


def test_the_budget_holds_in_every_step_whatever_is_done(env: EmbeddingSizes) -> None:
    env.reset(seed=5)
    random = np.random.default_rng(5)
    for _ in range(3):
        env.reset()
        for _ in range(3):
            *_, info = env.step(random.uniform(-1, 1, 3).astype(np.float32))
            assert info["ledger_bytes"] <= info["budget_bytes"]
            assert info["violations"] == 0


# Another budget


def test_a_budget_changed_within_an_episode_holds_at_once_up_and_down(env: EmbeddingSizes) -> None:
    _, before = env.reset(options={"scene": 0, "snapshot": 0})
    own = before["budget_bytes"]
    for budget_bytes in (own // 2, 2 * own, own * 3 // 4):
        env.change_budget(budget_bytes)
        *_, info = env.step(STEEP)
        assert info["budget_bytes"] == budget_bytes
        assert 0.98 * budget_bytes < info["ledger_bytes"] <= budget_bytes
        assert info["violations"] == 0


def test_the_next_episode_is_back_at_the_scene_s_own_budget(env: EmbeddingSizes) -> None:
    place = {"scene": 0, "snapshot": 1}
    first = episode(env, STEEP, **place)
    for factor in (0.5, 3):
        _, info = env.reset(options=place)
        env.change_budget(int(factor * info["budget_bytes"]))
        env.step(STEEP)
        _, again = env.reset(options=place)
        assert again == info
        assert episode(env, STEEP, **place) == first


def test_an_episode_can_begin_under_another_budget(env: EmbeddingSizes) -> None:
    place = {"scene": 0, "snapshot": 1}
    observation, info = env.reset(options=place)
    own = info["budget_bytes"]
    same, same_info = env.reset(options={**place, "budget_bytes": own})
    assert (same.tobytes(), same_info) == (observation.tobytes(), info)
    poorer, poor_info = env.reset(options={**place, "budget_bytes": own // 2})
    assert poor_info["ledger_bytes"] <= poor_info["budget_bytes"] == own // 2
    # What the policy sees is what there is now: words that a user or item could have on average.
    assert poorer[PARTS["room"]][0] < observation[PARTS["room"]][0]
    *_, after = env.step(STEEP)
    assert (after["budget_bytes"], after["violations"]) == (own // 2, 0)


def test_a_budget_too_small_is_refused_and_the_episode_goes_on(env: EmbeddingSizes) -> None:
    place = {"scene": 0, "snapshot": 2}
    undisturbed = episode(env, STEEP, **place)
    env.reset(options=place)
    with pytest.raises(BudgetError, match="1,000 bytes is too small"):
        env.change_budget(1_000)
    observation, reward, *_ = env.step(STEEP)
    assert (observation.tobytes(), reward) == undisturbed[1][:2]
    with pytest.raises(BudgetError, match="1,000 bytes is too small"):
        env.reset(options={**place, "budget_bytes": 1_000})
    observation, reward, *_ = env.step(STEEP)
    assert (observation.tobytes(), reward) == undisturbed[1][:2]


# What it is made of


def test_every_stream_is_combined_with_every_budget() -> None:
    tapes = [Tape.record(open_world(name, 1, 4_000)) for name in ("drift", "churn")]
    streams = [Stream(tapes[0], {}), Stream(tapes[1], {"exclude_seen": True})]
    env = EmbeddingSizes(streams, mean_sizes=[2, 8], window="500events", episode_windows=2, num_snapshots=2)
    begun = [env.reset(options={"scene": scene, "snapshot": 0})[1] for scene in range(env.num_scenes)]
    assert [info["data"] for info in begun] == ["synthetic:drift"] * 2 + ["synthetic:churn"] * 2
    budgets = [info["budget_bytes"] for info in begun]
    assert budgets[0] < budgets[1]
    assert budgets[2] < budgets[3]
    assert [env.scene(scene).settings.exclude_seen for scene in range(4)] == [False, False, True, True]


def test_parts_of_a_stream_do_not_overlap() -> None:
    whole = EmbeddingSizes(limit=10_000, window="500events", episode_windows=3, num_snapshots=90)
    spans = []
    for part in (whole.within(0, 0.5), whole.within(0.5, 1)):
        windows = [snapshot.window for snapshot in part.scene(0).snapshots]
        # The window after the snapshot is the first one decided.
        spans.append((min(windows) + 1, max(windows) + 3))
    assert spans == [(2, 9), (10, 19)]
    with pytest.raises(UsageError, match=r"0% to 10% hold no episode of 3: give more events"):
        whole.within(0, 0.1)


def test_parts_go_on_side_by_side() -> None:
    whole = EmbeddingSizes(limit=6_000, window="500events", episode_windows=3, num_snapshots=12)
    one, other = whole.within(0, 0.5), whole.within(0.5, 1)
    alone = episode(one, STEEP, scene=0, snapshot=0)
    one.reset(options={"scene": 0, "snapshot": 0})
    episode(other, -STEEP, scene=0, snapshot=0)
    observation, reward, *_ = one.step(STEEP)
    assert (observation.tobytes(), reward) == alone[1][:2]
    assert {life.window for life in one.scene(0).lives.transitions} == set(range(1, 6))


def test_too_short_a_stream_and_too_small_a_budget_are_told_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"synthetic:drift fills 3 windows of 1000events.*give more events"):
        EmbeddingSizes(limit=3_000, window="1000events", episode_windows=4).reset()
    with pytest.raises(BudgetError, match="too small"):
        EmbeddingSizes(budget_bytes=100, limit=3_000, window="1000events").reset()
    with pytest.raises(UsageError, match="render mode 'human' is unknown"):
        EmbeddingSizes(limit=3_000, render_mode="human")


# Pictures


def test_the_picture_shows_sizes_by_rank(env: EmbeddingSizes) -> None:
    episode(env, STEEP, scene=0, snapshot=2)
    recommender = env.scene(0).trainer.recommender
    for side, num in ((USER, recommender.num_users), (ITEM, recommender.num_items)):
        frequency, size = by_rank(recommender, side)
        assert len(frequency) == len(size) == num
        assert (np.diff(frequency) <= 0).all()
        assert size.sum() == (np.arange(len(recommender.sizes(side))) * recommender.sizes(side)).sum()
    assert np.corrcoef(frequency, size)[0, 1] > 0.3
    assert env.render() is None


@pytest.fixture
def drawn() -> Iterator[EmbeddingSizes]:
    env = EmbeddingSizes(render_mode="rgb_array", **SHORT)
    env.reset(seed=1)
    yield env
    env.close()


def test_a_picture_is_drawn_or_told_in_text(drawn: EmbeddingSizes) -> None:
    flat = drawn.render()
    assert flat.shape == (360, 960, 3)
    assert flat.dtype == np.uint8
    drawn.step(STEEP)
    assert (drawn.render() != flat).any()
    drawn.render_mode = "ansi"
    assert "ledger_bytes: " in drawn.render()
