"""What was done to the service, how often, and what came of it: kills, records of every bad kind, a soak."""

import io
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks.entries import Figures
from tests.integration.broker import any_broker
from tests.kill_matrix import __main__ as kill_matrix
from tests.kill_matrix.life import STEPS
from tests.kill_matrix.matrix import Plan
from tests.soak import soak as soaking

SEED = 7
RATE = 2_000
"""Events a second that the soak is fed."""
MAX_COMPLAINTS = 20


def reliability(quick: bool = False) -> Figures:
    """Return what came of 60 kills and of a soak of two minutes; quick: of six kills."""
    return {**kills_and_letters(6 if quick else 60), "soak": None if quick else soak(2.0)}


def kills_and_letters(num: int) -> Figures:
    """Kill a service that learns a topic, a quarter of it trouble; tell of the kills and of each kind of trouble."""
    result = kill_matrix.run(Plan(num, SEED), io.StringIO())
    findings, named = result.findings, {step: times for step, times in result.kills.items() if step in STEPS}
    return {
        "kills": {
            "kills": result.kills.total(),
            "at_named_steps": sum(named.values()),
            "named_steps": len(named),
            "lives": result.lives,
            "records_learnt": result.learnt,
            "lost": findings.lost,
            "doubled": findings.doubled,
            "complaints": findings.complaints[:MAX_COMPLAINTS],
        },
        "dead_letters": {reason: tally._asdict() for reason, tally in result.letters.items()},
    }


def soak(minutes: float) -> Figures:
    """Let the service live for a while with visitors, good and bad, full disks, kills and a broker that hangs."""
    plan = soaking.Plan(minutes, SEED, RATE)
    with tempfile.TemporaryDirectory() as folder, any_broker(Path(folder) / "kafka") as broker:
        outcome = soaking.Soak(broker, Path(folder), plan, print).run()
    account = outcome.account
    p50, p99 = 1000 * np.percentile(account.latencies_s, [50, 99])
    return {
        "minutes": minutes,
        "faults": dict(sorted(outcome.faults.items())),
        "requests": account.outcomes.total(),
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
        "unanswered": len(account.complaints),
        "looks": outcome.looks,
        "violations": outcome.violations,
        "growth_mib": {name: round(mib, 1) for name, mib in outcome.growth_mib.items()},
        "fed": outcome.fed,
        "learnt": outcome.learnt,
        "complaints": outcome.complaints[:MAX_COMPLAINTS],
    }
