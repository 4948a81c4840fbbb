"""The model put together from its settings, for every command."""

from importlib.metadata import version
from typing import Final

import numpy as np

from simulators.synthetic import open_world
from stream.adapters.columns import decode
from stream.config import Settings
from stream.core.evaluation import Prequential
from stream.core.event import ITEM
from stream.core.intake import Intake
from stream.core.recommender import Recommender
from stream.core.trainer import Trainer
from stream.core.windows import WindowClock, parse_window

_PACKAGES: Final = ("scall-stream", "numpy", "numba", "river", "pyarrow", "kafka-python")


def versions() -> dict[str, str]:
    """Return the versions of what a run's figures depend on."""
    return {name: version(name) for name in _PACKAGES}


def build_trainer(settings: Settings) -> Trainer:
    """Return a trainer before its first event.

    Raises:
        BudgetError: the budget is too small for anything useful.

    """
    windows = settings.windows
    lateness_ms = round(1000 * windows.allowed_lateness_s)
    return Trainer(
        recommender=Recommender(
            settings.layout(), settings.hyper(), settings.user_bounds(), settings.item_bounds(), settings.seed
        ),
        intake=Intake(
            allowed_lateness_ms=lateness_ms,
            learn_late=windows.learn_late,
            max_future_jump_ms=round(1000 * windows.max_future_jump_s),
            test_share=settings.evaluation.sample,
            seed=settings.seed,
        ),
        clock=WindowClock(parse_window(windows.close_after), lateness_ms),
        evaluation=Prequential(settings.evaluation.top_k),
        budget_bytes=settings.memory.budget_bytes,
        resize_every=settings.sizes.resize_every_events,
    )


def compile_kernels() -> None:
    """Run every kernel once on a throw-away model: compiles it, or loads it from the cache."""
    trainer = build_trainer(Settings())
    world = open_world("stationary", 1, 64)
    poll = world.poll()
    assert poll is not None
    batch = trainer.sort(poll, world.origin)
    trainer.learn(batch, 0, 64)
    trainer.test(batch, 0)
    world.seek({})
    rows = world.read_rows(1)
    assert rows is not None
    decode(rows, np.zeros(1, np.int32), np.zeros(1, np.int64), lambda number: world.origin(0, number))
    trainer.recommender.evict(ITEM, 1)
    trainer.resize(trainer.decision)
    trainer.resize_within_window()
    trainer.observe()
