"""A picture of who has which size: sizes by rank against frequencies, for both sides."""

from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stream.core.arena import slots_of
from stream.core.event import ITEM, USER
from stream.core.recommender import Recommender

_SIDES: Final = ((USER, "users"), (ITEM, "items"))


def by_rank(recommender: Recommender, side: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return frequencies (events, decayed) and sizes (words) of a side's entities, most frequent first."""
    begin, end = slots_of(recommender.memory, side)
    slots = recommender.memory.slots[begin:end]
    slots = slots[slots["alive"] == 1]
    order = np.argsort(-slots["slow"], kind="stable")
    frequency = slots["slow"][order].astype(np.float64) / recommender.shared.decay[0]
    return frequency, slots["size"][order].astype(np.int64)


def draw_sizes(recommender: Recommender) -> NDArray[np.uint8]:
    """Return the picture, uint8[360, 960, 3]."""
    figure = Figure(figsize=(9.6, 3.6), dpi=100, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    for (side, name), axes in zip(_SIDES, figure.subplots(1, 2), strict=True):
        frequency, size = by_rank(recommender, side)
        rank = np.arange(1, len(size) + 1)
        axes.step(rank, size, where="mid", color="tab:blue")
        axes.set(title=f"{len(size):,} {name}", xlabel="rank by recent frequency", xscale="log", ylim=(0, None))
        axes.set_ylabel("size (words)", color="tab:blue")
        other: Any = axes.twinx()
        other.step(rank, frequency, where="mid", color="tab:orange")
        other.set_yscale("symlog", linthresh=1.0)
        other.set_ylabel("frequency (events)", color="tab:orange")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
