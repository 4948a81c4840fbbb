"""How good: recall at mean size 16 on the real streams, uniform and elastic, the whole loop under one budget."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stream.__main__ import main
from stream.config import Settings
from tests.benchmarks.streams import DATA, STREAMS, Stream, events_of, shape_of, sized_settings

WARM_SHARE = 0.2
"""Figures are of the rest of a stream, as in the trials."""


def quality(quick: bool = False) -> Any:
    """Return Recall@20 over the last 80 % of each stream by policy and mean item size; quick: of one stream."""
    out: dict[str, Any] = {}
    for stream in STREAMS[:1] if quick else STREAMS:
        shape = shape_of(events_of(stream.name))
        rows: dict[str, Any] = {"target_at_16": stream.target}
        for item_size in (16, 4):
            for policy in ("uniform", "powerlaw:1"):
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


ABLATIONS: dict[str, dict[str, Any]] = {
    "all of it": {},
    "16 places of history": {"model.history": 16},
    "no history": {"model.history": 0},
    "no popularity": {"model.prior": False},
    "pauses weigh nothing": {"model.rate_gate": 0},
    "newcomers are like anyone": {"model.rate_newcomer": 0},
    "repeats weigh nothing": {"model.rate_repeat": 0},
    "no filter of what was taken": {"memory.seen_share": 0},
    "no uniform negatives": {"model.negatives_uniform": 0},
    "new items know no context": {"model.initial_context": 0},
    "users without coordinates": {"sizes.user_max": 8},
    "resized every 20,000 events": {"sizes.resize_every_events": 20_000},
}
"""What is taken out of the model, one at a time."""


def ablations(quick: bool = False) -> Any:
    """Return Recall@20 over the last 80 % of each stream with each part of the model left out, in the same bytes."""
    out: dict[str, Any] = {}
    for stream in STREAMS[:1] if quick else STREAMS:
        shape = shape_of(events_of(stream.name))
        settings = sized_settings(shape, item_size=16, user_size=24, pairs=stream.exclude_seen)
        out[stream.name] = {
            name: replayed(stream, settings, shape.num_events, changes=changes)
            for name, changes in ABLATIONS.items()
            # Where it hides, there has to be a filter.
            if not (stream.exclude_seen and "memory.seen_share" in changes)
        }
    return out


def replayed(
    stream: Stream,
    settings: Settings,
    num_events: int,
    eval_sample: float = 0.1,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Replay a stream through the command line; return its figures after the warm part.

    ``changes`` are other settings, by dotted name.
    """
    memory, sizes = settings.memory, settings.sizes
    values = {
        "memory.max_entities": memory.max_entities,
        "memory.seen_share": memory.seen_share,
        "sizes.item_max": sizes.item_max,
        "sizes.user_max": sizes.user_max,
        **changes,
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
