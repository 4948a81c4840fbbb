"""Tables and plots of quality, from figures made up."""

from typing import Any

from tests.benchmarks.made_up import rows_of
from tests.benchmarks.plots import quality_of
from tests.benchmarks.quality import ABLATIONS
from tests.benchmarks.quality_results import ABLATED, BY_BUDGET, BY_PEER, EQUAL_BYTES, PLANS

MIB = 2**20


def quality_row(model: str, recall: float, budget: int | None) -> dict[str, Any]:
    interval = [recall, recall - 0.01, recall + 0.02]
    return {"model": model, "recall_at_20": interval, "bytes": budget or 50, "budget_bytes": budget}


def test_quality_has_a_row_for_each_plan_by_budget_then_the_peers_and_the_best_is_bold() -> None:
    plans = [
        quality_row(f"scall uniform/powerlaw:1@0.3 at {words} words", words / 100, 10 * words) for words in (4, 16)
    ]
    popularity = quality_row("popularity", 0.1, None)
    figures = {"ml100k": {"rows": [*plans, popularity]}, "drift": {"rows": [popularity]}}
    nothing = ("",) * 6
    assert rows_of(EQUAL_BYTES, figures) == [
        ("ours, uniform/powerlaw:1@0.3 at 16 words", "**.160**", *nothing),
        ("ours, uniform/powerlaw:1@0.3 at 4 words", ".040 ± .015", *nothing),
        ("popularity", ".100 ± .015", "", "", "", "", "**.100**", ""),
    ]
    svg = quality_of("ml100k")(figures)
    assert svg is not None
    assert ">ours, default plan<" in svg
    assert quality_of("retail")(figures) is None


def test_every_peer_but_the_oracle_stands_beside_the_default_plan_in_its_bytes_and_bold_where_that_is_worse() -> None:
    peers = [
        quality_row("als", 0.05, None) | {"bytes": 3 * MIB},
        quality_row("bpr", 0.35, None) | {"bytes": 2 * MIB},
        quality_row("popularity", 0.01, None) | {"bytes": 1000},
        quality_row("oracle", 0.9, None) | {"bytes": 0},
    ]
    ours = {peer: quality_row("scall in 2 MiB", 0.32, 2 * MIB) for peer in ("als", "bpr")}
    assert rows_of(BY_PEER, {"retail": {"rows": peers, "in_peers_bytes": ours}}) == [
        ("als", "", ".050 in 3 MiB; .320", *[""] * 5),
        ("bpr", "", ".350 in 2 MiB; **.320**", *[""] * 5),
        ("popularity", "", ".010 in 1000 B", *[""] * 5),
    ]


def test_the_oracle_is_not_the_best_and_a_policy_is_shown_at_few_sizes() -> None:
    rows = [quality_row(f"scall bandit at {words} words", 0.2, 10) for words in (4, 8)]
    rows += [quality_row("scall scall at 16 words", 0.3, 10), quality_row("oracle", 0.6, None)]
    nothing = ("",) * 6
    assert rows_of(EQUAL_BYTES, {"ml100k": {"rows": rows}}) == [
        ("ours, bandit at 4 words", ".200 ± .015", *nothing),
        ("ours, scall at 16 words", "**.300**", *nothing),
        ("oracle", ".600 ± .015", *nothing),
    ]


def replayed(recall: float, budget: int) -> dict[str, Any]:
    popularity = {"popularity_recall_at_20": 0.1}
    return {"recall_at_20": recall, "ndcg_at_20": recall / 2, "budget_bytes": budget * MIB, **popularity}


def test_whole_streams_have_a_row_each_with_the_budgets_of_both_sizes() -> None:
    plans = {plan: replayed(0.1 * place, 8 // place) for place, plan in enumerate(PLANS, 1)}
    assert rows_of(BY_BUDGET, {"globo": {"target_at_16": 0.796, **plans}}) == [
        ("news", ".100", ".796", ".100 / .050", ".200 / .100", ".300 / .150", ".400 / .200", "8 MiB / 2 MiB")
    ]


def test_every_part_left_out_has_a_row_and_what_cannot_be_left_out_is_empty() -> None:
    first, *others = rows_of(ABLATED, {"retail": {"all of it": replayed(0.2, 1)}})
    assert first == ("all of it", "", ".200 / .100", "", "")
    assert others == [(part, *[""] * 4) for part in list(ABLATIONS)[1:]]
