"""The streams that figures are measured on, decoded once, and models sized for them."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simulators.datasets import open_dataset
from simulators.synthetic import open_world
from simulators.ties import TieShuffled
from stream.config import Memory, Settings, make_settings
from stream.core.event import EventBatch
from stream.core.memory import budget_for
from stream.ports import Source

DATA = Path(__file__).parents[3] / "shared" / "data"


class Stream(NamedTuple):
    """A real stream, and how it is replayed."""

    name: str
    file: str
    limit: int | None
    exclude_seen: bool
    target: float
    """Recall@20 at mean size 16 over the last 80 %, as the trials had it."""


STREAMS = (
    Stream("ml100k", "ml100k.csv.gz", None, True, 0.328),
    Stream("retail", "online_retail_uci.csv.gz", 200_000, False, 0.175),
    Stream("movietweetings", "movietweetings_142k.csv.gz", None, True, 0.317),
    Stream("globo", "globo_news_clicks_first1m.csv.gz", 400_000, False, 0.796),
)


class Shape(NamedTuple):
    """What a stream holds in all."""

    num_users: int
    num_items: int
    id_bytes: int
    num_events: int


@cache
def events_of(name: str, limit: int | None = None) -> EventBatch:
    """Return a whole stream as one batch: a real one by name, or ``synthetic:NAME``; ties shuffled."""
    if name.startswith("synthetic:"):
        source: Source = open_world(name.removeprefix("synthetic:"), 1, limit)
    else:
        stream = next(stream for stream in STREAMS if stream.name == name)
        source = TieShuffled(open_dataset(DATA / stream.file, None, limit or stream.limit), 1)
    polls = []
    while (poll := source.poll()) is not None:
        polls.append(poll.events)
    return join(polls)


def join(batches: list[EventBatch]) -> EventBatch:
    """Return several batches as one."""
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(batch, name) for batch in batches]) for name in EventBatch._fields
    }
    shifts = np.cumsum([0] + [len(batch.item_data) for batch in batches[:-1]])
    columns["item_start"] = np.concatenate(
        [batch.item_start + shift for batch, shift in zip(batches, shifts, strict=True)]
    )
    return EventBatch(**columns)


def shape_of(events: EventBatch) -> Shape:
    """Count what a stream holds."""
    items, first = np.unique(events.item, return_index=True)
    id_bytes = int(np.ceil(events.item_length[first].mean()))
    return Shape(len(np.unique(events.user)), len(items), id_bytes, events.num_events)


def sized_settings(shape: Shape, *, item_size: int, user_size: int, pairs: bool = False, **values: Any) -> Settings:
    """Return settings whose budget gives every user and item of the stream the sizes asked for, and no byte more.

    Where an item may be taken again, the filter of pairs taken has its share of the same budget, at the users' cost.
    """
    num_pairs = shape.num_events if pairs else 0
    budget = budget_for(shape.num_users, shape.num_items, user_size, item_size, shape.id_bytes, num_pairs)
    of_items = shape.num_items * item_size
    payload = shape.num_users * user_size + of_items
    if not pairs:
        payload -= round(budget * float(values.get("memory__seen_share", Memory().seen_share))) // 4
    return make_settings(
        {
            "memory.budget_bytes": budget,
            # Neither side may take the last sixteenth of the slots from the other.
            "memory.max_entities": round(1.07 * (shape.num_users + shape.num_items)) + 64,
            **({"memory.seen_share": 4 * num_pairs / budget} if pairs else {}),
            "exclude_seen": pairs,
            "users_share": max(0.05, 1 - of_items / max(payload, 1)),
            "sizes.user_max": user_size,
            "sizes.item_max": item_size,
            **{name.replace("__", "."): value for name, value in values.items()},
        }
    )
