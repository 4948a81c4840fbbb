"""The page's plots of quality, speed and records: what each shows, and the sentence under it."""

from collections.abc import Callable, Mapping
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
    scale_x,
    scale_y,
    shorten,
    strip,
    write_beside,
)
from stream.adapters.track import Track, final, peak
from stream.adapters.units import (
    NOTHING,
    count_text,
    number_text,
    or_zero,
    plural,
    quality_text,
    seconds_text,
    share_text,
)
from stream.core.stats import Quality, Report, WindowReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_BARS: Final = 7
_GAPS: Final = {"first": "first event", "under_1h": "under 1 h", "over_1h": "over 1 h"}
_NOT_EVALUATED: Final = "Nothing was evaluated."

Figure_of = Callable[[Quality], float | None]


def quality_plots(report: Report, track: Track) -> list[Plot]:
    """Return recall and NDCG by window, and recall by the time since the user's last event."""
    k = report.top_k
    new = report.quality.first_sight_share
    below = f" Below, the share of events whose item was new: {share_text(new)} in all, always misses." if new else ""
    return [
        _quality_plot(f"Recall@{k}", below, track, lambda q: q.recall, lambda q: q.popularity_recall),
        _quality_plot(
            f"NDCG@{k}",
            " NDCG also asks how high in the list the item stood.",
            track,
            lambda q: q.ndcg,
            lambda q: q.popularity_ndcg,
        ),
        _gap_plot(report),
    ]


def _evaluated(window: WindowReport) -> float:
    return window.quality.evaluated


def _quality_plot(title: str, note: str, track: Track, pick: Figure_of, reference: Figure_of) -> Plot:
    mine = track.mean(lambda window: pick(window.quality), _evaluated)
    theirs = track.mean(lambda window: reference(window.quality), _evaluated)
    new = track.mean(lambda window: window.quality.first_sight_share, _evaluated)
    if not np.isfinite(mine).any():
        return Plot(title, _NOT_EVALUATED)
    with_strip = title.startswith("Recall") and bool(np.isfinite(new).any())

    def paint(figure: "Figure") -> None:
        axes = line_panel(figure, strip=with_strip)
        axes.fill_between(track.x, theirs, mine, where=mine >= theirs, color=color("run"), alpha=0.12, linewidth=0)
        line(axes, track.x, theirs, "popularity", 1.5)
        line(axes, track.x, mine, "run", 2.25)
        scale_y(axes, peak(mine, theirs), number_text)
        scale_x(axes, track.x, named=not with_strip)
        label_ends(axes, [Label(final(mine), "this run", "run"), Label(final(theirs), "popularity", "popularity")])
        if with_strip:
            strip(figure, track.x, new, "new items", share_text)

    compared = np.isfinite(mine) & np.isfinite(theirs)
    ahead = int(np.count_nonzero(mine[compared] > theirs[compared]))
    of = plural(int(compared.sum()), "point" if track.note else "window")
    caption = f"Ahead of popularity in {ahead} of {of}.{note}{track.note}"
    label = f"{title} by window: this run ends at {quality_text(final(mine))}"
    if compared.any():
        label += f", popularity at {quality_text(final(theirs))}"
    return Plot(title, caption, draw(title, f"{label}.", paint))


def _gap_plot(report: Report) -> Plot:
    title = f"Recall@{report.top_k} by time since the last event"
    order = dict.fromkeys([*_GAPS, *report.quality_by_gap])
    groups = {
        _GAPS.get(name, shorten(name)): report.quality_by_gap[name]
        for name in order
        if name in report.quality_by_gap and quality_text(report.quality_by_gap[name].recall) != NOTHING
    }
    if not groups:
        return Plot(title, _NOT_EVALUATED)

    def paint(figure: "Figure") -> None:
        axes = panel(figure, 38, 6, 26, 40)
        x = np.arange(len(groups))
        sides = (
            (-0.2, "this run", "run", [or_zero(quality.recall) for quality in groups.values()]),
            (
                0.2,
                "popularity",
                "popularity",
                [or_zero(quality.popularity_recall) for quality in groups.values()],
            ),
        )
        for shift, _, role, values in sides:
            axes.bar(x + shift, values, 0.36, color=color(role), linewidth=0)
            for place, value in zip(x + shift, values, strict=True):
                write_beside(axes, (place, value), f"{value:.3f}", role, up=4)
        scale_y(axes, max(max(values) for *_, values in sides) * 1.05, number_text)
        axes.set_xlim(-0.55, len(groups) - 0.45)
        axes.set_xticks(x, [f"{name}\n{plural(q.evaluated, 'event')}" for name, q in groups.items()])

    words = "; ".join(
        f"{name} {quality_text(q.recall)} against {quality_text(q.popularity_recall)}" for name, q in groups.items()
    )
    caption = "This run on the left, popularity on the right. A user's first event finds nothing known of the user."
    return Plot(title, caption, draw("gap", f"{title}: {words}.", paint))


