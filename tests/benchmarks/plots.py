"""The plots beside the README's results: SVG files that follow the reader's light or dark colours."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stream.adapters.drawing import HEIGHT, WIDTH, Label, color, draw, label_ends, panel, rule_y
from stream.adapters.page_style import STYLE
from stream.adapters.units import bytes_text, count_text
from tests.benchmarks.entries import Entries, Figures
from tests.benchmarks.equal_bytes import DEFAULT_PLAN
from tests.benchmarks.quality_results import OURS, QUALITY_STREAMS
from tests.benchmarks.tables import duration, stream_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROLES = ("run", "items", "users", "alarm", "popularity", "ink")
"""Colours of lines, in turn."""
EVENT_TIMES = {"event_s": "learning", "event_and_resizes_s": "and resizes"}
ENTITY_TIMES = {
    "durable_s": "durable",
    "resize_all_s": "resize all",
    "resize_items_s": "items only",
    "rank_s": "best 20",
    "plan_s": "plan",
}
_MOST_TICKS = 6
"""Where lines have more places than that, round numbers are marked instead."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 136, 32, 26


class Line(NamedTuple):
    """A line of a plot: its name and its points."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


class Scale(NamedTuple):
    """How an axis runs."""

    text: Callable[[float], str]
    """What a tick says."""
    ticks: Callable[[float, float], list[float]]
    """Round numbers from one no larger than the lowest to one no less than the highest."""
    place: Callable[[Any], Any] = np.log10
    """Where a number stands: in equal ratios, or else in equal steps."""


def chart(name: str, title: str, lines: Sequence[Line], x: Scale, y: Scale, roles: Sequence[str] = ROLES) -> str:
    """Return a drawing of lines; where both axes are in equal ratios, a straight one is a power law."""

    def paint(figure: "Figure") -> None:
        axes = panel(figure, _LEFT, _RIGHT, _TOP, _BOTTOM)
        for role, line in zip(roles, lines, strict=False):
            axes.plot(x.place(line.x), y.place(line.y), "o-", color=color(role), markersize=4)
        points = np.unique(np.concatenate([line.x for line in lines]))
        if len(points) > _MOST_TICKS:
            points = np.array([tick for tick in x.ticks(*points[[0, -1]]) if points[0] <= tick <= points[-1]])
        axes.set_xticks(x.place(points), [x.text(point) for point in points])
        ticks = y.ticks(min(min(line.y) for line in lines), max(max(line.y) for line in lines))
        low, high = y.place(ticks[0]), y.place(ticks[-1])
        margin = 0.02 * (high - low)
        axes.set_ylim(low - margin, high + margin)
        rule_y(axes, y.place(ticks).tolist(), [y.text(tick) for tick in ticks])
        axes.margins(x=0.05)
        axes.annotate(
            title, (0, 1), xytext=(4 - _LEFT, 12), xycoords="axes fraction", textcoords="offset points",
            color=color("ink"), fontsize=12,
        )  # fmt: skip
        ends = [Label(y.place(line.y[-1]), line.name, role) for role, line in zip(roles, lines, strict=False)]
        label_ends(axes, ends)

    words = "; ".join(
        f"{line.name} " + ", ".join(f"{y.text(b)} at {x.text(a)}" for a, b in zip(line.x, line.y, strict=True))
        for line in lines
    )
    return standalone(draw(name, f"{title}: {words}.", paint, HEIGHT))


def ticks_over(low: float, high: float) -> list[float]:
    """Return round numbers, the first no more than ``low``, the last no less than ``high``.

    >>> ticks_over(6e-6, 3e-5), ticks_over(0.2, 900)
    ([5e-06, 1e-05, 2e-05, 5e-05], [0.1, 1.0, 10.0, 100.0, 1000.0])
    """
    steps = (1, 2, 5) if high < 20 * low else (1,)
    powers = range(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 2)
    ticks = [float(f"{step}e{power}") for power in powers for step in steps]
    first = max(place for place, tick in enumerate(ticks) if tick <= low)
    last = max(first + 1, min(place for place, tick in enumerate(ticks) if tick >= high))
    return ticks[first : last + 1]


def powers_of_two(low: float, high: float) -> list[float]:
    """Return powers of two around two numbers of bytes, every other one where there are many.

    >>> powers_of_two(300 * 2**20, 1100 * 2**20) == [2.0**28, 2.0**29, 2.0**30, 2.0**31]
    True
    """
    first, last = int(np.floor(np.log2(low))), int(np.ceil(np.log2(high)))
    step = 1 if last - first < _MOST_TICKS else 2
    return [2.0**power for power in range(first, last + step, step)]


def steps_from_zero(low: float, high: float) -> list[float]:  # noqa: ARG001
    """Return zero and the tenths, or fifths, up to one no less than the highest.

    >>> steps_from_zero(0.1, 0.36), steps_from_zero(0.3, 0.79)
    ([0.0, 0.1, 0.2, 0.3, 0.4], [0.0, 0.2, 0.4, 0.6, 0.8])
    """
    tenths = 1 if high <= 0.5 else 2
    return [tenths * number / 10 for number in range(int(np.ceil(10 * high / tenths)) + 1)]


COUNTS = Scale(count_text, ticks_over)
SECONDS = Scale(duration, ticks_over)
BYTES = Scale(bytes_text, powers_of_two)
RECALL = Scale(lambda y: f"{y:.1f}", steps_from_zero, np.asarray)


def standalone(svg: str) -> str:
    """Return a drawing for a page as a document of its own, with a ground and the page's colours."""
    light, dark = (
        "".join(re.findall(r"--[a-z-]+: #[0-9a-f]+;", palette))
        for palette in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    )
    style = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"
    style += "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif}</style>"
    head, _, body = svg.partition(">")
    head += f' xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}"'
    return f'{head}>{style}<rect width="100%" height="100%" fill="var(--card)"/>{body}\n'


