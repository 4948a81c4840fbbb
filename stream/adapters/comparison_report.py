"""What a comparison leaves behind: ``compare.json`` for programs, ``compare.html`` and a table for people."""

import json
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.table import Table

from stream.adapters.comparison import Comparison, Row
from stream.adapters.comparison_page import render_comparison
from stream.adapters.comparison_statistics import CONFIDENCE
from stream.adapters.comparison_texts import (
    budget_text,
    difference_text,
    explanations,
    relative_text,
    sizes_text,
)
from stream.adapters.report import report_fields, write_aside
from stream.adapters.tables import Line, table_of, text_of
from stream.adapters.units import bytes_text, count_text, quality_text, seconds_text

JSON_NAME: Final = "compare.json"
PAGE_NAME: Final = "compare.html"
FULL_WIDTH: Final = 140
"""Columns of text that the whole table takes."""


def comparison_fields(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison in the public form of ``compare.json``; times and resident memory aside, it is repeatable.

    ``rows`` are by budget, the best in NDCG first; ``runs`` have the form of ``report.json`` each. Differences are
    from the reference under the same budget, with the ends of their interval; see
    :mod:`stream.adapters.comparison_statistics` for what that is. ``mean_sizes`` has, for each of ``budgets``, the
    words per user and item that it was asked for with, None where it was given itself.
    """
    k = comparison.top_k
    return {
        "data": comparison.data,
        "reference": comparison.reference,
        "finished": comparison.is_finished,
        "planned_runs": comparison.num_planned,
        "seeds": comparison.seeds,
        "budgets": comparison.budgets,
        "mean_sizes": [comparison.mean_sizes.get(budget) for budget in comparison.budgets],
        "top_k": k,
        "warm_share": comparison.warm_share,
        "confidence": CONFIDENCE,
        "rows": [_row_fields(row, k) for row in comparison.rows],
        "settings": comparison.settings,
        "versions": comparison.reports[0].versions,
        "runs": [report_fields(report) for report in comparison.reports],
    }


def _row_fields(row: Row, k: int) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(row)
    for metric, difference in (("ndcg", row.ndcg_difference), ("recall", row.recall_difference)):
        fields[f"{metric}_at_{k}"] = fields.pop(metric)
        told = fields.pop(f"{metric}_difference")
        if difference is not None:
            told |= {"low": difference.low, "high": difference.high, "is_clear": difference.is_clear}
        fields[f"{metric}_at_{k}_difference"] = told
    return fields


def save_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write ``compare.json`` and ``compare.html`` into ``folder``, made if missing; return the page's path.

    Each file is written aside and renamed. Raises :class:`StorageError` where the disk refuses.
    """
    text = json.dumps(comparison_fields(comparison), allow_nan=False, separators=(",", ":"))
    write_aside(folder / JSON_NAME, text + "\n")
    write_aside(folder / PAGE_NAME, render_comparison(comparison))
    return folder / PAGE_NAME


def comparison_summary(comparison: Comparison, page: Path, width: int = FULL_WIDTH) -> str:
    """Return the result for standard output: a table for each budget, and what its figures mean.

    What ``width`` columns have no room for is left to the page.
    """
    tables = [
        _table(comparison, comparison.under(budget), is_wide=width >= FULL_WIDTH) for budget in comparison.budgets
    ]
    return text_of(tables, [*explanations(comparison), f"Page: {page}"], width)


def _table(comparison: Comparison, rows: list[Row], *, is_wide: bool) -> Table:
    title = f"{comparison.data} under {budget_text(comparison, rows[0].budget_bytes)}"
    lines = (Line(row.policy, _cells(row, comparison.top_k, is_wide=is_wide), row.is_reference) for row in rows)
    return table_of(title, "policy", lines)


def _cells(row: Row, k: int, *, is_wide: bool) -> dict[str, str]:
    recall = quality_text(row.recall)
    cells = {
        f"ndcg@{k}": quality_text(row.ndcg),
        "difference": "reference" if row.is_reference else difference_text(row.ndcg_difference),
        "relative": relative_text(row.ndcg_difference),
        f"recall@{k}": recall if row.is_reference else f"{recall} ({relative_text(row.recall_difference)})",
    }
    if is_wide:
        cells |= {
            "sizes": sizes_text(row),
            "peak": bytes_text(row.peak_bytes),
            "resizing": seconds_text(row.resize_seconds),
            "events/s": count_text(row.events_per_second),
        }
    return cells | {"violations": str(row.violations)}
