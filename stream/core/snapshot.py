"""A model that does not change: what requests are answered from."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core.memory import Memory
from stream.core.model import Hyper, Shared

Reason = Literal["personal", "popular", "cold"]
"""Why a user gets these items: known by history or coordinates; known, but with no words of its own; not known."""


class Scored(NamedTuple):
    """An item and what speaks for it, in no unit: comparable within one answer only."""

    item: str
    score: float


class Recommendations(NamedTuple):
    """An answer, best item first."""

    items: list[Scored]
    reason: Reason


def memory_and_shared(arrays: Mapping[str, NDArray[Any]]) -> tuple[Memory, Shared]:
    """Return a model's state from its arrays by name, as :meth:`stream.core.recommender.Recommender.state` has them."""
    memory = {name.removeprefix("memory."): array for name, array in arrays.items() if name.startswith("memory.")}
    shared = {name.removeprefix("shared."): array for name, array in arrays.items() if name.startswith("shared.")}
    scratch = np.zeros((4, 1), np.int32)  # TODO(H2)
    return Memory(**memory, words=memory["arena"].view(np.int32), scratch=scratch), Shared(**shared)


class Snapshot:
    """Answers from the state of one instant."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], hyper: Hyper) -> None:
        self.memory, self.shared = memory_and_shared(arrays)
        self.hyper = hyper
