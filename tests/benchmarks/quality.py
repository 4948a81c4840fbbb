"""How good: recall at mean size 16 on the real streams, uniform and elastic, the whole loop under one budget."""

import json
import tempfile
from pathlib import Path
from typing import Any

from stream.__main__ import main
from stream.config import Settings
from tests.benchmarks.streams import DATA, STREAMS, Stream, events_of, shape_of, sized_settings

WARM_SHARE = 0.2
"""Figures are of the rest of a stream, as in the trials."""


def quality(policies: tuple[str, ...] = ("uniform", "powerlaw:1"), item_sizes: tuple[int, ...] = (16, 4)) -> Any:
    """Return Recall@20 over the last 80 % of each stream by policy and mean item size."""
    out: dict[str, Any] = {}
    for stream in STREAMS:
        shape = shape_of(events_of(stream.name))
        rows: dict[str, Any] = {"target_at_16": stream.target}
        for item_size in item_sizes:
            for policy in policies:
                settings = sized_settings(
                    shape,
                    item_size=item_size,
                    user_size=24 if item_size >= 16 else 8,
                    pairs=stream.exclude_seen,
                    policy=policy,
                    sizes__item_max=item_size if policy == "uniform" else 2 * item_size,
                )
                rows[f"{policy} at {item_size}"] = replayed(stream, settings, shape.num_events)
        out[stream.name] = rows
    return out


def replayed(stream: Stream, settings: Settings, num_events: int, eval_sample: float = 0.1) -> dict[str, Any]:
    """Replay a stream through the command line; return its figures after the warm part."""
    memory, sizes = settings.memory, settings.sizes
    values = {
        "memory.max_entities": memory.max_entities,
        "memory.seen_share": memory.seen_share,
        "sizes.item_max": sizes.item_max,
        "sizes.user_max": sizes.user_max,
    }
    with tempfile.TemporaryDirectory() as out:
        arguments = [
            *("replay", str(DATA / stream.file), "--quiet", "--out", out, "--policy", settings.policy),
            *("--budget", str(memory.budget_bytes), "--users-share", str(settings.users_share)),
            *("--window", f"{num_events // 20}events", "--eval-sample", str(eval_sample)),
            *(["--limit", str(stream.limit)] if stream.limit else []),
            *(["--exclude-seen"] if stream.exclude_seen else []),
            *(word for name, value in values.items() for word in ("--set", f"{name}={value}")),
        ]
        status = main(arguments)
        assert status == 0, arguments
        report = json.loads((Path(out) / "report.json").read_text())
    warm = [window for window in report["windows"] if window["index"] >= 20 * WARM_SHARE]
    evaluated = sum(window["evaluated"] for window in warm)

    def mean(name: str) -> float:
        return round(sum(window[name] * window["evaluated"] for window in warm) / evaluated, 4)

    recall = mean("recall_at_20")
    return {
        "recall_at_20": recall,
        "standard_error": round((recall * (1 - recall) / evaluated) ** 0.5, 4),
        "ndcg_at_20": mean("ndcg_at_20"),
        "popularity_recall_at_20": mean("popularity_recall_at_20"),
        "budget_bytes": report["budget_bytes"],
        "mean_item_size": round(report["item_sizes"]["mean"], 1),
        "evictions": report["evictions"],
        "violations": report["violations"],
    }
