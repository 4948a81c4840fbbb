"""The page of a run: one HTML file that needs nothing else, to be looked at rather than read."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from stream.adapters.drawing import Plot
from stream.adapters.memory_plots import memory_plots
from stream.adapters.page_style import STYLE
from stream.adapters.plots import quality_plots, record_plot, speed_plots
from stream.adapters.track import Track
from stream.adapters.units import (
    bytes_text,
    count_text,
    guard_text,
    or_zero,
    plural,
    quality_text,
    ratio_text,
    seconds_text,
    share_text,
)
from stream.core.stats import LedgerLine, Report

_NO_SCRIPTS: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""Whatever a name in the data may hold, a browser that keeps this policy loads and runs nothing."""


def render_page(report: Report) -> str:
    """Return the page as HTML; the same text each time for the same report.

    It follows the reader's light or dark colours, has no script and refers to nothing outside itself.
    """
    track = Track(report.windows)
    sections = [
        section("Quality", figures(quality_plots(report, track))),
        section("Memory", figures(memory_plots(report, track))),
        section("Speed and records", figures([*speed_plots(report, track), record_plot(report)])),
    ]
    body = f"{_header(report)}\n{_tiles(report)}\n{''.join(sections)}\n{_tables(report)}"
    return frame(f"{report.data}: {report.policy}", body)


def frame(title: str, body: str, style: str = "") -> str:
    """Return a whole page as HTML, with more style where the page has some of its own; it allows no scripts."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_NO_SCRIPTS}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>\n"
        f"{body}\n</main>\n</body>\n</html>\n"
    )


def header(heading: str, lines: Iterable[str], chips: Iterable[str], below: str = "") -> str:
    """Return the top of a page: what it is about, lines of facts, chips (:func:`chip`), and more HTML."""
    facts = "".join(f'<p class="facts">{escape(line)}</p>' for line in lines)
    return (
        f'<header><p class="kicker">scall-stream</p><h1>{escape(heading)}</h1>'
        f'{facts}<div class="chips">{"".join(chips)}</div>{below}</header>'
    )


def _header(report: Report) -> str:
    facts = [f"policy {report.policy}", f"seed {report.seed}", plural(len(report.windows), "window")]
    span = _span(report)
    if span:
        facts.append(span)
    violations = report.counts.violations
    chips = [
        chip("finished", "good") if report.finished else chip("interrupted: --resume goes on from here", "alarm"),
        chip("resumed from a checkpoint") if report.resumed else "",
        chip(plural(violations, "budget violation"), "alarm") if violations else chip("budget kept", "good"),
        chip(plural(report.counts.drift_alarms, "drift alarm")) if report.counts.drift_alarms else "",
    ]
    guarded = guard_text(report.guard_trips)
    lines = [" · ".join(facts), *([guarded[0].upper() + guarded[1:]] if guarded else [])]
    return header(report.data, lines, chips)


def _span(report: Report) -> str:
    """Return the dates of the first and the last event, nothing where they are no dates."""
    windows = [window for window in report.windows if window.counts.learnt]
    if not windows:
        return ""
    ends = (min(window.first_event_ms for window in windows), max(window.last_event_ms for window in windows))
    try:
        first, last = (datetime.fromtimestamp(ms / 1000, UTC).date().isoformat() for ms in ends)
    except (OverflowError, ValueError, OSError):
        return ""
    return f"events of {first}" if first == last else f"events from {first} to {last}"


def chip(text: str, role: str = "") -> str:
    """Return a few words in a coloured frame; the role is one of the style's, such as good or alarm."""
    return f'<span class="{f"chip {role}".strip()}">{escape(text)}</span>'


def _tiles(report: Report) -> str:
    return (
        f'<section class="tiles" aria-label="Headline figures">{_quality_tile(report)}{_memory_tile(report)}'
        f"{_event_tile(report)}{_entity_tile(report)}</section>"
    )


def _tile(heading: str, big: str, *below: str) -> str:
    return f'<div class="tile"><h2>{escape(heading)}</h2><div class="big">{big}</div>{"".join(below)}</div>'


def _note(html: str) -> str:
    return f'<p class="note">{html}</p>'


def _bar(share: float, role: str = "") -> str:
    width = 100 * min(max(share, 0.0), 1.0)
    return f'<div class="bar"><i class="{role}" style="width:{width:.1f}%"></i></div>'


def _quality_tile(report: Report) -> str:
    quality, k = report.quality, report.top_k
    ratio = ratio_text(quality.recall, quality.popularity_recall)
    big = quality_text(quality.recall) + (chip(f"{ratio} popularity", "run") if ratio else "")
    most = max(or_zero(quality.recall), or_zero(quality.popularity_recall)) or 1.0
    rows = (("this run", quality.recall, ""), ("popularity", quality.popularity_recall, "popularity"))
    bars = "".join(
        f"<span>{name}</span>{_bar(or_zero(value) / most, role)}<span>{quality_text(value)}</span>"
        for name, value, role in rows
    )
    ndcg_ratio = ratio_text(quality.ndcg, quality.popularity_ndcg)
    others = f"NDCG@{k} <b>{quality_text(quality.ndcg)}</b>" + (f" ({ndcg_ratio})" if ndcg_ratio else "")
    others += f" · MRR <b>{quality_text(quality.mrr)}</b>"
    return _tile(f"Recall@{k}", big, f'<div class="bars">{bars}</div>', _note(others))


