"""Whatever the settings, as long as they are in range, and however small the budget: the loop keeps its promises."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.core.model import LOSSES
from stream.core.sizes import FAMILIES, MAX_SIZE
from stream.errors import BudgetError
from tests.doubles import Case, open_clicks, replay_in_memory, write_clicks

some = st.sampled_from


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clicks(tmp_path_factory.mktemp("clicks") / "clicks.csv", 240)


@st.composite
def policies(draw: st.DrawFn) -> str:
    family = draw(some(sorted(FAMILIES)))
    return f"{family}:{draw(st.floats(*FAMILIES[family].shape_range))}"


@st.composite
def sizes(draw: st.DrawFn) -> dict[str, int]:
    """Return the least and the most words of both sides."""
    found: dict[str, int] = {}
    for side in ("user", "item"):
        most = draw(some([0, 1, 3, 24, MAX_SIZE]))
        found |= {f"sizes.{side}_max": most, f"sizes.{side}_min": draw(st.integers(0, most))}
    return found


def smallest_budget(case: Case) -> int:
    """Return what the refusal of a budget names."""
    with pytest.raises(BudgetError) as refusal:
        replay_in_memory(case.under(memory__budget_bytes=1000))
    named = re.search(r"at least --budget (\d+)KiB$", str(refusal.value))
    assert named
    return int(named[1]) * 1024


@given(
    bounds=sizes(),
    others=st.fixed_dictionaries(
        {
            "policy": policies(),
            "users_share": some([0, 0.01, 0.5, 1]),
            "exclude_seen": st.booleans(),
            "memory.words_per_entity": some([4, 5, 12, 100, 2 * MAX_SIZE]),
            "memory.max_entities": some([None, 64, 65, 300]),
            "memory.seen_share": some([0.001, 0.125, 0.9]),
            "model.loss": some(sorted(LOSSES)),
            "model.history": some([0, 1, 8, 64]),
            "model.prior": st.booleans(),
            "model.negatives_recent": some([0, 1, 48]),
            "model.negatives_uniform": some([1, 4]),
            "model.half_life_slow": some([1, 20, 1e9]),
            "model.half_life_fast": some([1, 250, 1e9]),
            "model.rate_item": some([0, 0.2, 10]),
            "model.initial_scale": some([0, 0.09, 10]),
            "sizes.resize_every_events": some([7, 60, 10**6]),
            "windows.close_after": some(["100events", "10min", "growth:90"]),
            "windows.learn_late": st.booleans(),
            "evaluation.top_k": some([1, 20, 10_000]),
            "seed": some([0, 1, 2**63 - 1]),
        }
    ),
    spare_bytes=some([0, 500, 5000]),
)
@settings(derandomize=True, deadline=None, max_examples=40)
def test_any_settings_keep_the_promises_under_the_smallest_budget(
    clicks: Path, bounds: dict[str, int], others: dict[str, object], spare_bytes: int
) -> None:
    case = Case(lambda: open_clicks(clicks), {**bounds, **others})
    report, letters = replay_in_memory(case.under(memory__budget_bytes=smallest_budget(case) + spare_bytes))
    assert report.counts.events == report.counts.learnt + len(letters) == 242
    assert report.quality.evaluated == report.counts.learnt
    assert report.counts.violations == 0
    assert report.peak_bytes <= report.budget_bytes
    for window in report.windows:
        assert window.arena_used_words <= window.arena_words
        for side, held in (("user", window.user_sizes), ("item", window.item_sizes)):
            assert held.quantiles["max"] <= bounds[f"sizes.{side}_max"]
