"""The plots of a comparison: what each shows, and the sentence under it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from stream.adapters.comparison import Comparison, Row
from stream.adapters.comparison_statistics import Course, Difference, course
from stream.adapters.comparison_texts import difference_text, relative_text, sizes_text
from stream.adapters.drawing import (
    Label,
    Plot,
    color,
    draw,
    label_ends,
    line,
    line_panel,
    panel,
    rule_y,
    scale_x,
    shorten,
)
from stream.adapters.track import MAX_POINTS, final
from stream.adapters.units import bytes_text, number_text, quality_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POLICIES: Final = 12
"""Policies in one drawing; the best ones where there are more."""
MAX_COURSES: Final = 8
"""Policies under a budget whose windows are drawn; a drawing each."""
_ROW_HEIGHT: Final = 36
_MAX_NAME: Final = 38
"""Characters of a name that fit above a bar, beside a figure."""
_ROLES: Final = ("run", "items", "users", "alarm")
"""Colours of the best policies in a drawing of several lines; the rest is grey."""


def comparison_plots(comparison: Comparison, budget_bytes: int) -> list[Plot]:
    """Return what a budget has to show: all differences at once, and the sizes."""
    rows = comparison.under(budget_bytes)
    return [_difference_plot(comparison, rows), _size_plot(rows)]


def course_plots(comparison: Comparison, budget_bytes: int) -> list[Plot]:
    """Return a drawing for each of the best policies under a budget: its difference by window."""
    rows = [row for row in comparison.under(budget_bytes) if row.ndcg_difference is not None]
    return [
        _course_plot(comparison, row, f"course-{budget_bytes}-{place}") for place, row in enumerate(rows[:MAX_COURSES])
    ]


def bytes_plot(comparison: Comparison) -> Plot:
    """Return quality against bytes, a line for each policy."""
    title = f"NDCG@{comparison.top_k} against bytes"
    by_policy: dict[str, list[tuple[int, float]]] = {}
    for row in comparison.rows:
        if row.ndcg is not None:
            by_policy.setdefault(row.policy, []).append((row.budget_bytes, row.ndcg))
    if not by_policy:
        return Plot(title, "Nothing was evaluated.")
    best = sorted(by_policy, key=lambda policy: -np.mean([ndcg for _, ndcg in by_policy[policy]]))
    leaders = [policy for policy in best if policy != comparison.reference][: len(_ROLES)]
    roles = dict(zip(leaders, _ROLES, strict=False)) | {comparison.reference: "ink"}

    def paint(figure: "Figure") -> None:
        axes = panel(figure, 46, 118, 10, 24)
        # The best are drawn last, on top.
        for policy in sorted(best, key=lambda policy: (policy in roles, -best.index(policy))):
            budgets, ndcg = zip(*by_policy[policy], strict=True)
            role, width = (roles[policy], 2.0) if policy in roles else ("popularity", 0.75)
            axes.plot(np.log2(budgets), ndcg, "o-", color=color(role), linewidth=width, markersize=2 + width)
        figures = [ndcg for points in by_policy.values() for _, ndcg in points]
        _scale_y(axes, min(figures), max(figures))
        axes.set_xticks(np.log2(comparison.budgets), [bytes_text(budget) for budget in comparison.budgets])
        axes.margins(x=0.06)
        ends = {policy: by_policy[policy][-1][1] for policy in roles if policy in by_policy}
        label_ends(axes, [Label(end, shorten(policy), roles[policy]) for policy, end in ends.items()])

    caption = f"{comparison.reference} is the reference, in the colour of the text."
    caption += f" In other colours, best first: {', '.join(leaders)}." if leaders else ""
    caption += " All others are thin and grey." if len(by_policy) > len(roles) else ""
    words = "; ".join(
        f"{policy} " + ", ".join(f"{quality_text(ndcg)} at {bytes_text(budget)}" for budget, ndcg in points)
        for policy, points in by_policy.items()
    )
    return Plot(title, caption, draw("bytes", f"{title}: {words}.", paint))


def _difference_plot(comparison: Comparison, rows: Sequence[Row]) -> Plot:
    title = f"NDCG@{comparison.top_k} less that of {comparison.reference}"
    found = [(row, row.ndcg_difference) for row in rows if row.ndcg_difference is not None]
    if not found:
        return Plot(title, "There is nothing to hold against the reference.")
    shown = found[:MAX_POLICIES]

    def paint(figure: "Figure") -> None:
        axes = rows_panel(figure, len(shown), bottom=22)
        ends = [0.0, *(end for _, d in shown for end in (d.mean, d.low, d.high) if end is not None)]
        for place, (row, difference) in enumerate(shown):
            role, margin = difference_role(difference), difference.margin or 0.0
            # In pieces, for a line through the names would make them hard to read.
            axes.plot([0, 0], [place - 0.16, place + 0.24], color=color("ink"), linewidth=1.5)
            axes.plot(difference.mean + np.array([-margin, margin]), [place] * 2, color=color(role), linewidth=3)
            axes.plot([difference.mean], [place], "o", color=color(role), markersize=8)
            name_row(axes, place, row.policy, relative_text(difference))
        scale_signed_x(axes, min(ends), max(ends))

    words = "; ".join(f"{row.policy} {difference_text(difference).strip()}" for row, difference in shown)
    caption = f"Best first, with {_interval_words(shown[0][1])}. In colour where 0 is excluded.{_rest(found)}"
    name = f"difference-{rows[0].budget_bytes}"
    return Plot(title, caption, draw(name, f"{title}: {words}.", paint, rows_height(len(shown), 22)))


def _size_plot(rows: Sequence[Row]) -> Plot:
    shown = rows[:MAX_POLICIES]

    def paint(figure: "Figure") -> None:
        axes = rows_panel(figure, len(shown), bottom=4)
        for shift, role, sizes in (
            (-0.09, "users", [row.user_size for row in shown]),
            (0.12, "items", [row.item_size for row in shown]),
        ):
            axes.barh(np.arange(len(shown)) + shift, sizes, 0.18, color=color(role), linewidth=0)
        for place, row in enumerate(shown):
            name_row(axes, place, row.policy, sizes_text(row))
        axes.set_xlim(0, max([1.0, *(max(row.user_size, row.item_size) for row in shown)]))
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)

    words = "; ".join(f"{row.policy} {row.user_size:.1f} and {row.item_size:.1f}" for row in shown)
    caption = f"Words that a user (above) and an item (below) own on average.{_rest(rows)}"
    title = "Mean sizes by policy"
    name = f"sizes-{rows[0].budget_bytes}"
    return Plot(title, caption, draw(name, f"{title}, users and items: {words}.", paint, rows_height(len(shown), 4)))


def _course_plot(comparison: Comparison, row: Row, name: str) -> Plot:
    difference = row.ndcg_difference
    assert difference is not None
    went = course(comparison.pairs(row, "ndcg"), MAX_POINTS)

    def paint(figure: "Figure") -> None:
        axes = line_panel(figure)
        role = difference_role(difference)
        axes.axhline(0, color=color("ink"), linewidth=1)
        axes.plot(went.window, went.difference, color=color("popularity"), linewidth=1, alpha=0.75)
        low, high = went.so_far - went.margin, went.so_far + went.margin
        axes.fill_between(went.window, low, high, color=color(role), alpha=0.18, linewidth=0)
        line(axes, went.window, went.so_far, role)
        _scale_y(axes, *_span(went))
        scale_x(axes, went.window)
        label_ends(axes, [Label(final(went.so_far), relative_text(difference), role), Label(0.0, "reference", "ink")])

    caption = (
        f"{difference_text(difference).strip(' *')} in the end. The thin line is each window's difference, the thick "
        f"one the mean up to there; its band is {_interval_words(difference)}."
    )
    label = f"{row.policy}: difference by window, {difference_text(difference).strip(' *')} in the end."
    return Plot(row.policy, caption, draw(name, label, paint))


def difference_role(difference: Difference) -> str:
    """Return the colour's role that says whether a difference is clear, and to which side."""
    if not difference.is_clear:
        return "muted"
    return "run" if difference.mean > 0 else "alarm"


