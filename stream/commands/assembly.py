"""What every command needs before it begins: a policy, compiled kernels, versions of what figures depend on."""

from importlib.metadata import version
from typing import Final

import numpy as np

from agents.catalogue import open_policy
from agents.policy import Policy
from simulators.synthetic import open_world
from stream.adapters.columns import decode
from stream.assembly import build_trainer
from stream.config import Settings
from stream.core.event import ITEM
from stream.core.snapshot import Snapshot

_PACKAGES: Final = ("scall-stream", "numpy", "numba", "river", "pyarrow", "kafka-python")


def versions() -> dict[str, str]:
    """Return the versions of what a run's figures depend on."""
    return {name: version(name) for name in _PACKAGES}


def build_policy(settings: Settings) -> Policy:
    """Return the policy that the settings name.

    Raises:
        UsageError: there is no such policy.

    """
    return open_policy(settings.policy, settings.users_share, settings.seed)


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
    for budget_bytes in (4 * 2**20, 8 * 2**20):
        trainer.change_budget(budget_bytes)
    trainer.observe()
    Snapshot(trainer.recommender.state(), trainer.recommender.hyper).answer_nobody()
