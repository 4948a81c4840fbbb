"""The long form: ``python -m tests.kill_matrix --kills 300 --seed 7``; exit status 1 where anything is wrong."""

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from stream.service_settings import CLIENTS
from tests.integration.broker import any_broker
from tests.kill_matrix.feeder import Feeder
from tests.kill_matrix.launcher import Launcher
from tests.kill_matrix.life import STEPS
from tests.kill_matrix.matrix import Matrix, Plan, Result


def main() -> int:
    """Run a matrix, print a line for each life and a table at the end; all of it goes to a file, too."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill_matrix", description=__doc__)
    option = parser.add_argument
    option("--kills", type=int, default=300, metavar="N")
    option("--seed", type=int, default=7)
    option("--client", choices=CLIENTS, default=CLIENTS[0])
    option("--partitions", type=int, default=1)
    option("--log", type=Path, default=Path("out/kill-matrix.log"), metavar="FILE")
    options = parser.parse_args()
    plan = Plan(options.kills, options.seed, options.client, options.partitions)
    options.log.parent.mkdir(parents=True, exist_ok=True)
    with options.log.open("w") as log:
        begin_s = time.monotonic()
        tell_to(log, f"{plan.kills} kills, seed {plan.seed}, client {plan.client}, partitions {plan.partitions}")
        result = run(plan, log)
        for line in summary(result, time.monotonic() - begin_s):
            tell_to(log, line)
    return int(bool(result.findings.complaints))


def run(plan: Plan, log: TextIO) -> Result:
    """Run a matrix over a broker of its own, or the one that KAFKA_BOOTSTRAP names."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        launcher = stack.enter_context(Launcher())
        broker = stack.enter_context(any_broker(folder / "kafka"))
        topic = f"clicks-{folder.name}"
        feeder = stack.enter_context(Feeder(broker, topic, plan.partitions, plan.seed))
        return Matrix(broker, launcher, feeder, folder, plan, lambda line: tell_to(log, line)).run()


def summary(result: Result, seconds: float) -> list[str]:
    """Return the table at the end."""
    kills, findings = result.kills, result.findings
    names = [*(step for step in STEPS if step in kills), *sorted(kills.keys() - set(STEPS))]
    return [
        "",
        "kills  at",
        *(f"{kills[name]:>5}  {name}" for name in names),
        f"{kills.total():>5}  in all, of {result.lives} lives, in {seconds:.0f} s",
        "",
        f"{result.learnt} records to learn",
        *(f"{tally.written:>5}  dead letters: {reason}" for reason, tally in result.letters.items()),
        f"lost {findings.lost}, doubled {findings.doubled}",
        *(f"wrong: {complaint}" for complaint in findings.complaints),
    ]


def tell_to(log: TextIO, line: str) -> None:
    """Print a line, and write it to the log."""
    print(line, flush=True)
    print(line, file=log, flush=True)


if __name__ == "__main__":
    sys.exit(main())
