"""A comparison's rows, its table, its JSON form and its page, from made-up runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.console import Console

from stream.adapters.comparison import Comparison, compare
from stream.adapters.comparison_page import render_comparison
from stream.adapters.comparison_plots import MAX_COURSES, MAX_POLICIES
from stream.adapters.comparison_progress import ComparisonProgress
from stream.adapters.comparison_report import FULL_WIDTH, comparison_fields, comparison_summary, save_comparison
from stream.core.stats import Counts, Quality, Report, SizeSummary, WindowReport
from stream.errors import StorageError
from tests.adapters.strict_html import Page

MIB = 2**20
HOSTILE = "<script>alert(1)</script>\"&'$\\frac{[red]\ud800"
NO_SIZES = SizeSummary(0, 0.0, {}, [])


def a_window(index: int, quality: Quality, budget_bytes: int) -> WindowReport:
    return WindowReport(
        index=index,
        reason="events",
        first_event_ms=0,
        last_event_ms=1,
        counts=Counts(events=100, learnt=100),
        num_users=10,
        num_items=20,
        quality=quality,
        quality_by_gap={},
        top_k=20,
        budget_bytes=budget_bytes,
        ledger_bytes=budget_bytes,
        peak_bytes=budget_bytes,
        arena_words=1000,
        arena_used_words=900,
        peak_rss_bytes=MIB,
        user_sizes=msgspec.structs.replace(NO_SIZES, num=10, mean=4.0 + index),
        item_sizes=msgspec.structs.replace(NO_SIZES, num=20, mean=8.0),
        decision={},
        guard_trips={},
        resizes=1,
        train_seconds=0.5,
        eval_seconds=0.1,
        resize_seconds=0.1,
        checkpoint_seconds=0.0,
        checkpoint_bytes=0,
        events_per_second=200.0,
    )


def a_run(
    policy: str, seed: int, ndcg: Sequence[float], budget_bytes: int = MIB, tested: int = 50, **more: Any
) -> Report:
    qualities = [Quality(tested, 2 * figure, figure, figure) if tested else Quality(0) for figure in ndcg]
    windows = [a_window(index, quality, budget_bytes) for index, quality in enumerate(qualities)]
    fields: dict[str, Any] = {
        "data": "clicks.csv",
        "policy": policy,
        "guard_trips": {},
        "seed": seed,
        "counts": Counts(events=100 * len(windows), learnt=100 * len(windows), evictions=6),
        "dead_letter_reasons": {},
        "num_users": 10,
        "num_items": 20,
        "quality": qualities[-1],
        "quality_by_gap": {},
        "top_k": 20,
        "budget_bytes": budget_bytes,
        "peak_bytes": budget_bytes - 1,
        "ledger": [],
        "fixed": [],
        "peak_rss_bytes": MIB,
        "train_seconds": 0.5 * len(windows),
        "eval_seconds": 0.1,
        "resize_seconds": 0.25,
        "checkpoint_seconds": 0.0,
        "wall_seconds": 1.0,
        "events_per_second": 200.0,
        "finished": True,
        "resumed": False,
        "settings": {
            "seed": seed,
            "policy": policy,
            "memory": {"budget_bytes": budget_bytes, "seen_share": 0.125},
            "windows": {"close_after": "100events"},
        },
        "versions": {"numpy": "2.4.6"},
        "digest": "00c0ffee00c0ffee",
        "windows": windows,
    }
    return Report(**(fields | more))


def figures(seed: int, lead: float, num: int = 10) -> list[float]:
    """Return NDCG by window: the seed makes a window hard, the policy leads, and a little is chance."""
    hard = np.random.default_rng(seed).uniform(0.1, 0.3, num)
    chance = np.random.default_rng([seed, int(1e6 * lead) + 10**6]).normal(0, 0.001, num)
    values: list[float] = (hard + lead + chance).tolist()
    return values


LEADS = {"uniform": 0.0, "powerlaw:1": 0.02, "pareto": -0.02, "unchanged:uniform": 0.0}


def a_comparison(num_seeds: int = 3, budgets: Sequence[int] = (MIB,), leads: dict[str, float] = LEADS) -> Comparison:
    reports = [
        a_run(policy, seed, figures(seed, lead), budget)
        for seed in range(1, num_seeds + 1)
        for budget in budgets
        for policy, lead in leads.items()
    ]
    return compare(reports, "uniform", 0.2, len(reports))


# Rows


def test_planted_differences_are_found_and_the_others_are_not() -> None:
    for num_seeds in (1, 3):
        rows = {row.policy: row for row in a_comparison(num_seeds).rows}
        found = {policy: row.ndcg_difference for policy, row in rows.items() if row.ndcg_difference is not None}
        assert found.keys() == {"powerlaw:1", "pareto", "unchanged:uniform"}
        assert {policy for policy, difference in found.items() if difference.is_clear} == {"powerlaw:1", "pareto"}
        assert found["powerlaw:1"].mean == pytest.approx(0.02, abs=0.002)
        assert found["pareto"].mean == pytest.approx(-0.02, abs=0.002)
        assert found["powerlaw:1"].over == ("seeds" if num_seeds == 3 else "windows")


def test_the_best_stands_first_within_its_budget() -> None:
    comparison = a_comparison(budgets=(4 * MIB, MIB))
    assert comparison.budgets == [MIB, 4 * MIB]
    assert [row.budget_bytes for row in comparison.rows] == [MIB] * 4 + [4 * MIB] * 4
    for budget in comparison.budgets:
        order = [row.policy for row in comparison.under(budget)]
        assert (order[0], order[-1]) == ("powerlaw:1", "pareto")
        assert [row.policy for row in comparison.under(budget) if row.is_reference] == ["uniform"]


def test_the_warm_up_does_not_count() -> None:
    mine, theirs = a_run("pareto", 1, [0.9, 0.9, *[0.3] * 8]), a_run("uniform", 1, [0.0, 0.0, *[0.2] * 8])
    row = compare([mine, theirs], "uniform", 0.2, 2).rows[0]
    assert (row.policy, row.ndcg, row.recall) == ("pareto", pytest.approx(0.3), pytest.approx(0.6))
    assert (row.num_windows, row.evaluated) == (8, 400)
    assert row.user_size == pytest.approx(4 + 5.5)
    assert row.ndcg_difference is not None
    assert row.ndcg_difference.mean == pytest.approx(0.1)
    assert row.ndcg_difference.relative == pytest.approx(0.5)


@pytest.mark.parametrize(("warm_share", "num_windows"), [(0.0, 5), (0.2, 4), (0.21, 3), (0.99, 1)])
def test_the_last_window_always_counts(warm_share: float, num_windows: int) -> None:
    runs = [a_run(policy, 1, [0.1] * 5) for policy in ("uniform", "pareto")]
    assert {row.num_windows for row in compare(runs, "uniform", warm_share, 2).rows} == {num_windows}


def test_runs_are_paired_by_seed_and_an_odd_one_out_is_left_out() -> None:
    runs = [a_run("uniform", 1, [0.1] * 5), a_run("pareto", 1, [0.2] * 5), a_run("uniform", 2, [0.7] * 5)]
    comparison = compare(runs, "uniform", 0.2, 4)
    row = next(row for row in comparison.rows if row.policy == "pareto")
    assert row.ndcg_difference is not None
    assert row.ndcg_difference.mean == pytest.approx(0.1)
    assert (row.seeds, comparison.seeds, comparison.is_finished) == ([1], [1, 2], False)


def test_without_a_reference_there_are_figures_but_no_differences() -> None:
    comparison = compare([a_run("pareto", 1, [0.2] * 5)], "uniform", 0.2, 2)
    assert comparison.rows[0].ndcg == pytest.approx(0.2)
    assert comparison.rows[0].ndcg_difference is None
    assert "nothing to hold against" in comparison_summary(comparison, Path("page"))
    Page(render_comparison(comparison))


def test_without_tests_there_are_no_figures() -> None:
    runs = [a_run(policy, 1, [0.1] * 5, tested=0) for policy in ("uniform", "pareto")]
    comparison = compare(runs, "uniform", 0.2, 2)
    assert {(row.ndcg, row.recall, row.ndcg_difference) for row in comparison.rows} == {(None, None, None)}
    assert comparison_fields(comparison)["rows"][0]["ndcg_at_20"] is None
    Page(render_comparison(comparison))


def test_violations_are_summed_and_shown() -> None:
    counts = Counts(events=500, learnt=500, violations=2)
    runs = [a_run("uniform", seed, [0.1] * 5, counts=counts) for seed in (1, 2)]
    comparison = compare(runs, "uniform", 0.2, 2)
    assert comparison.rows[0].violations == 4
    assert "4 budget violations" in Page(render_comparison(comparison)).text
    assert "budgets kept" in Page(render_comparison(a_comparison())).text


def test_what_a_policy_s_guard_did_is_summed_and_told() -> None:
    trips = ({"predicted drop": 1}, {"predicted drop": 2, "not finite": 4}, {})
    runs = [a_run("scall", seed, [0.1] * 5, guard_trips=one) for seed, one in enumerate(trips)]
    comparison = compare([*runs, a_run("uniform", 1, [0.1] * 5)], "uniform", 0.2, 4)
    told = "scall under 1 MiB, over 3 seeds: the policy's guard stepped in 7 times: not finite 4, predicted drop 3."
    assert {row.policy: row.guard_trips for row in comparison.rows}["scall"] == {"predicted drop": 3, "not finite": 4}
    assert told in Page(render_comparison(comparison)).text
    assert told in " ".join(comparison_summary(comparison, Path("compare.html")).split())
    assert "guard" not in Page(render_comparison(a_comparison())).text


# The JSON form and the table


def test_the_json_form_has_every_figure_of_every_row_and_all_runs() -> None:
    fields = json.loads(json.dumps(comparison_fields(a_comparison(budgets=(MIB, 2 * MIB))), allow_nan=False))
    assert (fields["data"], fields["reference"], fields["finished"]) == ("clicks.csv", "uniform", True)
    assert (fields["planned_runs"], len(fields["runs"]), fields["seeds"]) == (24, 24, [1, 2, 3])
    assert fields["settings"] == {"memory": {"seen_share": 0.125}, "windows": {"close_after": "100events"}}
    assert [len(run["windows"]) for run in fields["runs"]] == [10] * 24
    best, difference = fields["rows"][0], fields["rows"][0]["ndcg_at_20_difference"]
    assert (best["policy"], best["seeds"], best["violations"]) == ("powerlaw:1", [1, 2, 3], 0)
    assert difference["low"] < difference["mean"] < difference["high"]
    assert (difference["is_clear"], difference["over"], difference["num"]) == (True, "seeds", 3)
    assert [row["ndcg_at_20_difference"] for row in fields["rows"] if row["is_reference"]] == [None, None]


def test_the_table_tells_differences_and_marks_those_that_are_clear() -> None:
    comparison = a_comparison()
    text = comparison_summary(comparison, Path("folder/compare.html"))
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    for row in comparison.rows:
        told = "reference" if row.ndcg_difference is None else f"{row.ndcg_difference.mean:+.4f} "
        assert told in lines[row.policy]
        assert ("*" in lines[row.policy]) == (row.policy in ("powerlaw:1", "pareto"))
    assert "95% interval over 3 seeds" in text
    assert "2 of 3" in text
    assert "folder/compare.html" in text
    assert max(map(len, text.splitlines())) <= FULL_WIDTH


def test_a_narrow_terminal_has_the_figures_that_matter_most() -> None:
    text = comparison_summary(a_comparison(), Path("page"), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "violations" in text
    assert "events/s" not in text


def test_few_windows_and_seeds_are_told_with_the_remedy() -> None:
    runs = [a_run(policy, 1, [0.1, 0.2]) for policy in ("uniform", "pareto")]
    assert "3 seeds (--seeds), or 4 windows" in comparison_summary(compare(runs, "uniform", 0.0, 2), Path("page"))


def test_an_interruption_is_told() -> None:
    runs = [a_run(policy, 1, figures(1, lead)) for policy, lead in LEADS.items()]
    comparison = compare(runs, "uniform", 0.2, 12)
    assert "Interrupted after 4 of 12 runs" in comparison_summary(comparison, Path("page"))
    assert "interrupted after 4 of 12 runs" in Page(render_comparison(comparison)).text
    assert comparison_fields(comparison)["finished"] is False


def test_a_budget_asked_for_by_a_mean_size_is_told_with_it_to_the_byte() -> None:
    budgets = (MIB + 1, 2 * MIB)
    runs = [a_run(policy, 1, figures(1, lead), budget) for budget in budgets for policy, lead in LEADS.items()]
    comparison = compare(runs, "uniform", 0.2, len(runs), {MIB + 1: 4, 2 * MIB: 8})
    assert comparison_fields(comparison)["mean_sizes"] == [4, 8]
    for text in (comparison_summary(comparison, Path("page")), Page(render_comparison(comparison)).text):
        assert "under 1 MiB (1,048,577 bytes, mean size 4)" in text
        assert "under 2 MiB (2,097,152 bytes, mean size 8)" in text
        assert "could own the mean size" in text
    given = a_comparison()
    assert comparison_fields(given)["mean_sizes"] == [None]
    assert "mean size" not in comparison_summary(given, Path("page"))


def test_settings_of_memory_that_differ_by_budget_are_not_in_common() -> None:
    runs = [a_run(policy, 1, figures(1, lead)) for policy, lead in LEADS.items()]
    runs[1].settings["memory"]["seen_share"] = 0.25
    assert compare(runs, "uniform", 0.2, 4).settings["memory"] == {}


# The page


def test_the_page_needs_nothing_from_outside_and_runs_nothing() -> None:
    text = render_comparison(a_comparison(budgets=(MIB, 2 * MIB)))
    page = Page(text)
    assert "://" not in text
    assert not {"script", "link", "img", "iframe", "object", "a"} & {tag for tag, _ in page.elements}
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in page.named("svg"))
    # Quality against bytes; and for each budget all differences, the sizes, and three policies by window.
    assert len(page.named("svg")) == len(page.named("figure")) == 1 + 2 * (1 + 1 + 3)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert text == render_comparison(a_comparison(budgets=(MIB, 2 * MIB)))


def test_of_many_policies_the_best_are_drawn_and_all_are_in_the_table() -> None:
    leads = {"uniform": 0.0} | {f"powerlaw:{shape}": shape / 1000 for shape in range(1, 31)}
    page = Page(render_comparison(a_comparison(leads=leads)))
    assert len(page.named("svg")) == 2 + MAX_COURSES
    assert len([1 for attributes in page.named("th") if attributes.get("scope") == "row"]) >= 31
    assert f"The first {MAX_POLICIES} of 30 policies" in page.text
    assert f"the best {MAX_COURSES} of 30" in page.text


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    reports = [a_run(policy, 1, figures(1, 0.01), data=HOSTILE) for policy in (HOSTILE, "uniform")]
    comparison = compare(reports, "uniform", 0.2, 2)
    page = Page(save_comparison(comparison, tmp_path).read_text())
    assert not page.named("script")
    assert page.text.count("<script>alert(1)</script>") >= 3
    assert "[red]" in comparison_summary(comparison, tmp_path, width=200)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compare.html", "compare.json"]
    assert json.loads((tmp_path / "compare.json").read_bytes())["finished"] is True


def test_a_folder_that_cannot_be_written_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*compare\.json: .*; make room there") as caught:
        save_comparison(a_comparison(1), tmp_path / "file" / "folder")
    assert "\n" not in str(caught.value)


# Progress


def test_progress_is_a_line_for_each_run_where_no_one_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with ComparisonProgress(2) as progress:
        progress.show(0.5)
        progress.finish_run(a_run("pareto", 3, [0.25]))
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "run 1 of 2  pareto under 1 MiB, seed 3  ndcg@20 0.2500  1 s\n"


def test_a_quiet_run_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ComparisonProgress(1, quiet=True) as progress:
        progress.finish_run(a_run("pareto", 3, [0.25]))
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_a_bar_that_vanishes() -> None:
    seconds = iter(range(100))
    console = Console(force_terminal=True, width=100, record=True, highlight=False)
    with ComparisonProgress(4, console=console, clock=lambda: float(next(seconds))) as progress:
        progress.finish_run(a_run("pareto", 3, [0.25]))
        progress.show(1.5)
    assert "1 of 4 runs" in console.export_text()
