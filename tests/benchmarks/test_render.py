"""The documents and their plots say what benchmarks.json says, and nothing else."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks import render
from tests.benchmarks.entries import KEPT, Entries, Entry, Machine, read_entries
from tests.benchmarks.plots import PLOTS, Line, Scale, chart, plots, ticks_over
from tests.benchmarks.registry import BENCHMARKS
from tests.benchmarks.tables import Row, Told, markdown, provenance, table_with_goals

KEPT_ENTRIES = read_entries(KEPT)
AGAIN = "run python -m tests.benchmarks.render"
RATE = Row(
    "learning",
    "learning",
    lambda goals: f"{goals['rate']:g}/s",
    lambda figures, goals: Told(f"{figures['rate']}/s", figures["rate"] < goals["rate"], "(wall time)"),
)
TABLE = table_with_goals("what", [RATE])


def entries(rate: int | None, why: str | None = None) -> Entries:
    figures = None if rate is None else {"rate": rate}
    return {"learning": Entry(figures=figures, why=why, goals={"rate": 5}, measured_at="2026-11-22T10:00:00+00:00")}


@pytest.mark.parametrize("document", render.DOCUMENTS, ids=lambda path: path.parent.name)
def test_the_documents_agree_with_the_figures(document: Path) -> None:
    text = document.read_text()
    assert text == render.with_tables(text, KEPT_ENTRIES), AGAIN


def test_every_table_and_plot_is_shown_somewhere() -> None:
    text = "".join(document.read_text() for document in render.DOCUMENTS)
    assert set(re.findall(r"<!-- benchmark:(.+) -->", text)) == set(render.TABLES)
    assert set(re.findall(r"plots/(.+)\.svg\)", text)) == set(plots(KEPT_ENTRIES))


def test_the_plots_agree_with_the_figures() -> None:
    found = {path.stem: path.read_text() for path in render.PLOTS.glob("*")}
    assert found == plots(KEPT_ENTRIES), AGAIN


@pytest.mark.parametrize("document", render.DOCUMENTS, ids=lambda path: path.parent.name)
def test_what_is_edited_by_hand_is_noticed(document: Path) -> None:
    text = document.read_text()
    for name in re.findall(r"<!-- benchmark:(.+) -->", text):
        begin = text.index(f"<!-- benchmark:{name} -->")
        digit = re.compile(r"\d").search(text, text.index("|---|", begin))
        assert digit is not None
        edited = text[: digit.start()] + str((int(digit[0]) + 1) % 10) + text[digit.end() :]
        assert render.with_tables(edited, KEPT_ENTRIES) == text


def test_prose_is_left_alone() -> None:
    text = "before\n\n<!-- benchmark:speed -->\nold\n<!-- end -->\n\nbetween\n\n<!-- benchmark:service --><!-- end -->"
    written = render.with_tables(text.replace("--><", "-->\n<"), KEPT_ENTRIES)
    assert written.startswith("before\n\n<!-- benchmark:speed -->\n\n| what")
    assert "<!-- end -->\n\nbetween\n\n<!-- benchmark:service -->\n\n| what" in written
    assert "old" not in written
    assert render.with_tables(written, KEPT_ENTRIES) == written


def test_a_block_that_is_no_table_or_has_no_end_is_refused() -> None:
    with pytest.raises(ValueError, match="no table benchmark:sped: there are speed, service"):
        render.with_tables("<!-- benchmark:sped -->\n<!-- end -->", {})
    with pytest.raises(ValueError, match="the table benchmark:speed has no <!-- end -->"):
        render.with_tables("<!-- benchmark:speed -->\n\n<!-- benchmark:service -->\n<!-- end -->", {})


def test_what_misses_its_goal_is_bold() -> None:
    assert "| learning | 5/s | 7/s (wall time) |" in markdown(TABLE, entries(7))
    assert "| learning | 5/s | **4/s** (wall time) |" in markdown(TABLE, entries(4))


def test_what_has_no_figures_says_why() -> None:
    assert "| learning | 5/s | not measured: no broker \\| no jars |" in markdown(
        TABLE, entries(None, "no broker | no jars")
    )
    assert "| learning |  | not measured |" in markdown(TABLE, {})


def test_a_table_says_when_and_where_it_was_measured() -> None:
    machine = Machine("Some Processor", 2, 7.8, "3.11.7")
    first = Entry(figures={}, measured_at="2026-11-22T10:00:00+00:00", commit="27f01a3", machine=machine)
    second = Entry(figures={}, measured_at="2026-11-24", commit="27f01a3", machine=machine)
    text = "commit 27f01a3, on Some Processor, 2 cores, 8 GiB, Python 3.11.7."
    assert provenance([first]) == f"Measured 2026-11-22, {text}"
    assert provenance([second, first]) == f"Measured 2026-11-22 to 2026-11-24, {text}"
    assert provenance([first, Entry(figures={}, measured_at="2026-11-22")]) == (
        "Measured 2026-11-22, commits 27f01a3, not noted, on Some Processor, 2 cores, 8 GiB, Python 3.11.7; "
        "a machine not noted."
    )


def test_every_figure_is_of_a_benchmark_and_held_against_its_goals() -> None:
    assert KEPT_ENTRIES.keys() <= BENCHMARKS.keys()
    for name, entry in KEPT_ENTRIES.items():
        assert entry.goals == BENCHMARKS[name].goals, name
    shown = {name for table in render.TABLES.values() for name in table.benchmarks}
    assert shown | {drawing.benchmark for drawing in PLOTS.values()} <= BENCHMARKS.keys()


SCALES = (Scale(lambda x: f"{x:g} entities", ticks_over), Scale(lambda y: f"{y:g} us", ticks_over))


def test_a_plot_is_a_document_of_its_own_and_always_the_same() -> None:
    lines = [Line("ours", [1e4, 1e5], [2.0, 3.0]), Line("theirs", [1e4, 1e5], [20.0, 300.0])]
    svg = chart("test", "Cost", lines, *SCALES)
    document = ET.fromstring(svg)
    assert document.tag == "{http://www.w3.org/2000/svg}svg"
    assert document.attrib["aria-label"] == (
        "Cost: ours 2 us at 10000 entities, 3 us at 100000 entities; theirs 20 us at 10000 entities, 300 us at 100000 "
        "entities."
    )
    told = {element.text for element in document.iter() if element.text}
    assert {"ours", "theirs", "10000 entities", "100 us"} <= told
    assert svg == chart("test", "Cost", lines, *SCALES)
