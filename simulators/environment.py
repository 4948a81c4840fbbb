"""The Gymnasium environment: the production loop, a window a step.

``gymnasium.make("simulators.environment:scall/EmbeddingSizes-v0")`` makes one; see :class:`EmbeddingSizes`.
"""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from simulators.datasets import open_dataset
from simulators.scenes import Observation, Scene, live_through, step
from simulators.sizes_picture import draw_sizes
from simulators.synthetic import open_world
from simulators.tape import Tape
from simulators.ties import TieShuffled
from stream.compilation import fill_kernel_cache
from stream.config import WIDE, Settings, make_settings
from stream.core.action import action_space
from stream.core.event import ITEM, USER
from stream.core.observation import OBSERVATION_LENGTH
from stream.core.stats import Quality
from stream.errors import UsageError
from stream.pipeline import Pipeline
from stream.ports import Source

ID: Final = "scall/EmbeddingSizes-v0"
WORLD: Final = "synthetic:"
_LEAST_NDCG: Final = 0.02
"""Rewards are relative to the reference, but not to one that is next to nothing."""

Data = str | Path | Source


class Stream(NamedTuple):
    """Data under settings of its own."""

    data: Data
    settings: dict[str, Any]
    """As for :func:`stream.config.make_settings`."""


Numbers = NDArray[np.float32]


