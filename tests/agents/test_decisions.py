"""Size decisions as people write them, and the grid of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.decisions import GRID, parse_decision, write_decision
from stream.core.sizes import FAMILIES, Curve, SizeDecision
from stream.errors import UsageError

quick = settings(derandomize=True, deadline=None, max_examples=200)
shares = st.floats(0, 1).map(abs)  # -0 is 0


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    family = draw(st.sampled_from(sorted(FAMILIES)))
    return Curve(family, draw(st.floats(*FAMILIES[family].shape_range).map(abs)))


@quick
@given(decision=st.builds(SizeDecision, shares, curves(), curves()), share=shares)
def test_what_is_written_is_read_as_the_same(decision: SizeDecision, share: float) -> None:
    assert parse_decision(write_decision(decision), share) == decision


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        ("uniform", SizeDecision(0.4, Curve("uniform"), Curve("uniform"))),
        ("pareto:2.5", SizeDecision(0.4, Curve("pareto", 2.5), Curve("pareto", 2.5))),
        ("frequency@0.1", SizeDecision(0.1, Curve("frequency", 0.5), Curve("frequency", 0.5))),
        ("uniform/powerlaw:0.5@0.3", SizeDecision(0.3, Curve("uniform"), Curve("powerlaw", 0.5))),
        ("powerlaw:3/lognormal@1", SizeDecision(1.0, Curve("powerlaw", 3.0), Curve("lognormal", 0.5))),
        ("powerlaw/uniform@0", SizeDecision(0.0, Curve("powerlaw", 1.0), Curve("uniform"))),
    ],
)
def test_curves_stand_by_side_and_the_share_behind(text: str, decision: SizeDecision) -> None:
    assert parse_decision(text, 0.4) == decision


@pytest.mark.parametrize("share", ["", "-0.1", "1.1", "nan", "inf", "half", "0.1@0.2", "0.1/uniform"])
def test_a_share_that_is_none_is_told_with_its_remedy(share: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_decision(f"uniform@{share}", 0.4)
    assert str(error.value) == (
        f"policy {f'uniform@{share}'!r}: {share!r} is no users' share; write a number from 0 to 1 after the @"
    )


def test_the_grid_has_each_decision_once_and_every_curve_at_every_share() -> None:
    assert len(set(GRID)) == len(GRID) == 60
    users, items = ({getattr(decision, side) for decision in GRID} for side in ("users", "items"))
    shares = {decision.users_share for decision in GRID}
    assert (min(shares), max(shares)) == (0.05, 0.7)
    assert users == {Curve("uniform"), Curve("powerlaw", 1.0), Curve("powerlaw", 0.3)}
    assert items == users | {Curve("powerlaw", 3.0)}
    assert len(shares) * len(users) * len(items) == len(GRID)
