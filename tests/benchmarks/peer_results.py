"""The README's tables of peers: how fast they learn, what they take under churn, how good they are at what bytes."""

from collections.abc import Iterable, Iterator
from typing import Final

from stream.adapters.units import bytes_text
from tests.benchmarks.entries import Entries, Figures
from tests.benchmarks.equal_bytes import DEFAULT_PLAN, ORACLE
from tests.benchmarks.protocol import THEIRS
from tests.benchmarks.results import MIB, figures_of
from tests.benchmarks.tables import Table, short, stream_name

OURS: Final = "scall "
"""What our rows of a comparison begin with."""


def speeds(entries: Entries) -> Iterator[tuple[str, ...]]:
    """Give a row for each learner and batch: events a second by embedding size, the lowest and highest in brackets."""
    figures = figures_of(entries, "learning_peers") or {"rows": []}
    rows = figures["rows"]
    for name, batch in dict.fromkeys((row["name"], row["batch"]) for row in rows):
        of = {row["k"]: row for row in rows if (row["name"], row["batch"]) == (name, batch)}
        one = next(iter(of.values()))
        yield f"{name} {one.get('version', '')}".strip(), str(batch), *(_rate(of.get(k)) for k in SIZES)


def _rate(row: Figures | None) -> str:
    if row is None:
        return ""
    if "missing" in row:
        return str(row["missing"])
    return f"{short(row['events_per_s'])} ({short(row['low'])}-{short(row['high'])})"


SIZES: Final = (8, 16, 64)
SPEEDS: Final = Table(("events a second", "batch", *(f"k = {k}" for k in SIZES)), ("learning_peers",), speeds)


def ratios(entries: Entries) -> Iterator[tuple[str, ...]]:
    """Give a row for each peer with a goal: how many times as many events ours learns; a miss is bold."""
    figures = figures_of(entries, "learning_peers") or {"ratios": []}
    by_size = {row["k"]: row for row in figures["ratios"]}
    for peer in [name for name in next(iter(by_size.values()), {}) if name != "k"]:
        goal = next(iter(by_size.values()))[peer]["goal"]
        for ours in COMPARED:
            found = [by_size[k][peer][ours] for k in SIZES]
            yield f"{ours}, over {peer}", f"{goal:g} x", *(_times(times, goal) for times in found)


def _times(times: float | None, goal: float) -> str:
    if times is None:
        return "not installed"
    return f"{times:g} x" if times >= goal else f"**{times:g} x**"


COMPARED: Final = ("ours, plain, uniform", "ours, plain, elastic", "ours, full, uniform", "ours, full, elastic")
RATIOS: Final = Table(("times as fast", "goal", *(f"k = {k}" for k in SIZES)), ("learning_peers",), ratios)


def memory(entries: Entries) -> Iterator[tuple[str, ...]]:
    """Give a row for each learner under churn."""
    figures = figures_of(entries, "memory_under_churn") or {"rows": []}
    for row in figures["rows"]:
        if "missing" in row:
            yield row["name"], row["missing"], "", "", ""
            continue
        learnt = short(row["events_learnt"]) + (f", stopped {row['stopped']}" if row["stopped"] else "")
        model, resident = (f"{row[name] / MIB:.0f} MiB" for name in ("model_bytes", "resident_bytes"))
        growth = row["late_growth_bytes_per_million_events"]
        late = "" if growth is None else f"{growth / MIB:+.1f} MiB"
        yield f"{row['name']} {row['version']}", learnt, model, resident, late


MEMORY: Final = Table(
    ("under churn", "events learnt", "model", "resident", "growth a million events, second half"),
    ("memory_under_churn",),
    memory,
)


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
    text = f"{mean:.3f}".removeprefix("0")
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
    text = f"{recall:.3f}".removeprefix("0")
    return f"**{text}**" if peer is not None and recall < peer["recall_at_20"][0] else text


BY_PEER: Final = Table(("peer; ours in as many bytes", *_STREAM_HEADER), ("equal_bytes",), by_peer)


def protocol(entries: Entries) -> Iterator[tuple[str, ...]]:
    """Give a row for each model under SCALL's protocol, then those of their code; ours is bold where it misses."""
    entry = entries.get("scall_protocol")
    if entry is None or entry.figures is None:
        return
    for row in entry.figures["rows"]:
        is_ours = row["model"].startswith("scall")
        values = {"recall_at_20": row["recall_at_20"][0], "ndcg_at_20": row["ndcg_at_20"][0]}
        missed = any(values[name] < entry.goals[name] for name in values) or row["seconds"] > entry.goals["seconds"]
        name = ("ours" + row["model"].removeprefix("scall")).replace("ours ", "ours, ") if is_ours else row["model"]
        told = (*(_interval(row[of]) for of in values), f"{row['seconds']:.1f} s")
        yield name, *(f"**{text}**" if is_ours and missed else text for text in told)
    for name, (recall, ndcg, seconds) in THEIRS.items():
        yield name, f"{recall:.4f}", f"{ndcg:.4f}", f"{seconds:,.0f} s"


def _interval(quality: list[float]) -> str:
    mean, low, high = quality
    return f"{mean:.4f} ± {(high - low) / 2:.4f}"


PROTOCOL: Final = Table(("SCALL's protocol", "Recall@20", "NDCG@20", "a run"), ("scall_protocol",), protocol)
