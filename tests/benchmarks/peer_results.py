"""The README's tables of peers: how fast they learn, what they take under churn, how good they are at what bytes."""

from collections.abc import Iterator
from typing import Final

from tests.benchmarks.entries import Entries, Figures
from tests.benchmarks.protocol import THEIRS
from tests.benchmarks.results import MIB, figures_of
from tests.benchmarks.tables import STREAM_NAMES, Table, short

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


COMPARED: Final = ("ours, plain, uniform", "ours, full, uniform")
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
    """Give a row for each model and budget: Recall@20 and half of its interval by stream; the best is bold."""
    figures = figures_of(entries, "equal_bytes") or {}
    by_stream = {name: {row["model"]: row for row in stream["rows"]} for name, stream in figures.items()}
    models = dict.fromkeys(model for rows in by_stream.values() for model in rows)
    of_ours = (model for model in models if model.startswith(OURS))
    ours = sorted(of_ours, key=lambda model: (_policy(model), -_words(model)))
    best = {
        name: max((row["recall_at_20"][0] for row in rows.values()), default=0.0) for name, rows in by_stream.items()
    }
    for model in [*ours, *sorted(set(models) - set(ours))]:
        cells = (_quality(by_stream.get(name, {}).get(model), best.get(name, 0.0)) for name in QUALITY_STREAMS)
        yield model.replace(OURS, "ours, "), *cells


def _words(model: str) -> int:
    return int(model.rsplit(" at ", 1)[1].split()[0])


def _policy(model: str) -> str:
    return model.removeprefix(OURS).rsplit(" at ", 1)[0]


def _quality(row: Figures | None, best: float) -> str:
    if row is None:
        return ""
    mean, low, high = row["recall_at_20"]
    text = f"{mean:.3f}".removeprefix("0")
    return f"**{text}**" if mean == best else f"{text} ± {(high - low) / 2:.3f}".replace("± 0.", "± .")


QUALITY_STREAMS: Final = ("ml100k", "retail", "movietweetings", "globo", "stationary", "drift", "churn")
EQUAL_BYTES: Final = Table(
    ("Recall@20", *(STREAM_NAMES.get(name, f"`{name}`") for name in QUALITY_STREAMS)),
    ("equal_bytes",),
    at_equal_bytes,
)


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
