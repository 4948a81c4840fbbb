"""Names of policies: what is opened by which, and what is refused how."""

import numpy as np
import pytest

from agents.catalogue import NAMES, expand, open_policy
from agents.decisions import GRID
from stream.core.observation import OBSERVATION_LENGTH
from stream.errors import UsageError

NOTHING = np.zeros(OBSERVATION_LENGTH, np.float32)


def test_every_name_that_is_told_of_opens_a_policy() -> None:
    for name in NAMES:
        assert open_policy(name.replace("POLICY", "bandit"), users_share=0.5, seed=1).decide(NOTHING)


def test_the_grid_expands_to_a_policy_for_each_of_its_decisions() -> None:
    decisions = [open_policy(name, users_share=0.5, seed=1).decide(NOTHING) for name in expand("grid")]
    assert decisions == list(GRID)


@pytest.mark.parametrize("name", ["uniform", "bandit", "unchanged:random", "no such thing"])
def test_any_other_name_stands_for_itself(name: str) -> None:
    assert expand(name) == [name]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no such policy; write one of scall, scall-online, uniform, frequency, powerlaw, "),
        ("best", "no such policy; write one of scall, scall-online, uniform, frequency, powerlaw, "),
        ("Uniform", "random, bandit, unchanged:POLICY"),
        (":1", "no such policy"),
        ("@0.5", "no such policy"),
        ("unchanged", "no such policy; write one of "),
        ("unchanged:", "no such policy; write one of "),
        ("unchanged:best", "no such policy"),
        ("unchanged:unchanged:uniform", "no such policy"),
        ("random:3", "random takes nothing behind its name; write 'random' alone"),
        ("bandit@0.3", "bandit takes nothing behind its name; write 'bandit' alone"),
        ("unchanged:bandit/uniform", "bandit takes nothing behind its name"),
        ("grid", "grid stands for 60 policies, to compare; write one, such as uniform/uniform@0.05"),
        ("powerlaw:", "'' is no shape of powerlaw; write a number from 0.1 to 30 after the colon"),
        ("powerlaw:0", "'0' is no shape of powerlaw"),
        ("powerlaw:nan", "'nan' is no shape of powerlaw"),
        ("uniform:2", "'2' is no shape of uniform; write 'uniform' alone"),
        ("uniform@2", "'2' is no users' share; write a number from 0 to 1 after the @"),
    ],
)
def test_a_policy_that_does_not_exist_is_told_in_one_line_with_the_remedy(text: str, told: str) -> None:
    with pytest.raises(UsageError) as error:
        open_policy(text, users_share=0.5, seed=1)
    assert str(error.value).startswith(f"policy {text!r}: ")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "named"), [("uniform/gaussian@0.1", "gaussian"), ("uniform/pareto:0.5", "pareto:0.5")]
)
def test_the_curve_that_is_wrong_is_the_one_that_is_named(text: str, named: str) -> None:
    with pytest.raises(UsageError, match=f"^policy {named!r}: "):
        open_policy(text, users_share=0.5, seed=1)
