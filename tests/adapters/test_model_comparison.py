"""Models side by side: figures, intervals and pairing, the table, the JSON form and the page, from made-up places."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.adapters.model_comparison import Cases, Described, ModelComparison, ModelRow, Run, bootstrap, compare_runs
from stream.adapters.model_comparison_report import (
    FULL_WIDTH,
    model_fields,
    models_summary,
    render_models,
    save_models,
)
from stream.errors import StorageError
from tests.adapters.strict_html import Page

GAPS = ("first", "under_1h", "over_1h")
HOSTILE = "<script>alert(1)</script>\"&'$\\frac{[red]\ud800"
Floats = NDArray[np.float64]


def some_cases(seed: int = 1, num: int = 400, num_users: int = 40) -> Cases:
    rng = np.random.default_rng(seed)
    user = rng.integers(0, num_users, num).astype(np.uint64)
    no_place = rng.random(num) < 0.1
    return Cases(seed, user, np.arange(num) / num, rng.integers(0, 3, num), no_place)


def a_run(model: str, hits: Floats, seed: int = 1, num_bytes: int = 1000, budget_bytes: int | None = None) -> Run:
    """Return a run whose variants hit, at the first place, where ``hits`` (bool[variants, tests]) says."""
    rank = np.where(np.atleast_2d(hits), 0.0, np.inf)
    variants = tuple(f"variant {number}" for number in range(len(rank))) if len(rank) > 1 else ("",)
    return Run(model, seed, variants, rank, num_bytes, budget_bytes, 1.5, 2.5)


def compared(
    cases: list[Cases], runs: list[Run], reference: str = "ours", warm: float = 0.4, planned: int | None = None
) -> ModelComparison:
    planned = len(cases) if planned is None else planned
    return compare_runs(
        Described("films", reference, 20, warm, planned, GAPS, {"seed": 1}, {"numpy": "2"}), cases, runs
    )


def row_of(comparison: ModelComparison, model: str) -> ModelRow:
    return next(row for row in comparison.rows if row.model == model)


def chances(cases: Cases, share: float, seed: int) -> Floats:
    return np.random.default_rng(seed).random(len(cases.user)) < share


@pytest.fixture(scope="module")
def usual() -> ModelComparison:
    cases = [some_cases(seed) for seed in (1, 2)]
    runs = []
    for columns in cases:
        runs.append(a_run("ours", chances(columns, 0.5, columns.seed), columns.seed, 900, 1024))
        runs.append(a_run("worse", chances(columns, 0.2, 10 + columns.seed), columns.seed))
        two = np.array([chances(columns, 0.3, 20 + columns.seed), chances(columns, 0.6, 30 + columns.seed)])
        runs.append(a_run("better", two, columns.seed))
    return compared(cases, runs)


def test_figures_are_means_of_the_tests_after_the_warm_up_every_seed_the_same() -> None:
    cases = [some_cases(1, 100), some_cases(2, 300)]
    hits = [chances(columns, 0.4, columns.seed) for columns in cases]
    both = compared(cases, [a_run("ours", h, c.seed) for h, c in zip(hits, cases, strict=True)])
    expected = np.mean([h[c.position >= 0.4].mean() for h, c in zip(hits, cases, strict=True)])
    row = row_of(both, "ours")
    assert row.recall.mean == pytest.approx(expected)
    assert row.ndcg.mean == pytest.approx(expected)
    assert both.num_tests == 60 + 180
    counted = np.concatenate([c.gap[c.position >= 0.4] for c in cases])
    assert both.gap_shares["over_1h"] == pytest.approx(np.mean(counted == 2))
    in_gap = np.concatenate([h[c.position >= 0.4] for h, c in zip(hits, cases, strict=True)])[counted == 1]
    assert row.recall_by_gap["under_1h"] == pytest.approx(in_gap.mean())
    # The course has all of the stream.
    assert row.recall_by_part[0] == pytest.approx(np.concatenate([hits[0][:5], hits[1][:15]]).mean())


def test_the_variant_told_is_the_best_on_the_events_that_count_over_all_seeds() -> None:
    cases = [some_cases(1), some_cases(2)]
    late = cases[0].position >= 0.4
    # The first is perfect where it does not count, the second where it does, under one of two seeds.
    first = a_run("ours", np.stack([~late, late]), 1)
    none = np.zeros_like(late)
    second = a_run("ours", np.stack([none, none]), 2)
    row = row_of(compared(cases, [first, second]), "ours")
    assert (row.variant, row.recall.mean) == ("variant 1", 0.5)


def test_rows_stand_by_recall_and_the_reference_differs_from_none(usual: ModelComparison) -> None:
    assert [row.model for row in usual.rows] == ["better", "ours", "worse"]
    assert [row.is_reference for row in usual.rows] == [False, True, False]
    assert row_of(usual, "ours").recall_difference is None
    for name, direction in (("better", 1), ("worse", -1)):
        difference = row_of(usual, name).recall_difference
        assert difference is not None
        assert difference.mean == pytest.approx(row_of(usual, name).recall.mean - row_of(usual, "ours").recall.mean)
        assert np.sign(difference.mean) == direction
    worse = row_of(usual, "worse").recall_difference
    assert worse is not None
    assert worse.is_clear
    assert worse.p_value is not None
    assert worse.p_value < 0.01


def test_the_interval_is_as_wide_as_theory_says_where_users_do_not_depend_on_each_other() -> None:
    rng = np.random.default_rng(3)
    values = rng.random((500, 1))
    mean, draws = bootstrap(values, np.ones(500), np.arange(500, dtype=np.uint64), 4000)
    assert mean[0] == pytest.approx(values.mean())
    assert draws.std() == pytest.approx(values.std() / np.sqrt(500), rel=0.05)


def test_events_of_one_user_count_as_one() -> None:
    rng = np.random.default_rng(4)
    of_user = np.repeat(rng.random(50), 20)[:, None]
    _, by_user = bootstrap(of_user, np.ones(1000), np.repeat(np.arange(50, dtype=np.uint64), 20), 2000)
    _, by_event = bootstrap(of_user, np.ones(1000), np.arange(1000, dtype=np.uint64), 2000)
    assert by_user.std() > 4 * by_event.std()


def test_what_makes_an_event_hard_for_both_cancels_out() -> None:
    cases = [some_cases(1, 2000, 200)]
    hard = chances(cases[0], 0.5, 1)
    one_more = hard.copy()
    one_more[np.flatnonzero(~hard)[::25]] = True
    row = row_of(compared(cases, [a_run("ours", hard), a_run("more", one_more)]), "more")
    assert row.recall_difference is not None
    assert row.recall_difference.is_clear
    assert row.recall.low < row_of(compared(cases, [a_run("ours", hard)]), "ours").recall.high


def test_equals_do_not_differ() -> None:
    cases = [some_cases(1)]
    same = chances(cases[0], 0.5, 1)
    difference = row_of(compared(cases, [a_run("ours", same), a_run("twin", same)]), "twin").recall_difference
    assert difference is not None
    assert (difference.mean, difference.margin, difference.p_value, difference.is_clear) == (0.0, 0.0, 1.0, False)


def test_chance_alone_is_seldom_clear() -> None:
    clear = 0
    for trial in range(60):
        cases = [some_cases(trial, 300, 60)]
        runs = [a_run("ours", chances(cases[0], 0.4, 100 + trial), trial)]
        runs.append(a_run("other", chances(cases[0], 0.4, 900 + trial), trial))
        difference = row_of(compared(cases, runs), "other").recall_difference
        assert difference is not None
        clear += difference.is_clear
    assert clear <= 8


def test_the_same_runs_give_the_same_comparison(usual: ModelComparison) -> None:
    cases = [some_cases(1)]
    runs = [a_run("ours", chances(cases[0], 0.5, 1)), a_run("b", chances(cases[0], 0.4, 2))]
    assert model_fields(compared(cases, runs)) == model_fields(compared(cases, runs))
    assert render_models(usual) == render_models(usual)


def test_what_is_left_behind_is_json_and_a_page_with_every_model(usual: ModelComparison, tmp_path: Path) -> None:
    page = save_models(usual, tmp_path)
    fields = json.loads((tmp_path / "models.json").read_text())
    assert [row["model"] for row in fields["rows"]] == ["better", "ours", "worse"]
    worse = fields["rows"][2]["recall_difference"]
    assert worse["low"] < worse["mean"] < worse["high"] < 0
    assert (fields["reference"], fields["num_seeds_planned"], fields["seeds"]) == ("ours", 2, [1, 2])
    html = Page(page.read_text())
    assert len(html.named("svg")) == 5
    assert len(html.named("tr")) >= 4
    assert not html.named("script")
    for row in usual.rows:
        assert row.model in html.text
        assert f"{row.recall.mean:.4f}" in html.text


def test_the_table_fits_a_terminal_and_tells_what_it_is(usual: ModelComparison) -> None:
    wide = models_summary(usual, Path("models.html"))
    assert max(map(len, wide.splitlines())) <= FULL_WIDTH
    for part in ("better", "reference", "900 B of 1 KiB", "variant 1", "480 events", "Page: models.html"):
        assert part in wide
    narrow = models_summary(usual, Path("models.html"), 80)
    assert max(map(len, narrow.splitlines())) <= 80
    assert "ndcg" not in narrow


def test_names_are_text_everywhere() -> None:
    cases = [some_cases(1)]
    runs = [a_run(name, chances(cases[0], 0.5, 1)) for name in (HOSTILE, "other")]
    found = replace(compared(cases, runs, HOSTILE), data=HOSTILE)
    page = Page(render_models(found))
    assert not page.named("script")
    assert "alert(1)" in page.text
    assert "[red]" in models_summary(found, Path("p"))


def test_an_interrupted_comparison_says_so(usual: ModelComparison) -> None:
    cut = replace(usual, num_planned=5)
    assert "Interrupted after 2 of 5 seeds" in models_summary(cut, Path("p"))
    assert "interrupted after 2 of 5 seeds" in Page(render_models(cut)).text
    assert "Interrupted" not in models_summary(usual, Path("p"))


def test_a_single_model_that_never_hits_has_a_page_too() -> None:
    cases = [some_cases(1, 20)]
    found = compared(cases, [a_run("ours", np.zeros(20, np.bool_))])
    assert found.rows[0].recall == msgspec.structs.replace(found.rows[0].recall, mean=0.0, low=0.0, high=0.0)
    assert "nothing to hold against" in Page(render_models(found)).text


def test_a_disk_that_refuses_is_told(usual: ModelComparison, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        save_models(usual, tmp_path / "file")
