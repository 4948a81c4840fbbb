"""The budget of a service on a real broker, changed while it runs: nothing is lost or doubled, and it stands."""

import pytest

from stream.__main__ import main
from tests.integration.scenes import PATIENCE_S, Scene, kill, stop, wait_until
from tests.kill_matrix.service import Service

KIB = 1024


def budget_of(service: Service) -> int:
    header = service.saved()
    assert header is not None
    budget: int = header.meta["trainer"]["budget_bytes"]
    return budget


def test_a_service_goes_on_under_other_budgets_and_after_its_death(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    service = scene.service()
    living = scene.start(service)
    for size in ("300KiB", "32KiB", "40KiB"):
        scene.feeder.feed(100)
        wait_until(lambda: service.saved() is not None, service)
        assert main(["budget", size, "--config", str(service.config), "--wait", f"{PATIENCE_S}s"]) == 0, service.told()
        assert capsys.readouterr().out.endswith(f"the budget is now {size[:-3]} KiB\n")
        assert budget_of(service) == int(size[:-3]) * KIB
    kill(living)
    scene.feeder.feed(200)
    again = scene.start(service)
    wait_until(lambda: scene.has_caught_up(service), service)
    stop(again)
    assert budget_of(service) == 40 * KIB
    header = service.saved()
    assert header is not None
    assert header.meta["trainer"]["account"]["counts"]["budget_changes"] == 3
    assert scene.ends_well(service)
