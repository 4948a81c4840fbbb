"""How good at equal bytes: our model under every policy and budget beside the peers, on the same tested events."""

import json
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

from agents.catalogue import NAMES
from stream.adapters.units import bytes_text
from stream.config import make_settings
from tests.benchmarks.runs import run_scall
from tests.benchmarks.streams import DATA, STREAMS

Row = dict[str, Any]
DEFAULT_PLAN: Final = make_settings({}).policy
"""The default policy: what peers are held against, for it is no choice in hindsight."""
POLICIES: Final = (DEFAULT_PLAN, *(name for name in NAMES if ":" not in name))
MEAN_SIZES: Final = (2, 4, 8, 16, 32, 64)
"""From an eighth to four times what uniform sizes of 16 need."""
WORLDS: Final = ("stationary", "drift", "churn")
ORACLE: Final = "oracle"
"""Who knows a world's truth; no peer."""
LEAST_BYTES: Final = 2**16
"""Peers of fewer bytes (popularity) have no budget of ours beside them: it would hold next to nobody."""


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
QUICK: Final = Extent("scall,popularity,cooccurrence", ("uniform", DEFAULT_PLAN), (4, 16), 1, 20_000, 0.1)


def equal_bytes(quick: bool = False) -> Any:
    """Return by stream Recall@20 and NDCG@20 over the last 60 % and bytes of every model, with 95 % intervals.

    ``in_peers_bytes`` is the default plan once more, under budgets of exactly what each peer takes.
    """
    extent = QUICK if quick else FULL
    data = {stream.name: [str(DATA / stream.file), *_mask(stream.exclude_seen)] for stream in STREAMS}
    data |= {world: [f"synthetic:{world}"] for world in WORLDS}
    # Two cores, and nothing here is a measurement of time.
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda arguments: beside_peers(arguments, extent), data.values())
        return dict(zip(data, found, strict=True))


def _mask(exclude_seen: bool) -> list[str]:
    return ["--exclude-seen"] if exclude_seen else []


def beside_peers(data: list[str], extent: Extent) -> dict[str, Any]:
    """Compare all models on a stream: ours by mean size, and in each peer's bytes."""
    sizes = ("--mean-sizes", ",".join(map(str, extent.mean_sizes)))
    found = compared(data, extent, "--models", extent.models, "--policies", ",".join(extent.policies), *sizes)
    peers = [row for row in found["rows"] if row["budget_bytes"] is None and row["model"] != ORACLE]
    budgets = budgets_of(row["bytes"] for row in peers)
    named = ",".join(map(str, sorted(set(budgets.values()))))
    again = compared(data, extent, "--models", "scall", "--policies", DEFAULT_PLAN, "--budgets", named)
    by_budget = {row["budget_bytes"]: row for row in again["rows"]}
    within = {row["model"]: by_budget[budgets[row["bytes"]]] for row in peers if row["bytes"] in budgets}
    return {**found, "in_peers_bytes": within}


def budgets_of(sizes: Iterable[int]) -> dict[int, int]:
    """Return a budget for each number of bytes, no larger; those that read alike have one.

    >>> budgets_of([1_248_000, 11_552, 1_247_900, 2**20])
    {1048576: 1048576, 1247900: 1247900, 1248000: 1247900}
    """
    least: dict[str, int] = {}
    return {size: least.setdefault(bytes_text(size), size) for size in sorted(sizes) if size >= LEAST_BYTES}


def compared(data: list[str], extent: Extent, *models: str) -> dict[str, Any]:
    """Compare models on a stream, in a process of its own; return a row for each."""
    with tempfile.TemporaryDirectory() as out:
        extents = ("--seeds", str(extent.num_seeds), "--limit", str(extent.num_events))
        tests = ("--window", "5000events", "--eval-sample", str(extent.sample))
        run_scall("compare", *data, *models, *extents, *tests, "--quiet", "--out", out)
        comparison = json.loads(Path(out, "models.json").read_text())
    return {
        "tests": comparison["num_tests"],
        "versions": comparison["versions"],
        "rows": [_row_of(row) for row in comparison["rows"]],
    }


def _row_of(row: Row) -> Row:
    return {
        "model": row["model"],
        "variant": row["variant"],
        "bytes": round(row["num_bytes"]),
        "budget_bytes": row["budget_bytes"],
        "recall_at_20": [round(row["recall"][of], 4) for of in ("mean", "low", "high")],
        "ndcg_at_20": [round(row["ndcg"][of], 4) for of in ("mean", "low", "high")],
    }
