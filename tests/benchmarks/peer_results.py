"""Tables of peers: how fast they learn, what they take under churn, how good they are under SCALL's protocol."""

from collections.abc import Iterator
from typing import Final

from tests.benchmarks.entries import Entries, Figures
from tests.benchmarks.protocol import THEIRS
from tests.benchmarks.results import MIB, figures_of
from tests.benchmarks.tables import Table, short


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
