"""What a comparison of models leaves behind: ``models.json`` for programs, ``models.html`` and a table for people."""

import json
from html import escape
from pathlib import Path
from typing import Any, Final

import msgspec

from stream.adapters.comparison_page import TABLE_STYLE, difference_html
from stream.adapters.comparison_statistics import CONFIDENCE
from stream.adapters.comparison_texts import difference_text, relative_text
from stream.adapters.model_comparison import Estimate, ModelComparison, ModelRow
from stream.adapters.model_comparison_plots import model_plots
from stream.adapters.model_comparison_texts import estimate_text, explanations, gaps_text, memory_text
from stream.adapters.page import chip, figures, frame, header, section, settings_and_versions
from stream.adapters.report import write_aside
from stream.adapters.tables import Line, table_of, text_of
from stream.adapters.units import plural, quality_text, seconds_text

JSON_NAME: Final = "models.json"
PAGE_NAME: Final = "models.html"
FULL_WIDTH: Final = 160
"""Columns of text that the whole table takes."""


def save_models(comparison: ModelComparison, folder: Path) -> Path:
    """Write ``models.json`` and ``models.html`` into ``folder``, made if missing; return the page's path.

    Each file is written aside and renamed. Raises :class:`StorageError` where the disk refuses.
    """
    text = json.dumps(model_fields(comparison), allow_nan=False, separators=(",", ":"))
    write_aside(folder / JSON_NAME, text + "\n")
    write_aside(folder / PAGE_NAME, render_models(comparison))
    return folder / PAGE_NAME


def model_fields(comparison: ModelComparison) -> dict[str, Any]:
    """Return the comparison in the public form of ``models.json``; but for seconds it is repeatable."""
    fields: dict[str, Any] = vars(comparison) | {
        "confidence": CONFIDENCE,
        "num_seeds_planned": comparison.num_planned,
    }
    del fields["num_planned"]
    return fields | {"gaps": list(comparison.gaps), "rows": [_row_fields(row) for row in comparison.rows]}


def _row_fields(row: ModelRow) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(row)
    for name, difference in (("recall", row.recall_difference), ("ndcg", row.ndcg_difference)):
        if difference is not None:
            ends = {"low": difference.low, "high": difference.high, "is_clear": difference.is_clear}
            fields[f"{name}_difference"] |= ends
    return fields


def models_summary(comparison: ModelComparison, page: Path, width: int = FULL_WIDTH) -> str:
    """Return the result for standard output: a table and what its figures mean.

    What ``width`` columns have no room for is left to the page.
    """
    is_wide = width >= FULL_WIDTH
    lines = (Line(row.model, _cells(row, comparison, is_wide=is_wide), row.is_reference) for row in comparison.rows)
    sentences = [*explanations(comparison), *_variants(comparison), f"Page: {page}"]
    return text_of([table_of(comparison.data, "model", lines)], sentences, width)


def _variants(comparison: ModelComparison) -> list[str]:
    told = [f"{row.model}: {row.variant}" for row in comparison.rows if row.variant]
    return [f"Variants told: {'; '.join(told)}."] if told else []


def _cells(row: ModelRow, comparison: ModelComparison, *, is_wide: bool) -> dict[str, str]:
    k = comparison.top_k
    cells = {
        f"recall@{k}": estimate_text(row.recall) if is_wide else quality_text(row.recall.mean),
        "difference": "reference" if row.is_reference else difference_text(row.recall_difference),
        "relative": relative_text(row.recall_difference),
    }
    if is_wide:
        cells |= {
            f"ndcg@{k}": quality_text(row.ndcg.mean),
            "(relative)": relative_text(row.ndcg_difference),
            "first | under 1 h | over 1 h": gaps_text(row),
            "learning": seconds_text(row.learn_seconds),
        }
    return cells | {"bytes": memory_text(row)}


def render_models(comparison: ModelComparison) -> str:
    """Return the page as HTML; the same text each time for the same comparison.

    It follows the reader's light or dark colours, has no script and refers to nothing outside itself.
    """
    facts = [
        plural(len(comparison.rows), "model"),
        plural(len(comparison.seeds), "seed"),
        plural(comparison.num_tests, "test"),
        f"reference {comparison.reference}",
    ]
    whole = len(comparison.seeds) == comparison.num_planned
    done = f"{len(comparison.seeds)} of {plural(comparison.num_planned, 'seed')}"
    chips = [chip(f"{done} finished" if whole else f"interrupted after {done}", "good" if whole else "alarm")]
    words = "".join(f"<p>{escape(sentence)}</p>" for sentence in explanations(comparison))
    top = header(comparison.data, [" · ".join(facts)], chips, f'<div class="explained note">{words}</div>')
    quality = section("Models", figures(model_plots(comparison)) + _page_table(comparison))
    details = settings_and_versions("What all runs have in common.", comparison.settings, comparison.versions)
    return frame(f"{comparison.data}: models compared", top + quality + section("Details", details), TABLE_STYLE)


def _page_table(comparison: ModelComparison) -> str:
    k = comparison.top_k
    quality = (f"Recall@{k}", "difference", f"NDCG@{k}", "difference", "first | under 1 h | over 1 h")
    names = ("model", *quality, "bytes", "learning", "testing")
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(map(_page_row, comparison.rows))
    return f'<div class="card" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _page_row(row: ModelRow) -> str:
    cells = [
        _estimate_cell(row.recall),
        difference_html(row.recall_difference),
        _estimate_cell(row.ndcg),
        difference_html(row.ndcg_difference),
        gaps_text(row),
        memory_text(row),
        seconds_text(row.learn_seconds),
        seconds_text(row.test_seconds),
    ]
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
    mark = ' class="reference"' if row.is_reference else ""
    name = f"{escape(row.model)}<br><small>{escape(row.variant)}</small>"
    return f'<tr{mark}><th scope="row">{name}</th>{numbers}</tr>'


def _estimate_cell(estimate: Estimate) -> str:
    ends = f"{quality_text(estimate.low)} to {quality_text(estimate.high)}"
    return f"{quality_text(estimate.mean)}<small>{ends}</small>"