class EmbeddingSizes(gymnasium.Env[Observation, Numbers]):
    """An agent decides, window by window, how a memory budget is shared out among users and items.

    * A **step** is one window of the production loop: all sizes are assigned anew as the action says, then the
      events of the window are tested and learnt (:meth:`stream.pipeline.Pipeline.advance`).
    * An **episode** is ``episode_windows`` steps from a snapshot within one of the streams, drawn at reset.
    * An **action** is the numbers of an action space (:mod:`stream.core.action`), each in [-1, 1].
    * An **observation** is :data:`stream.core.observation.PARTS`, as in service.
    * The **reward** is how much the window's NDCG is above that of the same events in a life with uniform sizes,
      relative to the latter: 0.05 is five per cent more. So it does not matter how hard the events are.

    ``data`` is a file, ``synthetic:NAME``, a :class:`~stream.ports.Source`, one of these with settings of its own
    (:class:`Stream`), or a list of them. ``budget_bytes`` is a budget or a list; ``mean_sizes``, instead, are the words
    that every user and item of the stream could own at once (where the stream's own settings have no budget). Every
    stream is combined with every budget: a *scene*.
    ``settings`` are any others (:func:`stream.config.make_settings`). Each scene is lived through ``num_lives`` times
    beforehand, once with uniform sizes (:func:`simulators.scenes.live_through`).

    ``reset(options=...)`` takes ``scene`` and ``snapshot`` (numbers) to begin at a certain place, ``windows`` for an
    episode of another length, and ``budget_bytes`` for one under another budget than the scene's.

    Raises:
        UsageError: something cannot be read, or is too short.
        BudgetError: a budget is too small for anything useful.

    >>> env = EmbeddingSizes("synthetic:drift", limit=6_000, window="1000events", episode_windows=2, num_snapshots=2)
    >>> observation, info = env.reset(seed=1)
    >>> observation, reward, terminated, truncated, info = env.step(np.zeros(3, np.float32))
    >>> info["ledger_bytes"] <= info["budget_bytes"], info["violations"]
    (True, 0)

    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}  # noqa: RUF012 - the base class has it so

    def __init__(
        self,
        data: Data | Stream | Sequence[Data | Stream] = "synthetic:drift",
        budget_bytes: int | Sequence[int] | None = None,
        *,
        mean_sizes: int | Sequence[int] = 4,
        window: str = "5000events",
        episode_windows: int = 8,
        num_snapshots: int = 8,
        num_lives: int = 6,
        action: str = "scall",
        limit: int | None = 100_000,
        settings: dict[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise UsageError(f"render mode {render_mode!r} is unknown: give rgb_array or ansi")
        fill_kernel_cache()
        self.render_mode = render_mode
        self.actions = action_space(action)
        self.action_space = spaces.Box(-1.0, 1.0, (self.actions.length,), np.float32)
        self.observation_space = spaces.Box(-1.0, 1.0, (OBSERVATION_LENGTH,), np.float32)
        values: dict[str, Any] = {**WIDE, "windows.close_after": window, **(settings or {})}
        self._episode_windows, self._num_snapshots, self._num_lives = episode_windows, num_snapshots, num_lives
        self._plans: list[tuple[Tape, Settings]] = []
        for stream in _streams(data):
            of_stream = values | stream.settings
            source = _opened(stream.data, limit, int(of_stream.get("seed", 1)))
            tape = source.reopened() if isinstance(source, Tape) else Tape.record(source)
            self._plans += [(tape, under) for under in _settings_of(tape, of_stream, budget_bytes, mean_sizes)]
        self._scenes: dict[int, Scene] = {}
        self._scene: Scene | None = None
        self._loop: Pipeline | None = None
        self._observation = np.zeros(OBSERVATION_LENGTH, np.float32)
        self._num_steps = self._num_windows = 0

    @property
    def num_scenes(self) -> int:
        """Streams times budgets."""
        return len(self._plans)

    def scene(self, number: int) -> Scene:
        """Return a scene, living through it first where nobody asked before."""
        if number not in self._scenes:
            tape, settings = self._plans[number]
            lives = live_through(
                tape, settings, self.actions, self._episode_windows, self._num_snapshots, self._num_lives
            )
            self._scenes[number] = Scene(tape, settings, self._episode_windows, lives)
        return self._scenes[number]

    def within(self, begin: float, end: float) -> Self:
        """Return the same environment limited to a part of each stream, from 0 to 1; it shares the snapshots.

        Raises:
            UsageError: a stream has no episode that lies within the part.

        """
        part = copy.copy(self)
        part._scene = part._loop = None
        part._scenes = {}
        for number in range(self.num_scenes):
            whole = self.scene(number)
            num_windows = len(whole.lives.reference)
            part._scenes[number] = whole.among(round(begin * num_windows), round(end * num_windows))
            if not part._scenes[number].snapshots:
                raise UsageError(
                    f"{whole.tape.name}: of {num_windows} windows of {whole.settings.windows.close_after}, "
                    f"{begin:.0%} to {end:.0%} hold no episode of {whole.num_windows}: "
                    f"give more events, shorter windows or shorter episodes"
                )
        return part

    def experience(self) -> Iterator[tuple[Observation, Numbers, float, Observation]]:
        """Yield what came of decisions drawn at random, from the lives of all scenes.

        Each is an observation, the action, the reward and the next observation: something to learn from beforehand.
        """
        for number in range(self.num_scenes):
            lives = self.scene(number).lives
            for one in lives.transitions:
                reward = reward_of(one.quality, lives.reference[one.window])
                yield one.observation, one.action, reward, one.following

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode at a snapshot, drawn from all, or the one that ``options`` name, under the scene's budget.

        Raises:
            BudgetError: the budget that ``options`` name is refused; the episode has begun under the scene's.

        """
        super().reset(seed=seed)
        chosen = options or {}
        number = int(chosen.get("scene", self.np_random.integers(self.num_scenes)))
        self._scene = scene = self.scene(number)
        begin = int(chosen.get("snapshot", self.np_random.integers(len(scene.snapshots))))
        self._loop = scene.begin(begin)
        self._observation = scene.snapshots[begin].observation
        left = len(scene.lives.reference) - 1 - scene.snapshots[begin].window
        self._num_steps, self._num_windows = 0, min(int(chosen.get("windows", scene.num_windows)), left)
        if "budget_bytes" in chosen:
            self.change_budget(int(chosen["budget_bytes"]))
            self._observation = scene.trainer.observe()
        return self._observation.copy(), self._info(scene)

    def change_budget(self, budget_bytes: int) -> None:
        """Go on under another budget until the episode ends, as when an operator asks a service for it.

        Sizes are assigned anew at once, by the decision that stands. The reference of the rewards stays the life with
        uniform sizes under the scene's own budget.

        Raises:
            BudgetError: too small for anything useful, or more than the machine gives; the old one stays.

        >>> env = EmbeddingSizes(limit=3_000, window="1000events", episode_windows=1, num_snapshots=1)
        >>> _, info = env.reset()
        >>> env.change_budget(info["budget_bytes"] // 2)
        >>> *_, later = env.step(np.zeros(3, np.float32))
        >>> later["ledger_bytes"] <= later["budget_bytes"] == info["budget_bytes"] // 2
        True

        """
        assert self._scene is not None, "reset first"
        if budget_bytes != self._scene.trainer.budget_bytes:
            self._scene.trainer.change_budget(budget_bytes)

    def step(self, action: Numbers) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Decide, and let a window pass; raises ValueError for what is no action."""
        assert self._loop is not None, "reset first"
        assert self._scene is not None
        self._observation = step(self._loop, self.actions.decode(action))
        self._num_steps += 1
        scene, is_over = self._scene, self._num_steps == self._num_windows
        reward = reward_of(scene.quality(), scene.lives.reference[scene.trainer.clock.index])
        return self._observation.copy(), reward, False, is_over, self._info(scene)

    def render(self) -> Any:
        """Draw sizes by rank against frequencies, or say the quantiles in text; None without a render mode."""
        if self.render_mode is None or self._scene is None:
            return None
        recommender = self._scene.trainer.recommender
        if self.render_mode == "rgb_array":
            return draw_sizes(recommender)
        info = self._info(self._scene)
        return "\n".join(f"{name}: {info[name]}" for name in ("user_sizes", "item_sizes", "ledger_bytes", "ndcg"))

    def _info(self, scene: Scene) -> dict[str, Any]:
        trainer, quality = scene.trainer, scene.quality()
        ledger = trainer.ledger()
        reference = scene.lives.reference[trainer.clock.index]
        return {
            "data": scene.tape.name,
            "window": trainer.clock.index,
            "part": trainer.clock.index / len(scene.lives.reference),
            "budget_bytes": ledger.budget_bytes,
            "ledger_bytes": ledger.total_bytes,
            "violations": trainer.account.counts().violations,
            "user_sizes": trainer.sizes(USER).quantiles,
            "item_sizes": trainer.sizes(ITEM).quantiles,
            "evaluated": quality.evaluated,
            "ndcg": quality.ndcg,
            "recall": quality.recall,
            "reference_ndcg": reference.ndcg,
            "reference_recall": reference.recall,
            "decision": trainer.decision,
        }


def reward_of(quality: Quality, reference: Quality) -> float:
    """Return how much higher the NDCG is than the reference's, relative to it; 0 where nothing was tested.

    >>> round(reward_of(Quality(100, ndcg=0.21), Quality(100, ndcg=0.2)), 6)
    0.05
    """
    if quality.ndcg is None or reference.ndcg is None:
        return 0.0
    return (quality.ndcg - reference.ndcg) / max(reference.ndcg, _LEAST_NDCG)


def _streams(data: Data | Stream | Sequence[Data | Stream]) -> list[Stream]:
    if isinstance(data, Stream):
        return [data]
    if isinstance(data, str | Path) or not isinstance(data, Sequence):
        return [Stream(data, {})]
    several: Sequence[Any] = data
    return [one if isinstance(one, Stream) else Stream(one, {}) for one in several]


def _opened(data: Data, limit: int | None, seed: int) -> Source:
    if isinstance(data, str) and data.startswith(WORLD):
        return open_world(data.removeprefix(WORLD), seed, limit)
    if isinstance(data, str | Path):
        return TieShuffled(open_dataset(Path(data), None, limit), seed)
    return data


def _settings_of(
    tape: Tape, values: dict[str, Any], budget_bytes: int | Sequence[int] | None, mean_sizes: int | Sequence[int]
) -> list[Settings]:
    """Return the settings for each budget."""
    pairs = make_settings(values).exclude_seen
    if budget_bytes is not None:
        return [make_settings({**values, "memory.budget_bytes": one}) for one in _numbers(budget_bytes)]
    if "memory.budget_bytes" in values:
        return [make_settings(values)]
    return [make_settings({**values, **tape.sized_for(words, pairs=pairs)}) for words in _numbers(mean_sizes)]


def _numbers(one_or_more: int | Sequence[int]) -> list[int]:
    return [one_or_more] if isinstance(one_or_more, int) else list(one_or_more)


def register() -> None:
    """Make the environment known to Gymnasium: also what its entry-point group calls, in versions that have one."""
    if ID not in gymnasium.registry:
        gymnasium.register(ID, entry_point="simulators.environment:EmbeddingSizes")


register()
