"""Health: each check with its figure, its limit and its verdict, and the status that a prober looks at."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from stream.adapters.http.app import build_app
from stream.adapters.http.health import judge_live, judge_ready
from stream.core.stats import PartitionStatus
from stream.core.status import CheckpointStatus
from stream.service_settings import Http
from tests.adapters.http.views import ReplayedView

HTTP = Http(port=0, max_lag=100, live_within_s=10, checkpoint_within_s=60)
NOW_S = 1_000_000.0


def ready_view(**changes: Any) -> ReplayedView:
    """Return a view of a service in order, but for these fields of its status."""
    view = ReplayedView()
    assert view.current is not None
    good = {"checkpoint": CheckpointStatus(NOW_S - 5, 1), "events_per_second": 10.0}
    view.current = msgspec.structs.replace(view.current, **(good | changes))
    return view


def failed(view: ReplayedView, up_s: float = 0) -> dict[str, float | None]:
    """Return the checks that a service fails, by name, with their figures."""
    health = judge_ready(view, HTTP, up_s, NOW_S)
    assert health.ok == all(check.ok for check in health.checks)
    return {check.name: check.value for check in health.checks if not check.ok}


def partitions(*lags: int) -> list[PartitionStatus]:
    return [PartitionStatus("clicks", number, 0, lag) for number, lag in enumerate(lags)]


def test_a_service_in_order_is_ready() -> None:
    assert failed(ready_view()) == {}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"partitions": []}, {"assigned": 0}),
        ({"partitions": partitions(50, 50)}, {}),
        ({"partitions": partitions(50, 51)}, {"lag": 101}),
        ({"checkpoint": None}, {"checkpoint": None}),
        ({"checkpoint": CheckpointStatus(NOW_S - 60, 1)}, {}),
        ({"checkpoint": CheckpointStatus(NOW_S - 61, 1)}, {"checkpoint": 61.0}),
        ({"checkpoint": CheckpointStatus(NOW_S - 61, 1), "events_per_second": 0.0}, {}),
        ({"checkpoint": None, "partitions": partitions(101)}, {"checkpoint": None, "lag": 101}),
    ],
)
def test_what_a_service_fails_is_told_by_check(changes: dict[str, Any], expected: dict[str, float | None]) -> None:
    assert failed(ready_view(**changes)) == expected


def test_a_service_without_a_model_is_not_ready() -> None:
    view = ready_view()
    view.snapshot = None
    assert failed(view) == {"snapshot": 0}
    assert failed(ReplayedView.before_the_first()) == {"status": 0}


@pytest.mark.parametrize(
    ("silence_s", "up_s", "is_live"), [(10, 99, True), (11, 99, False), (None, 9, True), (None, 11, False)]
)
def test_a_learner_is_live_while_it_gives_signs_of_life(silence_s: float | None, up_s: float, is_live: bool) -> None:
    view = ready_view()
    view.silent_s = silence_s
    health = judge_live(view, HTTP, up_s)
    assert health.ok is is_live
    assert (health.checks[0].value, health.checks[0].limit) == (up_s if silence_s is None else silence_s, 10)
    assert ("learner" in failed(view, up_s)) is not is_live


@pytest.mark.parametrize(("path", "silence_s", "status"), [("/live", 0, 200), ("/live", 11, 503), ("/ready", 11, 503)])
def test_the_status_says_at_once_what_the_checks_say(path: str, silence_s: float, status: int) -> None:
    view = ready_view()
    view.silent_s = silence_s
    app = build_app(view, HTTP, lambda _: None)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://scall") as session:
            return await session.get(path)

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()["ok"]) == (status, status == 200)
    assert all(check.keys() == {"name", "ok", "value", "limit", "unit", "detail"} for check in answer.json()["checks"])
