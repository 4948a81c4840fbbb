"""Rows of tables from figures that were made up."""

from typing import Any

from tests.benchmarks.entries import Entries, Entry
from tests.benchmarks.registry import BENCHMARKS
from tests.benchmarks.tables import Table


def rows_of(table: Table, figures: Any) -> list[tuple[str, ...]]:
    """Return the rows of a table of one benchmark, each as wide as the header; there are none without figures."""
    goals = dict(BENCHMARKS[table.benchmarks[0]].goals)
    entries: Entries = {table.benchmarks[0]: Entry(figures=figures, goals=goals, measured_at="2026-11-22")}
    rows = list(table.rows(entries))
    assert all(len(row) == len(table.header) for row in rows)
    assert list(table.rows({})) == []
    return rows
