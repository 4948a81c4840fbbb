"""How good at equal bytes: our model under every policy and budget beside the peers, on the same tested events."""

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.benchmarks.streams import DATA, STREAMS

POLICIES: Final = ("uniform", "powerlaw:1", "uniform/powerlaw:1@0.3", "scall", "bandit")
MEAN_SIZES: Final = (2, 4, 8, 16, 32, 64)
"""From an eighth to four times what uniform sizes of 16 need."""
WORLDS: Final = ("stationary", "drift", "churn")


class Extent(NamedTuple):
    """How much is compared."""

    models: str
    policies: tuple[str, ...]
    mean_sizes: tuple[int, ...]
    num_seeds: int
    num_events: int
    sample: float
    """Share of the events that are tested."""


FULL: Final = Extent("all", POLICIES, MEAN_SIZES, 3, 80_000, 0.05)
QUICK: Final = Extent("scall,popularity,cooccurrence", (POLICIES[0], POLICIES[2]), (4, 16), 1, 20_000, 0.1)


def equal_bytes(quick: bool = False) -> Any:
    """Return by stream Recall@20 and NDCG@20 over the last 60 % and bytes of every model, with 95 % intervals."""
    extent = QUICK if quick else FULL
    data = {stream.name: [str(DATA / stream.file), *_mask(stream.exclude_seen)] for stream in STREAMS}
    data |= {world: [f"synthetic:{world}"] for world in WORLDS}
    # Two cores, and nothing here is a measurement of time.
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda arguments: compared(arguments, extent), data.values())
        return dict(zip(data, found, strict=True))


def _mask(exclude_seen: bool) -> list[str]:
    return ["--exclude-seen"] if exclude_seen else []


def compared(data: list[str], extent: Extent) -> dict[str, Any]:
    """Compare all models on a stream, in a process of its own; return a row for each."""
    with tempfile.TemporaryDirectory() as out:
        command = [
            *(sys.executable, "-m", "stream", "compare", *data, "--models", extent.models, "--quiet", "--out", out),
            *("--policies", ",".join(extent.policies), "--mean-sizes", ",".join(map(str, extent.mean_sizes))),
            *("--seeds", str(extent.num_seeds), "--limit", str(extent.num_events), "--window", "5000events"),
            *("--eval-sample", str(extent.sample)),
        ]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        comparison = json.loads(Path(out, "models.json").read_text())
    return {
        "tests": comparison["num_tests"],
        "versions": comparison["versions"],
        "rows": [
            {
                "model": row["model"],
                "variant": row["variant"],
                "bytes": round(row["num_bytes"]),
                "budget_bytes": row["budget_bytes"],
                "recall_at_20": [round(row["recall"][of], 4) for of in ("mean", "low", "high")],
                "ndcg_at_20": [round(row["ndcg"][of], 4) for of in ("mean", "low", "high")],
            }
            for row in comparison["rows"]
        ],
    }
