"""What goes through a topic makes the same model, to the last bit, as what is replayed from a file."""

import random
from pathlib import Path

import pytest

from stream.__main__ import main
from stream.adapters.checkpoint import newest_file, read_header
from stream.service_settings import CLIENTS
from tests.doubles import write_clicks
from tests.integration.broker import Broker
from tests.kill_matrix.findings import compare
from tests.kill_matrix.launcher import Launcher
from tests.kill_matrix.life import Life
from tests.kill_matrix.service import set_up

PATIENCE_S = 60
# The same as the service's settings.
OPTIONS = (
    *("--quiet", "--no-shuffle-ties", "--budget", "30KiB", "--policy", "powerlaw:0.5", "--window", "90events"),
    *("--eval-sample", "0.3", "--lateness", "60s", "--set", "sizes.resize_every_events=60"),
)


@pytest.fixture(params=["clicks.csv", "synthetic:churn"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name: str = request.param
    return str(write_clicks(tmp_path / name, 900)) if name.endswith(".csv") else name


@pytest.mark.parametrize("client", CLIENTS)
def test_a_topic_makes_the_same_model_as_a_replay(
    broker: Broker, launcher: Launcher, tmp_path: Path, data: str, client: str
) -> None:
    topic = f"clicks-{random.randrange(10**9)}"
    assert main(["feed", data, "--quiet", "--limit", "900", "--topic", topic, "--bootstrap", broker.bootstrap]) == 0
    # Files hold times of any year; what is too far ahead of the others is for the model to find out.
    weight = {"weight": "weight"} if data.endswith(".csv") else {}
    kafka, schema = {"client": client}, {**weight, "max_ahead_s": 10.0**10}
    service = set_up(tmp_path / "service", broker, topic, topic, kafka=kafka, schema=schema)
    life = Life(service.config, service.log, until_end=True, records_per_poll=30)
    status = launcher.start(life).wait(PATIENCE_S)
    assert status == 0, service.told()
    assert main(["replay", data, "--limit", "900", "--out", str(tmp_path / "replay"), *OPTIONS]) == 0
    assert compare(service.checkpoints, tmp_path / "replay/checkpoints") == []
    counts = read_header(newest_file(service.checkpoints)).meta["trainer"]["account"]["counts"]
    assert counts["events"] == 900
    assert min(counts["learnt"], counts["evicted_users"], counts["evicted_items"], counts["resizes"]) > 0
