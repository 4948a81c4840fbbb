"""The page of a comparison: one HTML file that needs nothing else."""

from collections.abc import Sequence
from html import escape
from typing import Final

from stream.adapters.comparison import Comparison, Row
from stream.adapters.comparison_plots import MAX_COURSES, bytes_plot, comparison_plots, course_plots
from stream.adapters.comparison_statistics import Difference
from stream.adapters.comparison_texts import (
    budget_text,
    difference_text,
    explanations,
    p_value_text,
    relative_text,
    sizes_text,
)
from stream.adapters.page import chip, figures, frame, header, section, settings_and_versions
from stream.adapters.units import NOTHING, bytes_text, count_text, plural, quality_text, seconds_text

TABLE_STYLE: Final = """
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 14px; overflow-x: auto; }
.plots + .card { margin-top: 18px; }
.card table { font-size: 0.875rem; }
.card th, .card td { padding: 8px 0 8px 16px; }
.card thead th { border-top: 0; white-space: nowrap; text-align: right; }
.card td small { display: block; color: var(--muted); font-size: 0.85em; }
.card th:first-child {
  position: sticky; left: 0; background: var(--card); text-align: left; color: var(--ink);
  min-width: 190px; max-width: 260px; overflow-wrap: anywhere;
}
.card td:last-child, .card thead th:last-child { padding-right: 18px; }
.card .ahead { color: var(--good); font-weight: 600; }
.card .behind { color: var(--alarm); font-weight: 600; }
.card tr.reference th, .card tr.reference td { background: var(--track); }
.plots h3 { overflow-wrap: anywhere; }
.explained { margin-top: 22px; max-width: 78ch; }
.explained p + p { margin-top: 8px; }
@media (max-width: 520px) {
  .plots + .card { margin-top: 12px; }
  .card th:first-child { padding-left: 12px; min-width: 112px; max-width: 132px; }
}
"""


def render_comparison(comparison: Comparison) -> str:
    """Return the page as HTML; the same text each time for the same comparison.

    It follows the reader's light or dark colours, has no script and refers to nothing outside itself.
    """
    sections = [_budget_section(comparison, budget) for budget in comparison.budgets]
    if len(comparison.budgets) > 1:
        sections.insert(0, section("Quality and bytes", figures([bytes_plot(comparison)])))
    body = f"{_header(comparison)}\n{''.join(sections)}\n{_details(comparison)}"
    return frame(f"{comparison.data}: policies compared", body, TABLE_STYLE)


def _header(comparison: Comparison) -> str:
    num_policies = len({row.policy for row in comparison.rows})
    facts = [
        f"{num_policies} policies" if num_policies > 1 else "1 policy",
        plural(len(comparison.budgets), "budget"),
        plural(len(comparison.seeds), "seed"),
        f"reference {comparison.reference}",
        f"windows of {comparison.settings['windows']['close_after']}",
    ]
    violations = sum(row.violations for row in comparison.rows)
    done = f"interrupted after {len(comparison.reports)} of {plural(comparison.num_planned, 'run')}"
    chips = [
        chip(f"all {comparison.num_planned} runs finished", "good") if comparison.is_finished else chip(done, "alarm"),
        chip(plural(violations, "budget violation"), "alarm") if violations else chip("budgets kept", "good"),
    ]
    words = "".join(f"<p>{escape(sentence)}</p>" for sentence in explanations(comparison))
    return header(comparison.data, [" · ".join(facts)], chips, f'<div class="explained note">{words}</div>')


def _budget_section(comparison: Comparison, budget: int) -> str:
    rows, courses = comparison.under(budget), course_plots(comparison, budget)
    text = budget_text(comparison, budget)
    html = section(f"Under {text}", figures(comparison_plots(comparison, budget)) + _table(rows, comparison.top_k))
    if courses:
        num = sum(row.ndcg_difference is not None for row in rows)
        which = f", the best {MAX_COURSES} of {num}" if num > MAX_COURSES else ""
        html += section(f"Differences by window under {text}{which}", figures(courses))
    return html


def _table(rows: Sequence[Row], k: int) -> str:
    quality = (f"NDCG@{k}", "difference", f"Recall@{k}", "difference")
    heads = ("policy", *quality, "sizes", "peak bytes", "resizing", "events/s", "evictions", "violations")
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(map(_row, rows))
    return f'<div class="card" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(row: Row) -> str:
    cells = [
        quality_text(row.ndcg),
        "reference" if row.is_reference else difference_html(row.ndcg_difference),
        quality_text(row.recall),
        "" if row.is_reference else difference_html(row.recall_difference),
        sizes_text(row),
        bytes_text(row.peak_bytes),
        seconds_text(row.resize_seconds),
        count_text(row.events_per_second),
        count_text(row.evictions),
        f'<span class="behind">{row.violations}</span>' if row.violations else "0",
    ]
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
    mark = ' class="reference"' if row.is_reference else ""
    # Names of curves are long: they may break where one ends.
    name = escape(row.policy).replace("/", "/<wbr>").replace("@", "<wbr>@")
    return f'<tr{mark}><th scope="row">{name}</th>{numbers}</tr>'


def difference_html(difference: Difference | None) -> str:
    """Return a difference with its margin; below, what share of the reference it is, and its p-value."""
    if difference is None:
        return NOTHING
    direction = "" if not difference.is_clear else "ahead" if difference.mean > 0 else "behind"
    below = " · ".join(filter(None, [relative_text(difference), p_value_text(difference)]))
    return f'<span class="{direction}">{difference_text(difference).strip()}</span><small>{escape(below)}</small>'


def _details(comparison: Comparison) -> str:
    caption, versions = "What all runs have in common.", comparison.reports[0].versions
    return section("Details", settings_and_versions(caption, comparison.settings, versions))
