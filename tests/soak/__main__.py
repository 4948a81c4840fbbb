"""The long form: ``python -m tests.soak --minutes 10 --seed 7``; exit status 1 where anything is wrong."""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tests.integration.broker import any_broker
from tests.soak.soak import Outcome, Plan, Soak


def main() -> int:
    """Run a soak, and print what was done, what came of it and what was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, metavar="M")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rate", type=int, default=2000, metavar="N", help="events a second")
    options = parser.parse_args()
    plan = Plan(options.minutes, options.seed, options.rate)
    with TemporaryDirectory(prefix="scall-soak-") as folder, any_broker(Path(folder) / "kafka") as broker:
        outcome = Soak(broker, Path(folder), plan, lambda line: print(line, flush=True)).run()
    print("\n".join(summary(outcome)))
    return int(bool(outcome.complaints))


def summary(outcome: Outcome) -> list[str]:
    """Return what came of it, as lines."""
    account, complaints = outcome.account, outcome.complaints
    p50, p99 = 1000 * np.percentile(account.latencies_s, [50, 99])
    return [
        "",
        *(f"{count:>7}  {fault}" for fault, count in sorted(outcome.faults.items())),
        "",
        *(f"{count:>7}  {visitor}: {what}" for (visitor, what), count in sorted(account.outcomes.items())),
        "",
        f"{outcome.learnt} of {outcome.fed} events learnt, each once; the ledger was looked at {outcome.looks} times",
        f"answers in {p50:.1f} ms (p50), {p99:.1f} ms (p99), while all this went on",
        *(f"{name} process grew by {mib:+.1f} MiB" for name, mib in outcome.growth_mib.items()),
        *(f"wrong: {complaint}" for complaint in complaints[:50]),
        f"{len(complaints)} complaints",
    ]


if __name__ == "__main__":
    sys.exit(main())
