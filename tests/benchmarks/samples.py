"""Benchmarks that show how the harness takes what can come of one."""

import time

from tests.benchmarks.entries import Figures


def measures(quick: bool) -> Figures:
    return {"events_per_s": 10 if quick else 1000}


def fails(quick: bool) -> Figures:
    raise LookupError(f"no peer is installed, quick {quick}")


def dies(quick: bool) -> Figures:
    raise SystemExit(3 + quick)


def takes_too_long(quick: bool) -> Figures:
    time.sleep(600)
    return {"quick": quick}
