"""Tables in Markdown from the entries of benchmarks: what was measured, and what it was held against."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from tests.benchmarks.entries import Entries, Entry, Figures, Machine

Goals = Mapping[str, float]
STREAM_NAMES = {
    "ml100k": "MovieLens",
    "retail": "online retail",
    "movietweetings": "film tweets",
    "globo": "news",
}


def stream_name(name: str) -> str:
    """Return what a stream is called in a table.

    >>> stream_name("globo"), stream_name("churn")
    ('news', '`churn`')
    """
    return STREAM_NAMES.get(name, f"`{name.removeprefix('synthetic:')}`")


NOT_MEASURED = "not measured"


class Told(NamedTuple):
    """What was measured, in words, whether that misses a goal, and what there is to say beside it."""

    text: str
    missed: bool = False
    more: str = ""


class Row(NamedTuple):
    """A row: what, the goal in words, and what was measured, from one benchmark's goals and figures."""

    what: str
    benchmark: str
    goal: Callable[[Goals], str]
    measured: Callable[[Figures, Goals], Told]


class Table(NamedTuple):
    """A table of a header and rows of cells; ``benchmarks`` are those it is made from."""

    header: tuple[str, ...]
    benchmarks: tuple[str, ...]
    rows: Callable[[Entries], Iterable[tuple[str, ...]]]


def table_with_goals(first: str, rows: Iterable[Row]) -> Table:
    """Return a table of what, goal and measured; what misses its goal is bold."""
    rows = tuple(rows)
    return Table(
        (first, "goal", "measured"),
        tuple(dict.fromkeys(row.benchmark for row in rows)),
        lambda entries: [_cells(row, entries.get(row.benchmark)) for row in rows],
    )


def _cells(row: Row, entry: Entry | None) -> tuple[str, ...]:
    if entry is None:
        return row.what, "", NOT_MEASURED
    goal = row.goal(entry.goals)
    if entry.figures is None:
        return row.what, goal, f"{NOT_MEASURED}: {entry.why}"
    told = row.measured(entry.figures, entry.goals)
    text = f"**{told.text}**" if told.missed else told.text
    return row.what, goal, f"{text} {told.more}".strip()


def markdown(table: Table, entries: Entries) -> list[str]:
    """Return a table's lines, and where and when it was measured below them."""
    lines = [table.header, ("---",) * len(table.header), *table.rows(entries)]
    text = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    text[1] = text[1].replace(" ", "")
    return [*text, "", provenance(entries[name] for name in table.benchmarks if name in entries)]


def provenance(entries: Iterable[Entry]) -> str:
    """Say when, on what and of which commits figures were measured.

    >>> provenance([])
    'Nothing was measured.'
    """
    found = [entry for entry in entries if entry.figures is not None]
    if not found:
        return "Nothing was measured."
    days = sorted({entry.measured_at[:10] for entry in found})
    commits = sorted({entry.commit or "not noted" for entry in found})
    machines = sorted({_machine_text(entry.machine) for entry in found})
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    plural = "s" if len(commits) > 1 else ""
    return f"Measured {span}, commit{plural} {', '.join(commits)}, on {'; '.join(machines)}."


def _machine_text(machine: Machine | None) -> str:
    if machine is None:
        return "a machine not noted"
    cores = f"{machine.cores} cores" if machine.cores else "cores not noted"
    memory = f", {machine.memory_gib:.0f} GiB" if machine.memory_gib else ""
    return f"{machine.processor or 'a processor not noted'}, {cores}{memory}, Python {machine.python}"


def short(number: float) -> str:
    """Return a number in thousands or millions, with the digits that matter.

    >>> short(295_469), short(42_538), short(26_397_132), short(2_500_000), short(914)
    ('295 k', '42.5 k', '26 M', '2.5 M', '914')
    """
    if number >= 999_500:
        millions = number / 1e6
        return f"{millions:.0f} M" if millions >= 10 else f"{millions:.2g} M"
    return f"{number / 1000:.3g} k" if number >= 1000 else f"{number:.3g}"


def duration(seconds: float) -> str:
    """Return a length of time, however short.

    >>> duration(5.8e-6), duration(0.0176), duration(2.5)
    ('5.8 us', '17.6 ms', '2.5 s')
    """
    units = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
    unit, name = next((pair for pair in units if seconds >= 0.9995 * pair[0]), units[-1])
    return f"{seconds / unit:.3g} {name}"


def counted(num: int, thing: str) -> str:
    """Return a number of things.

    >>> counted(1, "kill"), counted(0, "kill")
    ('1 kill', '0 kills')
    """
    return f"{num} {thing}{'' if num == 1 else 's'}"


def percent(share: float) -> str:
    """Return a share as a whole percentage.

    >>> percent(0.581)
    '58 %'
    """
    return f"{100 * share:.0f} %"


def by_stream(values: Mapping[str, float], text: Callable[[float], str]) -> str:
    """Return values with the names of their streams, the largest first.

    >>> by_stream({"ml100k": 0.5, "globo": 0.75}, str)
    '0.75 news, 0.5 MovieLens'
    """
    order = sorted(values, key=lambda name: -values[name])
    return ", ".join(f"{text(values[name])} {stream_name(name)}" for name in order)


def span(values: Iterable[float]) -> str:
    """Return the lowest and the highest of some numbers, rounded to millions.

    >>> span([10.3e6, 17.9e6]), span([4.1e6])
    ('10-18 M', '4 M')
    """
    values = list(values)
    ends = dict.fromkeys(f"{value / 1e6:.0f}" for value in (min(values), max(values)))
    return "-".join(ends) + " M"