def _memory_tile(report: Report) -> str:
    share = report.peak_bytes / report.budget_bytes if report.budget_bytes else 0.0
    violations = report.counts.violations
    kept = chip(plural(violations, "violation"), "alarm" if violations else "good")
    big = f'{bytes_text(report.peak_bytes)}<span class="of">of {bytes_text(report.budget_bytes)}</span>'
    rest = f"<b>{share_text(share)}</b> of the budget at its peak · resident {bytes_text(report.peak_rss_bytes)}"
    return _tile("Peak memory", big, _bar(share, "alarm" if violations else ""), f"<div>{kept}</div>", _note(rest))


def _event_tile(report: Report) -> str:
    counts = report.counts
    rate = f"<b>{count_text(report.events_per_second)} events/s</b> while learning"
    notes = [_note(f"{rate} · {seconds_text(report.wall_seconds)} in all")]
    if counts.dead_letters:
        reasons = sorted(report.dead_letter_reasons.items(), key=lambda entry: (-entry[1], entry[0]))[:3]
        listed = ", ".join(f"{escape(reason)} {count_text(count)}" for reason, count in reasons)
        more = " and others" if len(report.dead_letter_reasons) > len(reasons) else ""
        notes.append(_note(f"<b>{plural(counts.dead_letters, 'dead letter')}</b>: {listed}{more}"))
    if counts.late:
        notes.append(_note(f"<b>{plural(counts.late, 'late event')}</b>"))
    return _tile("Events learnt", count_text(counts.learnt), *notes)


def _entity_tile(report: Report) -> str:
    counts = report.counts
    big = (
        f'<span class="pair">{count_text(report.num_users)} <span class="of">users</span></span>'
        f'<span class="pair">{count_text(report.num_items)} <span class="of">items</span></span>'
    )
    evicted = f"<b>{plural(counts.evictions, 'eviction')}</b>"
    if counts.evictions:
        evicted += f": {plural(counts.evicted_users, 'user')}, {plural(counts.evicted_items, 'item')}"
    new = report.quality.first_sight_share
    notes = [_note(evicted)]
    if new is not None:
        notes.append(_note(f"<b>{share_text(new)}</b> of events were of an item never seen before"))
    return _tile("Users and items held", big, *notes)


def section(heading: str, html: str) -> str:
    """Return HTML under a heading."""
    return f"<section><h2>{escape(heading)}</h2>{html}</section>"


def figures(plots: Iterable[Plot]) -> str:
    """Return drawings side by side, each with its title and caption."""
    return f'<div class="plots">{"".join(map(_figure, plots))}</div>'


def _figure(plot: Plot) -> str:
    caption = f"<figcaption>{escape(plot.caption)}</figcaption>"
    return f"<figure><h3>{escape(plot.title)}</h3>{plot.svg}{caption}</figure>"


def _tables(report: Report) -> str:
    ledger, fixed = _bytes_rows(report.ledger), _bytes_rows(report.fixed)
    under_budget = "Everything that grows with users, items or events: allocated once, under the budget."
    beside = "What does not grow, listed beside the budget."
    return section(
        "Details",
        _details("Ledger", plural(len(report.ledger), "array"), _table(under_budget, ledger))
        + _details("Fixed costs", plural(len(report.fixed), "line"), _table(beside, fixed))
        + settings_and_versions("As they were in force.", report.settings, report.versions),
    )


def settings_and_versions(caption: str, settings: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """Return what ran as two tables to unfold, the one of the settings with this caption."""
    in_force = _table(caption, map(_text_row, _flat(settings)))
    ran = _table("What ran.", map(_text_row, sorted(versions.items())))
    return _details("Settings", "", in_force) + _details("Versions", "", ran)


def _details(heading: str, aside: str, table: str) -> str:
    small = f" <small>{escape(aside)}</small>" if aside else ""
    return f"<details><summary>{escape(heading)}{small}</summary><div>{table}</div></details>"


def _table(caption: str, rows: Iterable[str]) -> str:
    return f"<table><caption>{escape(caption)}</caption><tbody>{''.join(rows)}</tbody></table>"


def _bytes_rows(lines: Sequence[LedgerLine]) -> list[str]:
    total = sum(entry.bytes for entry in lines)
    return [_bytes_row(entry.name, entry.bytes) for entry in lines] + [_bytes_row("sum", total, ' class="sum"')]


def _bytes_row(name: str, num_bytes: int, mark: str = "") -> str:
    return (
        f'<tr{mark}><th scope="row">{escape(name)}</th><td class="number">{num_bytes:,}</td>'
        f'<td class="number">{bytes_text(num_bytes)}</td></tr>'
    )


def _text_row(entry: tuple[str, Any]) -> str:
    return f'<tr><th scope="row">{escape(str(entry[0]))}</th><td>{escape(str(entry[1]))}</td></tr>'


def _flat(settings: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    """Return nested settings as lines, named as the configuration names them: ``memory.budget_bytes``."""
    rows: list[tuple[str, Any]] = []
    for name, value in settings.items():
        rows += _flat(value, f"{path}{name}.") if isinstance(value, Mapping) and value else [(f"{path}{name}", value)]
    return rows
