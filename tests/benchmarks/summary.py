"""The README's first table: each thing that is claimed, beside what it is held against, a row each."""

from collections.abc import Callable, Iterator
from typing import Final

from stream.adapters.units import bytes_text
from tests.benchmarks.entries import Entries, Figures
from tests.benchmarks.equal_bytes import DEFAULT_PLAN
from tests.benchmarks.protocol import THEIRS
from tests.benchmarks.quality_results import QUALITY_STREAMS, peers_of, recall_text
from tests.benchmarks.results import MIB
from tests.benchmarks.tables import NOT_MEASURED, Goals, Table, duration, percent, short, stream_name

Cells = tuple[str, str, str]
K: Final = 16
"""The embedding size that speeds are told for."""
SETTINGS: Final = {
    "ours, plain, uniform": "one negative, as the peers",
    "ours, full, uniform": "the full model, 52 negatives",
}


def worse(text: str, *, if_so: bool) -> str:
    """Mark a cell as worse than what it is held against."""
    return f"**{text}**" if if_so else text


def learning(figures: Figures) -> Iterator[Cells]:
    """Give a row for each setting: events a second of one core, and how many times as many as each peer."""
    rates = {row["name"]: row for row in figures["rows"] if row["k"] == K and row["batch"] == 1}
    ratios = next(row for row in figures["ratios"] if row["k"] == K)
    for ours, setting in SETTINGS.items():
        times = {_at_batch(peer): told[ours] for peer, told in ratios.items() if peer != "k"}
        slower = any(ratio is not None and ratio < 1 for ratio in times.values())
        told = ", ".join(
            f"{peer} not installed" if ratio is None else f"{ratio:.3g} x {peer}" for peer, ratio in times.items()
        )
        rate = worse(short(rates[ours]["events_per_s"]), if_so=slower)
        yield f"events learnt a second and core, size {K}, {setting}", rate, told


def _at_batch(peer: str) -> str:
    name, _, batch = peer.partition(" at ")
    return f"{name} in batches of {batch}" if batch.isdigit() and int(batch) > 1 else name


def memory(figures: Figures) -> Iterator[Cells]:
    """Give the row of what resident memory grows by while ids keep coming."""
    rows = [row for row in figures["rows"] if row.get("late_growth_bytes_per_million_events") is not None]
    growth = {row["name"]: row["late_growth_bytes_per_million_events"] / MIB for row in rows}
    ours = growth.pop("ours")
    what = f"growth of resident memory a million events of new ids, second half of {short(figures['events'])}"
    told = ", ".join(f"{mib:+.1f} MiB {name}" for name, mib in growth.items())
    yield what, worse(f"{ours:+.1f} MiB", if_so=ours > min(growth.values(), default=ours)), told


def quality(figures: Figures) -> Iterator[Cells]:
    """Give a row for each stream: the best peer, and the default plan in as many bytes."""
    for name in QUALITY_STREAMS:
        if name not in figures:
            continue
        pairs = peers_of(figures[name]).values()
        peer, ours = max(pairs, key=lambda pair: float(pair[0]["recall_at_20"][0]))
        told = f"{recall_text(peer)}, {peer['model']}, the best peer"
        what = f"Recall@20, {stream_name(name)}, in {bytes_text(peer['bytes'])}"
        yield what, recall_text(ours, peer) if ours else "**no budget so small**", told


def protocol(figures: Figures) -> Iterator[Cells]:
    """Give the row of SCALL's own protocol."""
    ours = [row for row in figures["rows"] if row["model"].startswith("scall")]
    row = next((row for row in ours if row["model"].endswith(DEFAULT_PLAN)), ours[0])
    recall, ndcg = row["recall_at_20"][0], row["ndcg_at_20"][0]
    their_recall, their_ndcg, their_seconds = next(iter(THEIRS.values()))
    text = f"{recall:.4f} / {ndcg:.4f} in {row['seconds']:.1f} s"
    told = f"their released code {their_recall:.4f} / {their_ndcg:.4f} in {their_seconds:,.0f} s"
    popular = next((row for row in figures["rows"] if row["model"] == "popularity"), None)
    if popular:
        told += f", popularity {popular['recall_at_20'][0]:.4f} / {popular['ndcg_at_20'][0]:.4f}"
    lost = recall < their_recall or ndcg < their_ndcg
    yield "Recall@20 / NDCG@20 under SCALL's own protocol", worse(text, if_so=lost), told


def reliability(figures: Figures) -> Iterator[Cells]:
    """Give the rows of the kills, and of the records that cannot be used."""
    kills, letters = figures["kills"], figures.get("dead_letters", {}).values()
    text = f"{kills['lost']} lost, {kills['doubled']} doubled"
    wrong = bool(kills["lost"] + kills["doubled"] + len(kills["complaints"]))
    yield f"events after {kills['kills']} kill -9", worse(text, if_so=wrong), "goal 0"
    if letters:
        written, lost, doubled = (sum(tally[of] for tally in letters) for of in ("written", "lost", "doubled"))
        text = f"{lost} lost, {doubled} doubled"
        yield f"{written:,} records that cannot be used, meanwhile", worse(text, if_so=lost + doubled > 0), "goal 0"


def kafka(figures: Figures, goals: Goals) -> Iterator[Cells]:
    """Give the rows of the service on a broker."""
    for client, held, against in (
        ("kafka_python", "bare_poll_per_s", "a bare poll loop"),
        ("librdkafka", "file_per_s", "a replay from a file"),
    ):
        found = figures[client]
        text = f"{short(found['service_per_s'])}, {percent(found['ratio'])}"
        told = f"{against}: {short(found[held])}; goal {percent(goals[client])}"
        name = client.replace("_", "-")
        yield f"records learnt a second over {name}", worse(text, if_so=found["ratio"] < goals[client]), told
    late_ms = figures["freshness"]["p99_ms"]
    text = worse(f"{late_ms:.0f} ms", if_so=late_ms > goals["p99_ms"])
    yield "from written to learnt, p99", text, f"goal {goals['p99_ms']:g} ms"


def scaling(figures: Figures) -> Iterator[Cells]:
    """Give the row of an event with few entities and with many."""
    first, last = figures["points"][0], figures["points"][-1]
    text = f"{duration(first['event_s'])}, {duration(last['event_s'])}"
    what = f"an event, with {short(first['entities'])} entities and with {short(last['entities'])}"
    sizes = f"{first['bytes_per_entity']:.0f} and {last['bytes_per_entity']:.0f} bytes an entity"
    yield what, text, f"exponent {figures['exponents']['event_s']:.2f}; {sizes}"


PARTS: Final[dict[str, Callable[[Figures, Goals], Iterator[Cells]]]] = {
    "learning_peers": lambda figures, _: learning(figures),
    "memory_under_churn": lambda figures, _: memory(figures),
    "equal_bytes": lambda figures, _: quality(figures),
    "scall_protocol": lambda figures, _: protocol(figures),
    "reliability": lambda figures, _: reliability(figures),
    "kafka": kafka,
    "scaling": lambda figures, _: scaling(figures),
}


def summary(entries: Entries) -> Iterator[Cells]:
    """Give the rows of every benchmark in turn; one that has no figures says so."""
    for name, part in PARTS.items():
        entry = entries.get(name)
        if entry is None or entry.figures is None:
            yield f"`{name}`", f"{NOT_MEASURED}: {entry.why}" if entry else NOT_MEASURED, ""
        else:
            yield from part(entry.figures, entry.goals)


SUMMARY: Final = Table(("what", "ours", "held against"), tuple(PARTS), summary)
