"""Scenes: a stream under a budget, cut into episodes that begin at snapshots of the whole loop.

A scene lives through its stream beforehand: once with uniform sizes, which shows what every window is worth anyway (the
reference), and a few times with one action each, drawn at random. These stand for good, for it takes tens of thousands
of events until new sizes have paid for what the old ones knew. On the way snapshots are kept, from which the loop
(:mod:`stream.pipeline`) can go on as often as one likes, under anybody's decisions.
"""

from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from simulators.faults import StillHost
from simulators.nowhere import NoCheckpoints, NoLetters, Silence
from simulators.tape import Tape
from stream.assembly import build_trainer
from stream.config import Settings
from stream.core.action import ActionSpace, uniform_decision
from stream.core.sizes import SizeDecision
from stream.core.stats import Quality
from stream.core.trainer import Trainer
from stream.errors import UsageError
from stream.pipeline import Pace, Pipeline, Ports
from stream.ports import Checkpoint

Observation = NDArray[np.float32]
Numbers = NDArray[np.float32]


class Snapshot(NamedTuple):
    """The loop at the end of a window, before anything is decided."""

    checkpoint: Checkpoint
    observation: Observation
    window: int
    """Windows closed before it."""


class Transition(NamedTuple):
    """A decision of a life, and what came of it."""

    observation: Observation
    action: Numbers
    quality: Quality
    """Of the window after the decision."""
    following: Observation
    window: int
    """Index of the window after the decision."""


class Lives(NamedTuple):
    """What a scene knows from having lived through its stream."""

    snapshots: list[Snapshot]
    transitions: list[Transition]
    """Of the lives with decisions drawn at random."""
    reference: list[Quality]
    """Of every whole window, under uniform sizes."""


class Scene:
    """A stream under a budget, and snapshots of it (:func:`live_through`), from which the loop can go on.

    There is one trainer to a scene, so only what was begun last goes on; :meth:`among` gives another with its own.
    """

    def __init__(self, tape: Tape, settings: Settings, num_windows: int, lives: Lives) -> None:
        self.tape = tape
        self.settings = settings
        self.num_windows = num_windows
        """Windows of an episode; behind each snapshot lie as many."""
        self.lives = lives
        self.trainer: Trainer = build_trainer(settings)

    @property
    def snapshots(self) -> list[Snapshot]:
        """Where episodes begin."""
        return self.lives.snapshots

    def among(self, begin: int, end: int) -> Self:
        """Return a scene of the same snapshots, but for those whose episodes leave the windows ``begin`` to ``end``."""
        last = end - self.num_windows
        inside = self.lives._replace(
            snapshots=[one for one in self.lives.snapshots if begin <= one.window + 1 <= last],
            transitions=[one for one in self.lives.transitions if begin <= one.window < end],
        )
        return type(self)(self.tape, self.settings, self.num_windows, inside)

    def begin(self, number: int) -> Pipeline:
        """Return the loop as it stood at a snapshot; :meth:`~stream.pipeline.Pipeline.close_window` comes next."""
        loop = _loop(self.tape.reopened(), self.trainer, self.snapshots[number].checkpoint)
        loop.resume()
        return loop

    def quality(self) -> Quality:
        """Return the quality of the open window."""
        return self.trainer.evaluation.window()["all"]


def live_through(
    tape: Tape, settings: Settings, actions: ActionSpace, num_windows: int, num_snapshots: int, num_lives: int
) -> Lives:
    """Live through a stream ``num_lives`` times, and keep snapshots at even distances, as many of each life.

    The first life is with uniform sizes.

    ``settings`` say budget, window and share of tests. Behind each of the ``num_snapshots`` snapshots, fewer where the
    stream is short, lie at least ``num_windows`` more whole windows.

    Raises:
        BudgetError: the budget is too small for anything useful.
        UsageError: the stream has too few windows.

    """
    total = count_windows(tape, settings)
    # The first decision is made at the end of the first window: until then all lives are one.
    first, last = 1, total - 1 - num_windows
    if last < first:
        raise UsageError(
            f"{tape.name} fills {total} windows of {settings.windows.close_after}, "
            f"too few for episodes of {num_windows}: give more events, shorter windows or shorter episodes"
        )
    begins = set(np.linspace(first, last, -(-num_snapshots // num_lives)).astype(int).tolist())
    lives = Lives([], [], [])
    for life in range(num_lives):
        _live(tape, settings, actions, life, total, begins, lives)
    return lives


def count_windows(tape: Tape, settings: Settings) -> int:
    """Return how many whole windows a stream fills."""
    untested = msgspec.structs.replace(settings, evaluation=msgspec.structs.replace(settings.evaluation, sample=0.0))
    loop, num_whole = _loop(tape.reopened(), build_trainer(untested)), 0
    while (observation := loop.advance()) is not None:
        num_whole += loop.reason != "end of stream"
        loop.close_window(uniform_decision(observation))
    return num_whole


def _live(
    tape: Tape, settings: Settings, actions: ActionSpace, life: int, total: int, begins: set[int], lives: Lives
) -> None:
    """Live through a stream: first with uniform sizes, then with one action, by turns a moderate one or any."""
    random = np.random.default_rng([settings.seed, life, settings.memory.budget_bytes])
    drawn = random.triangular(-1, 0, 1, actions.length) if life % 2 else random.uniform(-1, 1, actions.length)
    action = drawn.astype(np.float32)
    trainer = build_trainer(settings)
    loop = _loop(tape.reopened(), trainer)
    before: tuple[Observation, Numbers] | None = None
    for window in range(total):
        observation = loop.advance()
        assert observation is not None, "as many windows were counted"
        quality = trainer.evaluation.window()["all"]
        if life == 0:
            lives.reference.append(quality)
        elif before is not None:
            lives.transitions.append(Transition(*before, quality, observation, window))
        if window in begins:
            lives.snapshots.append(Snapshot(_kept(loop.snapshot()), observation, window))
        before = observation, action
        loop.close_window(uniform_decision(observation) if life == 0 else actions.decode(action))


def step(loop: Pipeline, decision: SizeDecision) -> Observation:
    """Let a full window be followed by another under a decision; return what is seen at its end."""
    loop.close_window(decision)
    observation = loop.advance()
    assert observation is not None, "a snapshot has as many windows behind it as an episode has"
    return observation


def _loop(source: Tape, trainer: Trainer, checkpoint: Checkpoint | None = None) -> Pipeline:
    """Put the production loop together over ports that keep nothing."""
    ports = Ports(source, NoLetters(), NoCheckpoints(checkpoint), _Outside(), Silence(), StillHost())
    return Pipeline(ports, trainer, {"seed": 0}, {}, Pace(saves=False, max_windows=1))


def _kept(checkpoint: Checkpoint) -> Checkpoint:
    return checkpoint._replace(arrays={name: array.copy() for name, array in checkpoint.arrays.items()})


class _Outside:
    """The policy of a loop that is told from outside what to do."""

    name = "outside"

    @property
    def trips(self) -> dict[str, int]:
        return {}

    def decide(self, observation: Observation) -> SizeDecision:
        return uniform_decision(observation)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...
