"""Tables of quality: beside peers at equal bytes, on whole streams by budget, and with parts of the model left out."""

from collections.abc import Iterable, Iterator
from typing import Final

from stream.adapters.units import bytes_text
from tests.benchmarks.entries import Entries, Figures
from tests.benchmarks.equal_bytes import DEFAULT_PLAN, ORACLE
from tests.benchmarks.quality import ABLATIONS
from tests.benchmarks.results import figures_of
from tests.benchmarks.streams import STREAMS
from tests.benchmarks.tables import Table, stream_name

OURS: Final = "scall "
"""What our rows of a comparison begin with."""


def at_equal_bytes(entries: Entries) -> Iterator[tuple[str, ...]]:
    """Give a row for each model: Recall@20 and half of its interval by stream; the best is bold, but for the oracle's.

    Of ours, uniform sizes and the default plan have a row for each mean size, other policies for :data:`SHOWN_SIZES`.
    """
    figures = figures_of(entries, "equal_bytes") or {}
    by_stream = {name: {row["model"]: row for row in stream["rows"]} for name, stream in figures.items()}
    models = dict.fromkeys(model for rows in by_stream.values() for model in rows)
    of_ours = {model for model in models if model.startswith(OURS)}
    ours = sorted((model for model in of_ours if _is_shown(model)), key=lambda model: (_policy(model), -_words(model)))
    best = {name: _best(rows.values()) for name, rows in by_stream.items()}
    for model in [*ours, *sorted(set(models) - of_ours)]:
        cells = (_quality(by_stream.get(name, {}).get(model), best.get(name, 0.0)) for name in QUALITY_STREAMS)
        yield f"ours, {model.removeprefix(OURS)}" if model in of_ours else model, *cells


SHOWN_SIZES: Final = (4, 16)


def _words(model: str) -> int:
    return int(model.rsplit(" at ", 1)[1].split()[0])


def _policy(model: str) -> str:
    return model.removeprefix(OURS).rsplit(" at ", 1)[0]


def _is_shown(model: str) -> bool:
    return _words(model) in SHOWN_SIZES or _policy(model) in ("uniform", DEFAULT_PLAN)


def _best(rows: Iterable[Figures]) -> float:
    return max((float(row["recall_at_20"][0]) for row in rows if row["model"] != ORACLE), default=0.0)


def _quality(row: Figures | None, best: float) -> str:
    if row is None:
        return ""
    mean, low, high = row["recall_at_20"]
    text = _three_digits(mean)
    return f"**{text}**" if mean == best else f"{text} ± {(high - low) / 2:.3f}".replace("± 0.", "± .")


QUALITY_STREAMS: Final = ("ml100k", "retail", "movietweetings", "globo", "stationary", "drift", "churn")
_STREAM_HEADER: Final = tuple(stream_name(name) for name in QUALITY_STREAMS)
EQUAL_BYTES: Final = Table(("Recall@20", *_STREAM_HEADER), ("equal_bytes",), at_equal_bytes)


def by_peer(entries: Entries) -> Iterator[tuple[str, ...]]:
    """Give a row for each peer: its recall and bytes by stream, then what the default plan recalls in as many.

    Ours is bold where it is worse.
    """
    figures = figures_of(entries, "equal_bytes") or {}
    pairs = {name: peers_of(stream) for name, stream in figures.items()}
    for peer in sorted({peer for of_stream in pairs.values() for peer in of_stream}):
        yield peer, *(_beside(*pairs.get(name, {}).get(peer, (None, None))) for name in QUALITY_STREAMS)


def peers_of(stream: Figures) -> dict[str, tuple[Figures, Figures | None]]:
    """Return by peer its row on a stream and ours in as many bytes; None where those are too few for a budget."""
    peers = (row for row in stream["rows"] if not row["model"].startswith(OURS) and row["model"] != ORACLE)
    return {row["model"]: (row, stream["in_peers_bytes"].get(row["model"])) for row in peers}


def _beside(peer: Figures | None, ours: Figures | None) -> str:
    if peer is None:
        return ""
    told = f"{recall_text(peer)} in {bytes_text(peer['bytes'])}"
    return f"{told}; {recall_text(ours, peer)}" if ours else told


def recall_text(row: Figures, peer: Figures | None = None) -> str:
    """Return a row's Recall@20; bold where that is less than a peer's.

    >>> recall_text({"recall_at_20": [0.3017, 0.29, 0.31]}, {"recall_at_20": [0.31, 0.3, 0.32]})
    '**.302**'
    """
    recall = row["recall_at_20"][0]
    text = _three_digits(recall)
    return f"**{text}**" if peer is not None and recall < peer["recall_at_20"][0] else text


BY_PEER: Final = Table(("peer; ours in as many bytes", *_STREAM_HEADER), ("equal_bytes",), by_peer)


def by_budget(entries: Entries) -> Iterator[tuple[str, ...]]:
    """Give a row for each whole stream: popularity, what trials had without a budget, and plans by mean size."""
    figures = figures_of(entries, "quality") or {}
    for name, of_stream in figures.items():
        plans = [of_stream[plan] for plan in PLANS]
        cells = [_three_digits(plans[0]["popularity_recall_at_20"]), _three_digits(of_stream["target_at_16"])]
        cells += [_both(plan) for plan in plans]
        budgets = " / ".join(bytes_text(plan["budget_bytes"]) for plan in plans[::2])
        yield stream_name(name), *cells, budgets


PLANS: Final = ("uniform at 16", "powerlaw:1 at 16", "uniform at 4", "powerlaw:1 at 4")
BY_BUDGET: Final = Table(
    (
        "Recall@20 / NDCG@20",
        "popularity",
        "trials, 16",
        *("uniform, 16", "power law, 16", "uniform, 4", "power law, 4"),
        "budget, 16 / 4",
    ),
    ("quality",),
    by_budget,
)


def ablations(entries: Entries) -> Iterator[tuple[str, ...]]:
    """Give a row for each part of the model that is left out."""
    figures = figures_of(entries, "ablations") or {}
    for part in ABLATIONS if figures else ():
        cells = (figures.get(stream.name, {}).get(part) for stream in STREAMS)
        yield part, *("" if row is None else _both(row) for row in cells)


ABLATED: Final = Table(
    ("Recall@20 / NDCG@20", *(stream_name(stream.name) for stream in STREAMS)), ("ablations",), ablations
)


def _both(row: Figures) -> str:
    return f"{_three_digits(row['recall_at_20'])} / {_three_digits(row['ndcg_at_20'])}"


def _three_digits(quality: float) -> str:
    return f"{quality:.3f}".removeprefix("0")
