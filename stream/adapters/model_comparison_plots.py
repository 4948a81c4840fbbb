"""The plots of a comparison of models: what each shows, and the sentence under it."""

from typing import TYPE_CHECKING, Final

import numpy as np

from stream.adapters.comparison_plots import difference_role, name_row, rows_height, rows_panel, scale_signed_x
from stream.adapters.comparison_texts import difference_text, relative_text
from stream.adapters.drawing import Label, Plot, color, draw, label_ends, panel, scale_y, shorten
from stream.adapters.model_comparison import NUM_PARTS, ModelComparison, ModelRow
from stream.adapters.model_comparison_texts import GAP_TEXTS, estimate_text
from stream.adapters.units import bytes_text, number_text, quality_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROLES: Final = ("items", "users", "alarm", "muted")
"""Colours of the best peers in drawings of lines; the rest is grey. The reference has the run's."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 118, 10, 26


def model_plots(comparison: ModelComparison) -> list[Plot]:
    """Return what there is to see: quality, differences, quality against bytes, its course, and by time gap."""
    return [
        _quality_plot(comparison),
        _difference_plot(comparison),
        _bytes_plot(comparison),
        _course_plot(comparison),
        _gap_plot(comparison),
    ]


def _quality_plot(comparison: ModelComparison) -> Plot:
    title, rows = f"Recall@{comparison.top_k}", comparison.rows

    def paint(figure: "Figure") -> None:
        axes = rows_panel(figure, len(rows), bottom=22)
        for place, row in enumerate(rows):
            role = "run" if row.is_reference else "popularity"
            axes.plot([row.recall.low, row.recall.high], [place] * 2, color=color(role), linewidth=3)
            axes.plot([row.recall.mean], [place], "o", color=color(role), markersize=8)
            name_row(axes, place, row.model, quality_text(row.recall.mean))
        top = max(row.recall.high for row in rows) or 1.0
        axes.set_xlim(0, top * 1.05)
        axes.grid(axis="x")

    words = "; ".join(f"{row.model} {estimate_text(row.recall)}" for row in rows)
    caption = f"Best first, with 95% intervals over {comparison.num_users:,} users."
    return Plot(title, caption, draw("models", f"{title}: {words}.", paint, rows_height(len(rows), 22)))


def _difference_plot(comparison: ModelComparison) -> Plot:
    title = f"Recall@{comparison.top_k} less that of {comparison.reference}"
    shown = [(row, row.recall_difference) for row in comparison.rows if row.recall_difference is not None]
    if not shown:
        return Plot(title, "There is nothing to hold against the reference.")

    def paint(figure: "Figure") -> None:
        axes = rows_panel(figure, len(shown), bottom=22)
        for place, (row, difference) in enumerate(shown):
            role, margin = difference_role(difference), difference.margin or 0.0
            axes.plot([0, 0], [place - 0.16, place + 0.24], color=color("ink"), linewidth=1.5)
            axes.plot(difference.mean + np.array([-margin, margin]), [place] * 2, color=color(role), linewidth=3)
            axes.plot([difference.mean], [place], "o", color=color(role), markersize=8)
            name_row(axes, place, row.model, relative_text(difference))
        ends = [end for _, d in shown for end in (d.low, d.high) if end is not None]
        scale_signed_x(axes, min(0.0, *ends), max(0.0, *ends))

    words = "; ".join(f"{row.model} {difference_text(difference).strip()}" for row, difference in shown)
    caption = "Paired by event, with 95% intervals over users. In colour where 0 is excluded."
    return Plot(title, caption, draw("leads", f"{title}: {words}.", paint, rows_height(len(shown), 22)))


def _roles(comparison: ModelComparison) -> dict[str, str]:
    peers = [row.model for row in comparison.rows if not row.is_reference]
    return {comparison.reference: "run"} | dict(zip(peers, _ROLES, strict=False))


def _label(axes: "Axes", comparison: ModelComparison, ends: dict[str, float | None]) -> None:
    """Write the names of the models that have a colour beside the axes, at the heights of ``ends``."""
    roles = _roles(comparison)
    label_ends(
        axes,
        [Label(end, shorten(name), roles[name]) for name, end in ends.items() if name in roles and end is not None],
    )


def _drawn(comparison: ModelComparison) -> list[tuple[ModelRow, str, float]]:
    """Return rows with colour and width of their lines, those that have a colour of their own last, on top."""
    roles = _roles(comparison)
    rows = sorted(comparison.rows, key=lambda row: (row.model in roles, row.is_reference))
    return [
        (row, roles.get(row.model, "popularity"), 2.25 if row.is_reference else 1.5 if row.model in roles else 0.75)
        for row in rows
    ]


def _bytes_plot(comparison: ModelComparison) -> Plot:
    title = f"Recall@{comparison.top_k} against bytes"

    def paint(figure: "Figure") -> None:
        axes = panel(figure, _LEFT, _RIGHT, _TOP, _BOTTOM)
        for row, role, width in _drawn(comparison):
            axes.plot(
                [np.log2(max(row.num_bytes, 1.0))], [row.recall.mean], "o", color=color(role), markersize=4 + width
            )
        recalls = [row.recall.mean for row in comparison.rows]
        scale_y(axes, max(recalls), number_text)
        powers = [np.log2(max(row.num_bytes, 1.0)) for row in comparison.rows]
        low, high = int(np.floor(min(powers))), int(np.ceil(max(powers)))
        ticks = list(range(low, high + 1, max(1, (high - low) // 3)))
        axes.set_xticks(ticks, [bytes_text(2.0**tick) for tick in ticks])
        axes.set_xlim(low - 0.5, high + 0.5)
        _label(axes, comparison, {row.model: row.recall.mean for row in comparison.rows})

    words = "; ".join(
        f"{row.model} {quality_text(row.recall.mean)} in {bytes_text(row.num_bytes)}" for row in comparison.rows
    )
    caption = "To the left and up is better. Bytes on a logarithmic scale; names stand at the height of their dots."
    return Plot(title, caption, draw("model-bytes", f"{title}: {words}.", paint))


def _course_plot(comparison: ModelComparison) -> Plot:
    title = f"Recall@{comparison.top_k} through the stream"
    x = (np.arange(NUM_PARTS) + 0.5) / NUM_PARTS

    def paint(figure: "Figure") -> None:
        axes = panel(figure, _LEFT, _RIGHT, _TOP, _BOTTOM)
        for row, role, width in _drawn(comparison):
            axes.plot(x, _known(row.recall_by_part), color=color(role), linewidth=width)
        most = max((part for row in comparison.rows for part in row.recall_by_part if part is not None), default=1.0)
        scale_y(axes, most, number_text)
        axes.axvline(comparison.warm_share, color=color("ink"), linewidth=1)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0%", "50%", "100%"])
        _label(axes, comparison, {row.model: row.recall_by_part[-1] for row in comparison.rows})

    words = "; ".join(f"{row.model} ends at {quality_text(row.recall_by_part[-1])}" for row in comparison.rows)
    caption = f"By {NUM_PARTS} equal parts of the stream. What stands left of the line does not count."
    return Plot(title, caption, draw("model-course", f"{title}: {words}.", paint))


def _gap_plot(comparison: ModelComparison) -> Plot:
    title = f"Recall@{comparison.top_k} by time since the last event"
    x = np.arange(len(comparison.gaps))

    def paint(figure: "Figure") -> None:
        axes = panel(figure, _LEFT, _RIGHT, _TOP, _BOTTOM)
        for row, role, width in _drawn(comparison):
            axes.plot(x, _known(list(row.recall_by_gap.values())), "o-", color=color(role), linewidth=width)
        most = max((v for row in comparison.rows for v in row.recall_by_gap.values() if v is not None), default=1.0)
        scale_y(axes, most, number_text)
        axes.set_xlim(-0.2, len(x) - 0.8)
        axes.set_xticks(x, [GAP_TEXTS.get(gap, gap) for gap in comparison.gaps])
        _label(axes, comparison, {row.model: list(row.recall_by_gap.values())[-1] for row in comparison.rows})

    words = "; ".join(
        f"{row.model} " + ", ".join(f"{gap} {quality_text(value)}" for gap, value in row.recall_by_gap.items())
        for row in comparison.rows
    )
    caption = "Before a first event nothing is known of the user, and all users are alike."
    return Plot(title, caption, draw("model-gaps", f"{title}: {words}.", paint))


def _known(values: list[float | None]) -> list[float]:
    return [np.nan if value is None else value for value in values]
