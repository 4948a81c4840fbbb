"""What a comparison under SCALL's protocol leaves behind: ``segments.json``, ``segments.html`` and a table."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import msgspec

from stream.adapters.comparison_page import TABLE_STYLE, difference_html
from stream.adapters.comparison_statistics import CONFIDENCE, Difference
from stream.adapters.comparison_texts import difference_text
from stream.adapters.page import chip, frame, header, section, settings_and_versions
from stream.adapters.report import write_aside
from stream.adapters.segment_comparison import METRICS, SegmentComparison, SegmentRow
from stream.adapters.tables import Line, table_of, text_of
from stream.adapters.units import NOTHING, bytes_text, plural, quality_text, seconds_text, share_text

JSON_NAME: Final = "segments.json"
PAGE_NAME: Final = "segments.html"
FULL_WIDTH: Final = 150
"""Columns of text that the whole table takes."""


def save_segments(comparison: SegmentComparison, folder: Path) -> Path:
    """Write ``segments.json`` and ``segments.html`` into ``folder``, made if missing; return the page's path.

    Each file is written aside and renamed. Raises :class:`StorageError` where the disk refuses.
    """
    text = json.dumps(segment_fields(comparison), allow_nan=False, separators=(",", ":"))
    write_aside(folder / JSON_NAME, text + "\n")
    write_aside(folder / PAGE_NAME, render_segments(comparison))
    return folder / PAGE_NAME


def segment_fields(comparison: SegmentComparison) -> dict[str, Any]:
    """Return the comparison in the public form of ``segments.json``; but for seconds it is repeatable."""
    fields = vars(comparison) | {"confidence": CONFIDENCE, "num_seeds_planned": comparison.num_planned}
    del fields["num_planned"]
    return fields | {"rows": [_row_fields(row) for row in comparison.rows]}


def _row_fields(row: SegmentRow) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(row)
    for metric in METRICS:
        figure: Difference = getattr(row, metric)
        fields[metric] = {"mean": figure.mean, "low": figure.low, "high": figure.high, "over": figure.over}
    for told, widths in zip(fields["widths_by_segment"], row.widths_by_segment, strict=True):
        told["mean_size"] = widths.mean_size
    return fields


def segments_summary(comparison: SegmentComparison, page: Path, width: int = FULL_WIDTH) -> str:
    """Return the result for standard output: a table and what its figures mean.

    What ``width`` columns have no room for is left to the page.
    """
    is_wide = width >= FULL_WIDTH
    lines = (
        Line(row.model, _cells(row, comparison.top_k, is_wide=is_wide), row.is_reference) for row in comparison.rows
    )
    variants = [f"{row.model}: {row.variant}" for row in comparison.rows if row.variant]
    told = [f"Variants told: {'; '.join(variants)}."] if variants else []
    return text_of(
        [table_of(comparison.data, "model", lines)], [*explanations(comparison), *told, f"Page: {page}"], width
    )


def _cells(row: SegmentRow, k: int, *, is_wide: bool) -> dict[str, str]:
    cells = {
        f"recall@{k}": figure_text(row.recall),
        f"ndcg@{k}": figure_text(row.ndcg),
        "fitness": quality_text(row.fitness.mean),
        "difference": "reference" if row.is_reference else difference_text(row.fitness_difference),
    }
    if is_wide:
        cells |= {"mean size": sizes_text(row)}
    memory = bytes_text(row.num_bytes) + ("" if row.budget_bytes is None else f" of {bytes_text(row.budget_bytes)}")
    return cells | {"bytes": memory, "time": seconds_text(row.seconds)}


def figure_text(figure: Difference) -> str:
    """Return a mean with half its interval.

    >>> figure_text(Difference(0.29012, None, 0.00349, 0.0, "seeds", 5))
    '0.2901 ±0.0035'
    """
    margin = "" if figure.margin is None else f" \N{PLUS-MINUS SIGN}{figure.margin:.4f}"
    return quality_text(figure.mean) + margin


def sizes_text(row: SegmentRow) -> str:
    """Return the mean size of a row at the first and the last test that counts; nothing of a model without rows."""
    counted = row.widths_by_segment[1:]
    return f"{counted[0].mean_size:.1f} to {counted[-1].mean_size:.1f}" if counted else NOTHING


def explanations(comparison: SegmentComparison) -> list[str]:
    """Return sentences that say what the figures are, and how far to trust them."""
    protocol, segments = comparison.protocol, comparison.segments[1:]
    lines = [
        f"SCALL's protocol (Qu et al., CIKM 2024): {protocol['events']:,} events of the {protocol['core']}-core, in "
        f"{plural(len(segments), 'segment')} after the first, each of {protocol['growth']:,} new users and items. "
        f"After about the first four fifths of a segment every user of the rest is asked for, once: "
        f"{sum(segment['users'] for segment in segments):,} answers, ranked among the items of the rest alone, without "
        f"what the user has had. Figures are means over users, then over segments, then over "
        f"{plural(len(comparison.seeds), 'seed')}; fitness is the mean of both.",
        "Nothing is chosen by what is tested, but for the variant of a peer, which is the best with hindsight.",
        f"{_intervals(comparison)} Mean size is that of users and items together, in words, at the first and the last "
        f"test that counts; time is that of a run, answers included.",
    ]
    budgets = dict.fromkeys(row.budget_bytes for row in comparison.rows if row.budget_bytes is not None)
    if budgets:
        sizes = comparison.settings["sizes"]
        listed = ", ".join(_budget_text(budget, comparison.mean_sizes.get(budget)) for budget in budgets)
        longest = f"a user's row is at most {sizes['user_max']} words long, an item's {sizes['item_max']}"
        lines.append(f"Budget: {listed}; {longest}.")
    if len(comparison.seeds) < comparison.num_planned:
        done = f"{len(comparison.seeds)} of {plural(comparison.num_planned, 'seed')}"
        lines.append(f"Interrupted after {done}: all figures are of these alone.")
    return lines


def _budget_text(budget: int, words: int | None) -> str:
    mean = "" if words is None else f" ({plural(words, 'word')} for every user and item at the end of the stream)"
    return f"{budget:,} bytes{mean}"


def _intervals(comparison: SegmentComparison) -> str:
    figure = comparison.rows[0].fitness
    if figure.margin is None:
        return "There are no intervals: they take three seeds (--seeds)."
    over = plural(figure.num, "seed") if figure.over == "seeds" else f"{figure.num} segments in moving blocks"
    return (
        f"After \N{PLUS-MINUS SIGN} stands a {share_text(CONFIDENCE)} interval over {over}; a star marks a difference "
        f"in fitness from {comparison.reference} whose interval excludes 0."
    )


def render_segments(comparison: SegmentComparison) -> str:
    """Return the page as HTML; the same text each time for the same comparison.

    It follows the reader's light or dark colours, has no script and refers to nothing outside itself.
    """
    facts = [
        plural(len(comparison.rows), "model"),
        plural(len(comparison.seeds), "seed"),
        plural(len(comparison.segments), "segment"),
        f"reference {comparison.reference}",
    ]
    done = f"{len(comparison.seeds)} of {plural(comparison.num_planned, 'seed')}"
    whole = len(comparison.seeds) == comparison.num_planned
    chips = [chip(f"{done} finished" if whole else f"interrupted after {done}", "good" if whole else "alarm")]
    words = "".join(f"<p>{escape(sentence)}</p>" for sentence in explanations(comparison))
    top = header(comparison.data, [" · ".join(facts)], chips, f'<div class="explained note">{words}</div>')
    models = section("Models", _table(_model_heads(comparison.top_k), map(_model_cells, comparison.rows), comparison))
    numbers = [str(number) for number in range(len(comparison.segments))]
    recall, ndcg = (
        section(
            f"{name}@{comparison.top_k} by segment, the first of which does not count",
            _table(("model", *numbers), map(cells, comparison.rows), comparison),
        )
        for name, cells in (("Recall", _recall_cells), ("NDCG", _ndcg_cells))
    )
    settings = {"protocol": comparison.protocol} | comparison.settings
    details = settings_and_versions("What all runs have in common.", settings, comparison.versions)
    title = f"{comparison.data}: models under SCALL's protocol"
    return frame(title, top + models + recall + ndcg + section("Details", details), TABLE_STYLE)


def _table(heads: Sequence[str], rows: Any, comparison: SegmentComparison) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = ""
    for row, cells in zip(comparison.rows, rows, strict=True):
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        mark = ' class="reference"' if row.is_reference else ""
        below = f"<br><small>{escape(row.variant)}</small>" if row.variant else ""
        body += f'<tr{mark}><th scope="row">{escape(row.model)}{below}</th>{numbers}</tr>'
    return f'<div class="card" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _model_heads(k: int) -> tuple[str, ...]:
    quality = (f"Recall@{k}", f"NDCG@{k}", "fitness", "difference")
    return ("model", *quality, "mean size", "bytes", "budget", "learning", "testing", "violations")


def _model_cells(row: SegmentRow) -> list[str]:
    return [
        figure_text(row.recall),
        figure_text(row.ndcg),
        figure_text(row.fitness),
        "reference" if row.is_reference else difference_html(row.fitness_difference),
        sizes_text(row),
        bytes_text(row.num_bytes),
        NOTHING if row.budget_bytes is None else bytes_text(row.budget_bytes),
        seconds_text(row.learn_seconds),
        seconds_text(row.test_seconds),
        str(row.violations),
    ]


def _recall_cells(row: SegmentRow) -> list[str]:
    return [quality_text(recall) for recall in row.recall_by_segment]


def _ndcg_cells(row: SegmentRow) -> list[str]:
    return [quality_text(ndcg) for ndcg in row.ndcg_by_segment]
