"""The rows of reliability: what was lost, or doubled, shows."""

from collections import Counter
from pathlib import Path
from typing import cast

import pytest

from tests.benchmarks import render
from tests.benchmarks.entries import Entry, Figures
from tests.benchmarks.tables import markdown
from tests.integration.broker import Broker
from tests.kill_matrix import findings
from tests.kill_matrix.feeder import Feeder
from tests.kill_matrix.findings import Tally, letters_by_reason
from tests.kill_matrix.service import Service

KILLS = {"kills": 60, "at_named_steps": 40, "named_steps": 28, "lost": 0, "doubled": 0, "complaints": []}
GOALS = {"lost_or_doubled": 0.0, "violations": 0.0}


def row(name: str, begin: str, figures: Figures) -> str:
    entry = Entry(figures=figures, goals=GOALS, measured_at="2026-11-22")
    lines = markdown(render.TABLES[name], {"reliability": entry})
    return next(line for line in lines if line.startswith(f"| {begin}"))


def test_nothing_lost_is_told_plainly_and_anything_lost_in_bold() -> None:
    fine = {"kills": KILLS, "soak": None}
    told = "in 60 kills, 40 of them at 28 named steps;"
    assert row("service", "SIGKILL", fine).endswith(f"| 0 lost, 0 doubled {told} parameters bit-identical |")
    lost = {"kills": KILLS | {"lost": 1, "complaints": ["at {0: 7}: learnt 6"]}, "soak": None}
    assert row("service", "SIGKILL", lost).endswith(f"| **1 lost, 0 doubled** {told} wrong: at {{0: 7}}: learnt 6 |")


def test_every_kind_of_bad_record_has_a_row() -> None:
    figures = {"dead_letters": {"tombstone": Tally(21, 0, 1)._asdict()}}
    assert row("dead-letters", "tombstone", figures) == "| tombstone | 21 | 0 | 1 |"


class Fed:
    """A feeder that has written three bad records of one partition."""

    def ends(self) -> dict[int, int]:
        return {0: 9}

    def dead_before(self, position: dict[int, int]) -> dict[tuple[int, int], str]:
        assert position == self.ends()
        return {(0, 2): "tombstone", (0, 5): "late event", (0, 7): "tombstone"}


def test_dead_letters_are_held_by_reason_against_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Counter({(0, 2, "tombstone"): 3, (0, 5, "late event"): 1, (0, 7, "wrong schema"): 1})
    monkeypatch.setattr(findings, "read_letters", lambda *_: found)
    service = Service("group", Path(), Path(), Path())
    assert letters_by_reason(service, cast("Feeder", Fed()), Broker(""), "letters") == {
        "late event": Tally(1, 0, 0),
        "tombstone": Tally(2, 1, 2),
    }


@pytest.mark.parametrize("unanswered", [0, 2])
def test_a_request_without_answer_misses_the_goal(unanswered: int) -> None:
    soak = {"minutes": 2, "faults": {"kill": 3}, "violations": 0, "looks": 90, "growth_mib": {"learner": 0.5}}
    soak |= {"fed": 240_000, "learnt": 240_000, "unanswered": unanswered}
    line = row("service", "killed", {"kills": KILLS, "soak": soak})
    assert ("**" in line) == (unanswered > 0)
    assert "2 minutes with 3 kills" in line
    assert f"240 k of 240 k events learnt once; {unanswered} requests without answer or refusal" in line
