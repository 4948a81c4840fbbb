"""The page's plots of memory: where the bytes are, and who owns them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

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
    scale_y,
    shorten,
    strip,
    write_beside,
)
from stream.adapters.track import Column, Track, final, peak
from stream.adapters.units import bytes_scale, bytes_text, count_text, number_text, plural, share_text
from stream.core.stats import LedgerLine, Report, SizeSummary, WindowReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_BARS: Final = 8
_WORD_BYTES: Final = 4
_NO_WINDOW: Final = "No window was closed."


def memory_plots(report: Report, track: Track) -> list[Plot]:
    """Return the ledger, the arena's use, resident memory, both sides' sizes, and the entities."""
    return [
        _ledger_plot(report),
        _arena_plot(track),
        _resident_plot(report, track),
        _size_plot("User", "users", track, lambda window: window.user_sizes),
        _size_plot("Item", "items", track, lambda window: window.item_sizes),
        _entity_plot(report, track),
    ]


def _largest(lines: Sequence[LedgerLine]) -> list[LedgerLine]:
    """Return the largest lines, the rest as one."""
    order = sorted(lines, key=lambda entry: -entry.bytes)
    if len(order) <= _MAX_BARS:
        return order
    rest = order[_MAX_BARS - 1 :]
    return [*order[: _MAX_BARS - 1], LedgerLine(f"{len(rest)} others", sum(entry.bytes for entry in rest))]


def _ledger_plot(report: Report) -> Plot:
    title, total = "The budget, array by array", sum(entry.bytes for entry in report.ledger)
    if not total or not report.budget_bytes:
        return Plot(title, "The ledger is empty.")
    entries = _largest(report.ledger)

    def paint(figure: "Figure") -> None:
        axes = panel(figure, 118, 66, 8, 24)
        shares = np.array([entry.bytes for entry in entries]) / report.budget_bytes
        starts = np.cumsum(shares) - shares
        places = np.arange(len(entries))
        axes.barh(places, 1, 0.62, color=color("track"), linewidth=0)
        # A bar too thin to be seen would read as a gap.
        axes.barh(places, np.maximum(shares, 0.006), 0.62, starts, color=color("run"), linewidth=0)
        axes.axvline(1, color=color("ink"), linewidth=1.5)
        axes.set_xlim(0, 1.005)
        axes.set_ylim(len(entries) - 0.5, -0.5)
        axes.set_yticks(places, [shorten(entry.name) for entry in entries])
        axes.set_xticks([1], [f"budget {bytes_text(report.budget_bytes)}"], ha="right", color=color("ink"))
        axes.spines["bottom"].set_visible(False)
        for place, entry in enumerate(entries):
            write_beside(axes, (1.0, place), bytes_text(entry.bytes), "ink", right=8)

    since = "when the budget was last changed" if report.counts.budget_changes else "at start-up"
    caption = (
        f"Allocated once, {since}: {bytes_text(total)} of {bytes_text(report.budget_bytes)}."
        " Each bar starts where the one above it ends."
    )
    words = ", ".join(f"{entry.name} {bytes_text(entry.bytes)}" for entry in entries)
    return Plot(title, caption, draw("ledger", f"Bytes of the budget by array: {words}.", paint))


def _arena_plot(track: Track) -> Plot:
    if not track.windows:
        return Plot("The arena in use", _NO_WINDOW)
    divisor, unit = bytes_scale(track.windows[-1].budget_bytes)
    title = f"The arena in use, {unit}"
    used = track.last(lambda window: window.arena_used_words * _WORD_BYTES / divisor)
    arena = track.last(lambda window: window.arena_words * _WORD_BYTES / divisor)
    ledger = track.last(lambda window: window.ledger_bytes / divisor)
    budget = track.last(lambda window: window.budget_bytes / divisor)

    def paint(figure: "Figure") -> None:
        axes = line_panel(figure)
        axes.fill_between(track.x, 0, used, color=color("run"), alpha=0.16, linewidth=0)
        line(axes, track.x, budget, "ink", 1.5)
        line(axes, track.x, ledger, "muted", 1)
        line(axes, track.x, arena, "popularity", 1.5)
        line(axes, track.x, used, "run")
        scale_y(axes, peak(budget, ledger, arena), number_text)
        scale_x(axes, track.x)
        labels = [(budget, "budget", "ink"), (ledger, "all arrays", "muted")]
        labels += [(arena, "arena", "popularity"), (used, "in use", "run")]
        label_ends(axes, [Label(final(column), text, role) for column, text, role in labels])

    share = final(used) / final(arena) if final(arena) else 0.0
    caption = (
        "Embeddings and their optimizer state live in the arena;"
        f" {share_text(share)} of its words were owned at the end.{track.note}"
    )
    label = f"Arena words in use by window: {bytes_text(final(used) * divisor)} at the end."
    return Plot(title, caption, draw("arena", label, paint))


def _resident_plot(report: Report, track: Track) -> Plot:
    if not track.windows:
        return Plot("Peak resident memory", _NO_WINDOW)
    divisor, unit = bytes_scale(report.peak_rss_bytes)
    title = f"Peak resident memory, {unit}"
    resident = track.last(lambda window: window.peak_rss_bytes / divisor)
    budget = track.last(lambda window: window.budget_bytes / divisor)

    def paint(figure: "Figure") -> None:
        axes = line_panel(figure)
        axes.fill_between(track.x, 0, budget, color=color("run"), alpha=0.16, linewidth=0)
        line(axes, track.x, resident, "ink")
        line(axes, track.x, budget, "run", 1)
        scale_y(axes, peak(resident, budget), number_text)
        scale_x(axes, track.x)
        label_ends(axes, [Label(final(resident), "resident", "ink"), Label(final(budget), "budget", "run")])

    caption = (
        "What does not grow with users, items or events (libraries, compiled"
        f" code, the policy) makes the difference.{track.note}"
    )
    label = f"Peak resident memory by window: {bytes_text(report.peak_rss_bytes)} at the end."
    return Plot(title, caption, draw("resident", label, paint))


def _size_plot(side: str, role: str, track: Track, sizes: Callable[[WindowReport], SizeSummary]) -> Plot:
    title = f"{side} embedding sizes"
    quantile = {
        name: track.last(lambda window, name=name: sizes(window).quantiles.get(name))  # type: ignore[misc]
        for name in ("p10", "p25", "p50", "p75", "p90", "max")
    }
    if not np.isfinite(quantile["p50"]).any():
        return Plot(title, _NO_WINDOW)

    def paint(figure: "Figure") -> None:
        axes = line_panel(figure)
        height = {name: _log_height(column) for name, column in quantile.items()}
        axes.fill_between(track.x, height["p10"], height["p90"], color=color(role), alpha=0.16, linewidth=0)
        axes.fill_between(track.x, height["p25"], height["p75"], color=color(role), alpha=0.22, linewidth=0)
        line(axes, track.x, height["max"], role, 1, ":")
        line(axes, track.x, height["p50"], role, 2.25)
        top = int(np.ceil(peak(height["max"], height["p90"])))
        ticks = range(0, max(top, 1) + 1, 1 if top <= 5 else 2)
        axes.set_ylim(0, max(top, 1) * 1.03)
        rule_y(
            axes,
            [0.0, *(float(_log_height(np.array([2.0**t]))[0]) for t in ticks)],
            ["0", *(str(2**t) for t in ticks)],
        )
        scale_x(axes, track.x)
        label_ends(
            axes,
            [
                Label(final(height["max"]), "largest", role),
                Label(final(height["p50"]), "median", role),
                *(Label(final(height[name]), text, "muted") for name, text in (("p90", "90%"), ("p10", "10%"))),
            ],
        )

    last = {name: int(final(column)) for name, column in quantile.items() if np.isfinite(final(column))}
    caption = (
        f"Floats an entity owns: median {last.get('p50')}, largest {last.get('max')} at the end. Bands hold"
        f" the middle half and the middle 80%; the scale is logarithmic.{track.note}"
    )
    words = ", ".join(f"{name} {size}" for name, size in last.items())
    return Plot(title, caption, draw(f"sizes-{role}", f"{title} by window, at the end: {words}.", paint))


def _log_height(sizes: Column) -> Column:
    """Return where sizes stand on a logarithmic scale that also has a place for 0."""
    height: Column = np.log2(1.0 + sizes)
    return height


def _entity_plot(report: Report, track: Track) -> Plot:
    title = "Users and items held"
    if not track.windows:
        return Plot(title, _NO_WINDOW)
    users = track.last(lambda window: window.num_users)
    items = track.last(lambda window: window.num_items)
    evictions = track.total(lambda window: window.counts.evictions)

    def paint(figure: "Figure") -> None:
        axes = line_panel(figure, strip=True)
        line(axes, track.x, users, "users")
        line(axes, track.x, items, "items")
        scale_y(axes, peak(users, items), count_text)
        scale_x(axes, track.x, named=False)
        label_ends(axes, [Label(final(users), "users", "users"), Label(final(items), "items", "items")])
        strip(figure, track.x, evictions, "evictions", count_text)

    counts = report.counts
    caption = (
        f"{plural(counts.evictions, 'eviction')} made room for newcomers:"
        f" {plural(counts.evicted_users, 'user')}, {plural(counts.evicted_items, 'item')}.{track.note}"
    )
    label = f"Users and items held by window: {report.num_users} users and {report.num_items} items at the end."
    return Plot(title, caption, draw("entities", label, paint))