def _interval_words(difference: Difference) -> str:
    if difference.margin is None:
        return "no interval: there are too few windows and seeds"
    return f"a 95% interval over {difference.num} {difference.over}"


def _rest(all_of_them: Sequence[object]) -> str:
    num, most = len(all_of_them), MAX_POLICIES
    return f" The first {most} of {num} policies; the table has all." if num > most else ""


def _span(went: Course) -> tuple[float, float]:
    """Return what the vertical axis has to hold; bands of the first few windows may be cut."""
    later = slice(len(went.window) // 3, None)
    columns = (went.difference, went.so_far, (went.so_far - went.margin)[later], (went.so_far + went.margin)[later])
    values = np.concatenate([[0.0], *columns])
    return float(np.nanmin(values)), float(np.nanmax(values))


def rows_height(num_rows: int, bottom: int) -> int:
    """Return how high a drawing with a row for each policy is (:func:`rows_panel`), in pixels."""
    return num_rows * _ROW_HEIGHT + bottom + 6


def rows_panel(figure: "Figure", num_rows: int, bottom: int) -> "Axes":
    """Return axes with a row for each policy, its name above what is drawn."""
    axes = panel(figure, 8, 8, 6, bottom)
    axes.set_ylim(num_rows - 0.66, -0.66)
    axes.set_yticks([])
    return axes


def name_row(axes: "Axes", place: int, name: str, text: str) -> None:
    """Write a row's name on the left and its figure on the right."""
    shown = name.encode("utf-8", "replace").decode()
    shown = shown if len(shown) <= _MAX_NAME else f"{shown[: _MAX_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
    for x, side, what, role in ((0.0, "left", shown, "ink"), (1.0, "right", text, "muted")):
        axes.text(
            x,
            place - 0.24,
            what,
            transform=axes.get_yaxis_transform(),
            ha=side,
            va="bottom",
            color=color(role),
            fontsize=11,
        )


def scale_signed_x(axes: "Axes", low: float, high: float) -> None:
    """Let the horizontal axis hold ``low`` to ``high``, with signed ticks."""
    from matplotlib.ticker import MaxNLocator

    margin = 0.06 * (high - low) or 1.0
    ticks = [float(tick) for tick in MaxNLocator(4).tick_values(low, high) if low - margin <= tick <= high + margin]
    axes.set_xlim(low - margin, high + margin)
    axes.set_xticks(ticks, [f"{tick:+.4g}" if tick else "0" for tick in ticks])
    axes.grid(axis="x")


def _scale_y(axes: "Axes", low: float, high: float) -> None:
    """Let the vertical axis hold ``low`` to ``high``, ruled at round figures; it need not begin with 0."""
    from matplotlib.ticker import MaxNLocator

    margin = 0.06 * (high - low) or 0.01
    ticks = [float(tick) for tick in MaxNLocator(4).tick_values(low, high) if low - margin <= tick <= high + margin]
    axes.set_ylim(low - margin, high + margin)
    rule_y(axes, ticks, [number_text(tick) for tick in ticks])