def speed_plots(report: Report, track: Track) -> list[Plot]:
    """Return the throughput by window, and where the time went."""
    return [_throughput_plot(report, track), _time_plot(report)]


def _throughput_plot(report: Report, track: Track) -> Plot:
    title = "Events learnt per second"
    rate = track.mean(lambda window: window.events_per_second, lambda window: window.train_seconds)
    if not np.isfinite(rate).any():
        return Plot(title, "Nothing was learnt.")

    def paint(figure: "Figure") -> None:
        axes = line_panel(figure)
        axes.fill_between(track.x, 0, rate, color=color("run"), alpha=0.12, linewidth=0)
        line(axes, track.x, rate, "run")
        scale_y(axes, peak(rate), count_text)
        scale_x(axes, track.x)
        label_ends(axes, [Label(final(rate), f"{count_text(final(rate))}/s", "run")])

    whole = count_text(report.events_per_second)
    caption = f"{whole} events a second over the whole run, counting the time spent learning alone.{track.note}"
    return Plot(title, caption, draw("throughput", f"{title} by window, {whole} over the whole run.", paint))


def _time_plot(report: Report) -> Plot:
    title = "Where the time went"
    spent = {
        "learning": report.train_seconds,
        "evaluating": report.eval_seconds,
        "resizing": report.resize_seconds,
        "checkpoints": report.checkpoint_seconds,
    }
    spent["the rest"] = max(0.0, report.wall_seconds - sum(spent.values()))
    if not sum(spent.values()):
        return Plot(title, "No time was measured.")
    texts = {name: seconds_text(seconds) for name, seconds in spent.items()}
    caption = f"{seconds_text(report.wall_seconds)} in all; the rest is reading, decoding and reporting."
    words = ", ".join(f"{name} {text}" for name, text in texts.items())
    return Plot(title, caption, draw("time", f"{title}: {words}.", lambda figure: _bars(figure, spent, texts, "run")))


def record_plot(report: Report) -> Plot:
    """Return the dead letters by reason, with the late events."""
    title, counts = "Records that could not be used", report.counts
    reasons = dict(sorted(report.dead_letter_reasons.items(), key=lambda entry: (-entry[1], entry[0])))
    if len(reasons) > _MAX_BARS:
        rest = list(reasons)[_MAX_BARS - 1 :]
        reasons = {name: n for name, n in reasons.items() if name not in rest} | {
            f"{len(rest)} other reasons": sum(reasons[name] for name in rest)
        }
    late = f"{plural(counts.late, 'event')} came late, behind the watermark."
    if not reasons:
        return Plot(title, f"None. {late}")
    texts = {name: f"{count:,}" for name, count in reasons.items()}
    words = ", ".join(f"{name} {text}" for name, text in texts.items())
    caption = f"{plural(counts.dead_letters, 'dead letter')} of {plural(counts.events, 'record')}. {late}"
    return Plot(
        title,
        caption,
        draw("records", f"{title}: {words}.", lambda figure: _bars(figure, reasons, texts, "alarm")),
    )


def _bars(figure: "Figure", values: Mapping[str, float], texts: Mapping[str, str], role: str) -> None:
    """Draw horizontal bars: the name on the left, the figure at the bar's end."""
    axes = panel(figure, 136 if role == "alarm" else 84, 74, 8, 8)
    places = np.arange(len(values))
    axes.barh(places, list(values.values()), 0.62, color=color(role), linewidth=0)
    # Few bars keep the thickness they have among many.
    axes.set_ylim(max(len(values), 5) - 0.5, -0.5)
    axes.set_xlim(0, max(values.values()) or 1.0)
    axes.set_yticks(places, [shorten(name) for name in values])
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    for place, (name, value) in enumerate(values.items()):
        write_beside(axes, (value, place), texts[name], "ink", right=6)
