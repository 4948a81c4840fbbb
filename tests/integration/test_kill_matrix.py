"""The quick form of the kill matrix, and what shows that it would notice; the long form: ``make kill-matrix``."""

import random
from pathlib import Path

import pytest

from stream.adapters.checkpoint import newest_file
from stream.adapters.checkpoint_file import read_checkpoint
from stream.core.memory import COMPACTIONS, EVICTED_ITEMS, EVICTED_USERS
from tests.integration.broker import Broker
from tests.kill_matrix.feeder import Feeder
from tests.kill_matrix.findings import Findings
from tests.kill_matrix.launcher import Launcher
from tests.kill_matrix.life import STEPS
from tests.kill_matrix.matrix import COMMAND, MOMENT, Matrix, Plan, Result
from tests.kill_matrix.sabotage import SABOTAGE
from tests.kill_matrix.trouble import REASONS


def run(broker: Broker, launcher: Launcher, folder: Path, plan: Plan) -> Result:
    topic = f"clicks-{random.randrange(10**9)}"
    with Feeder(broker, topic, plan.partitions, plan.seed) as feeder:
        result = Matrix(broker, launcher, feeder, folder, plan, print).run()
        assert {reason for reason in feeder.reasons.values() if reason} == REASONS
        return result


def test_nothing_is_lost_or_doubled_at_whatever_step_the_service_is_killed(
    broker: Broker, launcher: Launcher, tmp_path: Path
) -> None:
    result = run(broker, launcher, tmp_path, Plan(len(STEPS) + 4, seed=11))
    assert result.findings == Findings(0, 0, [])
    assert result.kills.keys() == {*STEPS, MOMENT, COMMAND}
    assert result.kills.total() >= 24
    assert all(tally.written > 0 == tally.lost == tally.doubled for tally in result.letters.values())
    assert result.letters.keys() == REASONS
    counters = read_checkpoint(newest_file(tmp_path / "killed/checkpoints")).arrays["memory.counters"]
    assert min(counters[[EVICTED_USERS, EVICTED_ITEMS, COMPACTIONS]]) > 0


def test_neither_with_another_client_and_several_partitions(broker: Broker, launcher: Launcher, tmp_path: Path) -> None:
    result = run(broker, launcher, tmp_path, Plan(6, seed=12, client="librdkafka", partitions=3))
    assert result.findings == Findings(0, 0, [])
    assert result.kills.total() == 6


@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_a_service_that_breaks_its_promises_is_found_out(
    broker: Broker, launcher: Launcher, tmp_path: Path, sabotage: str
) -> None:
    is_lost = sabotage in ("trusts the broker", "loses letters")
    # Four kills may all fall where there was nothing to break since the last checkpoint: then four others are tried.
    for seed in (13, 14, 15):
        folder = tmp_path / str(seed)
        folder.mkdir()
        lost, doubled, complaints = run(broker, launcher, folder, Plan(4, seed=seed, sabotage=sabotage)).findings
        print(seed, lost, doubled, *complaints, sep="\n")
        if lost if is_lost else doubled:
            break
    assert (lost if is_lost else doubled) > 0
    assert complaints