def checkpoint(figures: Figures) -> str | None:
    """Draw how long learning stands still for a checkpoint, and until it is durable, by its bytes."""
    budgets = {row["bytes"]: budget for budget, row in figures["checkpoint"].items()}
    rows = sorted(figures["checkpoint"].values(), key=lambda row: row["bytes"])
    if len(rows) < 2:
        return None
    sizes = [row["bytes"] for row in rows]
    names = {"stall_ms": "stands still", "durable_after_ms": "durable"}
    lines = [Line(name, sizes, [row[key] / 1000 for row in rows]) for key, name in names.items()]
    by_budget = Scale(lambda size: budgets[round(size)], powers_of_two)
    return chart("checkpoint", "A checkpoint, by budget", lines, by_budget, SECONDS)


def scaling_of(name: str, title: str, of: Mapping[str, str]) -> Callable[[Figures], str | None]:
    """Return what draws some times against the number of entities, each with its exponent in its name."""

    def drawn(figures: Figures) -> str | None:
        points, exponents = figures["points"], figures["exponents"]
        if len(points) < 2:
            return None
        x = [point["entities"] for point in points]
        lines = [Line(f"{text} ^{exponents[key]:.2f}", x, [point[key] for point in points]) for key, text in of.items()]
        return chart(name, title, lines, COUNTS, SECONDS)

    return drawn


def memory(figures: Figures) -> str | None:
    """Draw the resident memory of every learner against the events that it has learnt."""
    lines = []
    for row in figures["rows"]:
        samples = [one for one in row.get("samples", ()) if one["events"]]
        if samples:
            x = [one["events"] for one in samples]
            lines.append(Line(row["name"], x, [one["resident_bytes"] for one in samples]))
    return chart("memory", "Resident memory, by events of new ids", lines, COUNTS, BYTES) if lines else None


def quality_of(stream: str) -> Callable[[Figures], str | None]:
    """Return what draws recall against bytes: our plans as lines over their budgets, each peer as a point."""

    def drawn(figures: Figures) -> str | None:
        found: dict[str, list[tuple[float, float]]] = {}
        for row in figures.get(stream, {"rows": []})["rows"]:
            name = row["model"].removeprefix(OURS).rsplit(" at ", 1)[0] if row["budget_bytes"] else row["model"]
            if name in DRAWN:
                found.setdefault(name, []).append((row["bytes"], row["recall_at_20"][0]))
        # Each model has its own colour, whichever are there.
        shown = [(Line(text, *zip(*sorted(found[name]), strict=True)), role)
                 for (name, text), role in zip(DRAWN.items(), ROLES, strict=True) if name in found]  # fmt: skip
        if not shown:
            return None
        lines, roles = zip(*shown, strict=True)
        title = f"Recall@20 by bytes, {stream_name(stream).strip('`')}"
        return chart(f"quality-{stream}", title, lines, BYTES, RECALL, roles)

    return drawn


DRAWN = {
    DEFAULT_PLAN: "ours, default plan",
    "uniform": "ours, uniform sizes",
    "cooccurrence": "co-occurrence",
    "als-recent": "ALS",
    "itemknn-recent": "item-kNN",
    "river-mf": "River BiasedMF",
}
"""Plans and peers that are drawn, and what they are called; all are in the table."""


class Drawing(NamedTuple):
    """A plot: the benchmark whose figures it shows, and what draws them (None: there is nothing to be seen)."""

    benchmark: str
    draw: Callable[[Figures], str | None]


PLOTS: Mapping[str, Drawing] = {
    "checkpoint": Drawing("kafka", checkpoint),
    "scaling-event": Drawing("scaling", scaling_of("scaling-event", "An event, by entities", EVENT_TIMES)),
    "scaling": Drawing("scaling", scaling_of("scaling", "Done now and then, by entities", ENTITY_TIMES)),
    "memory": Drawing("memory_under_churn", memory),
    **{f"quality-{stream}": Drawing("equal_bytes", quality_of(stream)) for stream in QUALITY_STREAMS},
}


def plots(entries: Entries) -> dict[str, str]:
    """Return the text of every plot of which there are figures, by name; the same for the same figures."""
    found = {}
    for name, drawing in PLOTS.items():
        entry = entries.get(drawing.benchmark)
        if entry is not None and entry.figures is not None and (svg := drawing.draw(entry.figures)):
            found[name] = svg
    return found
