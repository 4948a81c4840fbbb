"""Vowpal Wabbit's low-rank quadratic interactions (``--lrq``): matrix factorisation of hashed users and items.

The library's own driver reads a file, as its command does (https://vowpalwabbit.org, "Matrix factorization example"):
the Python binding takes several times as long to parse an example as the library takes to learn it.
"""

import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vowpalwabbit import Workspace

from tests.benchmarks.peers.learner import EXAMPLES, Work

RATE = 0.1


class VowpalWabbit:
    """Logistic matrix factorisation in a table of 2^bits weights (:class:`~tests.benchmarks.peers.learner.Learner`)."""

    def __init__(self, num_factors: int, bits: int, seed: int = 1) -> None:
        self._options = (
            f"--lrq ui{num_factors} --loss_function logistic -l {RATE} -b {bits} --random_seed {seed} --quiet"
        )
        self._folder = Path(tempfile.mkdtemp(prefix="vowpal-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._num_prepared = 0
        self._num_examples = 0
        self._workspace: Workspace | None = None

    def prepare(self, work: Work) -> Path:
        """Write the events' examples as text."""
        path = self._folder / f"{self._num_prepared}.txt"
        self._num_prepared += 1
        with path.open("w") as file:
            for user, item, negative in zip(*(column.tolist() for column in work), strict=True):
                file.write(f"1 |u {user} |i {item}\n-1 |u {user} |i {negative}\n")
        return path

    def learn(self, prepared: Path) -> None:
        """Learn a file in one pass, going on from what the last one left."""
        before = ""
        if self._workspace is not None:
            model = self._folder / "model"
            self._workspace.save(str(model))
            self._workspace.finish()
            before = f"-i {model}"
        self._workspace = Workspace(f"-d {prepared} {before} {self._options}")
        self._num_examples += round(self._workspace.get_weighted_examples())
        prepared.unlink()

    def scores(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the log odds."""
        workspace = self._workspace or Workspace(self._options)
        pairs = zip(user.tolist(), item.tolist(), strict=True)
        return np.array([workspace.predict(f"|u {u} |i {i}") for u, i in pairs])

    def num_missed(self, work: Work) -> int:
        """Hold the examples that the library has counted against the events'."""
        return work.num_events - self._num_examples // EXAMPLES

    @property
    def num_bytes(self) -> int:
        """The whole table: it is allocated at the start, and of the size asked for."""
        return 4 * self._workspace.num_weights() * self._workspace.get_stride() if self._workspace else 0
