"""Requests for budgets: each is passed on once, answered once, and never stops a service."""

import logging
from pathlib import Path

import pytest

from simulators.faults import StillHost
from stream.adapters.budgets import PlannedBudgets, RequestedBudgets


class At:
    """A clock that stands where it is set."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> At:
    return At()


@pytest.fixture
def host(tmp_path: Path, clock: At) -> RequestedBudgets:
    return RequestedBudgets(StillHost(), tmp_path, clock)


def lay_down(folder: Path, name: str, budget_bytes: int) -> None:
    (folder / "budget-request").write_text(f'{{"id": "{name}", "budget_bytes": {budget_bytes}}}')


def test_a_request_is_passed_on_once(host: RequestedBudgets, clock: At, tmp_path: Path) -> None:
    assert host.budget_requested() is None
    lay_down(tmp_path, "a", 4096)
    clock.now_s = 1
    assert host.budget_requested() == 4096
    clock.now_s = 2
    assert host.budget_requested() is None
    lay_down(tmp_path, "b", 4096)
    clock.now_s = 3
    assert host.budget_requested() == 4096


def test_it_looks_once_a_second(host: RequestedBudgets, clock: At, tmp_path: Path) -> None:
    assert host.budget_requested() is None
    lay_down(tmp_path, "a", 4096)
    for clock.now_s in (0.0, 0.5, 0.99):
        assert host.budget_requested() is None
    clock.now_s = 1.0
    assert host.budget_requested() == 4096


@pytest.mark.parametrize(("refusal", "told"), [(None, "null"), ("too small", '"too small"')])
def test_an_answer_takes_the_request_away(
    host: RequestedBudgets, tmp_path: Path, refusal: str | None, told: str
) -> None:
    lay_down(tmp_path, "a", 4096)
    host.budget_requested()
    host.answer_budget(refusal)
    assert [path.name for path in tmp_path.iterdir()] == ["budget-answer"]
    assert (tmp_path / "budget-answer").read_text() == f'{{"id":"a","refusal":{told}}}'
    host.answer_budget(refusal)


def test_a_request_that_has_come_since_stays(host: RequestedBudgets, clock: At, tmp_path: Path) -> None:
    lay_down(tmp_path, "a", 4096)
    host.budget_requested()
    lay_down(tmp_path, "b", 8192)
    host.answer_budget(None)
    assert '"a"' in (tmp_path / "budget-answer").read_text()
    clock.now_s = 1
    assert host.budget_requested() == 8192


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"id": "a"}', b'{"id": "a", "budget_bytes": "much"}'])
def test_what_is_no_request_is_told_of_and_taken_away(
    host: RequestedBudgets, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "budget-request").write_bytes(content)
    with caplog.at_level(logging.WARNING, "scall"):
        assert host.budget_requested() is None
    assert len(caplog.messages) == 1
    assert "budget-request cannot be read and is passed over" in caplog.messages[0]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_gone_stops_nothing(clock: At, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    host = RequestedBudgets(StillHost(), tmp_path / "gone", clock)
    with caplog.at_level(logging.WARNING, "scall"):
        assert host.budget_requested() is None
        host.answer_budget(None)
    assert not (tmp_path / "gone").exists()


def test_a_plan_asks_at_its_numbers_alone_each_once() -> None:
    learnt = [0]
    host = PlannedBudgets(StillHost(), {60: 4096, 120: 8192}, lambda: learnt[0])
    asked = []
    for learnt[0] in (0, 59, 60, 60, 61, 119, 120, 121):
        asked.append(host.budget_requested())
    host.answer_budget("too small")
    assert asked == [None, None, 4096, None, None, None, 8192, None]


def test_everything_else_is_what_the_host_says(tmp_path: Path) -> None:
    still = StillHost(stop_after=1)
    for host in (PlannedBudgets(still, {}, lambda: 0), RequestedBudgets(still, tmp_path)):
        assert host.elapsed_s() == host.peak_rss_bytes() == 0
    assert [host.stop_requested(), host.stop_requested()] == [False, True]
