"""How long a model stands still to be saved in the background, and until it is on the disk."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from numpy.typing import NDArray

from stream.adapters.checkpoint import CheckpointFolder
from stream.adapters.checkpoint_writer import CheckpointWriter
from stream.ports import Checkpoint
from tests.benchmarks.entries import Figures


def saves(arrays: Mapping[str, NDArray[Any]], meta: dict[str, Any], num_saves: int) -> Figures:
    """Save the same state some times; medians by the wall clock, for a thread and a disk are at work."""
    stalls, written = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        CheckpointFolder(Path(folder)) as kept,
        CheckpointWriter(kept, background=True) as writer,
    ):
        writer.reserve(arrays)
        for _ in range(num_saves):
            begin_s = time.perf_counter()
            future = writer.save(Checkpoint(dict(arrays), meta))
            stalls.append(1000 * (time.perf_counter() - begin_s))
            num_bytes = future.result()
            written.append(1000 * (time.perf_counter() - begin_s))
    return {
        "bytes": num_bytes,
        "stall_ms": round(median(stalls), 3),
        "longest_stall_ms": round(max(stalls), 3),
        "durable_after_ms": round(median(written), 1),
    }
