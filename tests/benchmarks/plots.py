"""The plots beside the README's results: SVG files that follow the reader's light or dark colours."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

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
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 116, 32, 26


class Line(NamedTuple):
    """A line of a plot: its name and its points."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def log_log(
    name: str,
    title: str,
    lines: Sequence[Line],
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
) -> str:
    """Return a drawing of lines with both axes in equal ratios: a straight line is a power law."""

    def paint(figure: "Figure") -> None:
        axes = panel(figure, _LEFT, _RIGHT, _TOP, _BOTTOM)
        for role, line in zip(ROLES, lines, strict=False):
            axes.plot(np.log10(line.x), np.log10(line.y), "o-", color=color(role), markersize=4)
        points = np.unique(np.concatenate([line.x for line in lines]))
        if len(points) > _MOST_TICKS:
            points = np.array([tick for tick in ticks_over(*points[[0, -1]]) if points[0] <= tick <= points[-1]])
        axes.set_xticks(np.log10(points), [x_text(point) for point in points])
        ticks = ticks_over(min(min(line.y) for line in lines), max(max(line.y) for line in lines))
        margin = 0.02 * np.log10(ticks[-1] / ticks[0])
        axes.set_ylim(np.log10(ticks[0]) - margin, np.log10(ticks[-1]) + margin)
        rule_y(axes, np.log10(ticks).tolist(), [y_text(tick) for tick in ticks])
        axes.margins(x=0.05)
        axes.annotate(
            title, (0, 1), xytext=(4 - _LEFT, 12), xycoords="axes fraction", textcoords="offset points",
            color=color("ink"), fontsize=12,
        )  # fmt: skip
        ends = [Label(np.log10(line.y[-1]), line.name, role) for role, line in zip(ROLES, lines, strict=False)]
        label_ends(axes, ends)

    words = "; ".join(
        f"{line.name} " + ", ".join(f"{y_text(y)} at {x_text(x)}" for x, y in zip(line.x, line.y, strict=True))
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
    return log_log("checkpoint", "A checkpoint, by budget", lines, lambda size: budgets[round(size)], duration)


def scaling_of(name: str, title: str, of: Mapping[str, str]) -> Callable[[Figures], str | None]:
    """Return what draws some times against the number of entities, each with its exponent in its name."""

    def drawn(figures: Figures) -> str | None:
        points, exponents = figures["points"], figures["exponents"]
        if len(points) < 2:
            return None
        x = [point["entities"] for point in points]
        lines = [Line(f"{text} ^{exponents[key]:.2f}", x, [point[key] for point in points]) for key, text in of.items()]
        return log_log(name, title, lines, count_text, duration)

    return drawn


def memory(figures: Figures) -> str | None:
    """Draw the resident memory of every learner against the events that it has learnt."""
    lines = []
    for row in figures["rows"]:
        samples = [one for one in row.get("samples", ()) if one["events"]]
        if samples:
            x = [one["events"] for one in samples]
            lines.append(Line(row["name"], x, [one["resident_bytes"] for one in samples]))
    return log_log("memory", "Resident memory, by events of new ids", lines, count_text, bytes_text) if lines else None


def quality_of(stream: str) -> Callable[[Figures], str | None]:
    """Return what draws recall against bytes: our plans as lines over their budgets, each peer as a point."""

    def drawn(figures: Figures) -> str | None:
        rows = figures.get(stream, {"rows": []})["rows"]
        found: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            if row["recall_at_20"][0] > 0 and row["bytes"] > 0:
                name = row["model"].removeprefix(OURS).rsplit(" at ", 1)[0] if row["budget_bytes"] else row["model"]
                found.setdefault(name, []).append((row["bytes"], row["recall_at_20"][0]))
        lines = [Line(name, *zip(*sorted(points), strict=True)) for name, points in found.items() if name in DRAWN]
        title = f"Recall@20 by bytes, {stream_name(stream)}"
        return log_log(f"quality-{stream}", title, lines, bytes_text, lambda y: f"{y:.2f}") if lines else None

    return drawn


DRAWN = (DEFAULT_PLAN, "scall", "cooccurrence", "als-recent", "itemknn-recent", "popularity")
"""Plans and peers that are drawn; all are in the table."""


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
