"""Whole commands, as a user runs them: memory over an endless stream, end to end from Parquet, start-up."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.speed import rate_of
from tests.benchmarks.streams import EventBatch, events_of, make_settings


def scall(*arguments: str) -> tuple[dict[str, Any], float]:
    """Run ``scall replay`` in a process of its own; return its report and the seconds it took."""
    with tempfile.TemporaryDirectory() as out:
        begin = time.perf_counter()
        run_scall("replay", *arguments, "--out", out, "--quiet")
        seconds = time.perf_counter() - begin
        return json.loads((Path(out) / "report.json").read_text()), seconds


def run_scall(*arguments: str) -> None:
    """Run a command in a process of its own; raises :class:`RuntimeError` with what it said last, where it fails."""
    done = subprocess.run([sys.executable, "-m", "stream", *arguments], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1])


def churn(quick: bool = False) -> dict[str, Any]:
    """Five million events of endless new ids under 32 MiB: resident memory after the first window and at the end.

    Quick: half a million under 4 MiB.
    """
    limit, budget = ("500000", "4MiB") if quick else ("5000000", "32MiB")
    command = [sys.executable, "-m", "stream", "replay", "synthetic:churn", "--limit", limit, "--budget", budget]
    command += ["--eval-sample", "0.001", "--window", "100000", "--quiet"]
    resident: list[int] = []
    with tempfile.TemporaryDirectory() as out:
        begin = time.perf_counter()
        with subprocess.Popen([*command, "--out", out]) as process:
            statm = Path(f"/proc/{process.pid}/statm")
            while process.poll() is None:
                if any(Path(out, "checkpoints").glob("*.scall")) and not Path(out, "report.json").exists():
                    resident.append(4096 * int(statm.read_text().split()[1]))
                time.sleep(0.1)
        seconds = time.perf_counter() - begin
        report = json.loads(Path(out, "report.json").read_text())
    # The page is drawn after the stream has ended; what it takes is no matter of the stream's length.
    during = resident[:-20] or resident[:1]
    return {
        "events": report["events"],
        "rss_after_first_window_bytes": during[0],
        "rss_growth_bytes": max(during) - during[0],
        "peak_rss_bytes": report["peak_rss_bytes"],
        "violations": report["violations"],
        "evictions": report["evictions"],
        "peak_bytes": report["peak_bytes"],
        "budget_bytes": report["budget_bytes"],
        "recall_at_20": round(report["recall_at_20"], 4),
        "popularity_recall_at_20": round(report["popularity_recall_at_20"], 4),
        "events_per_second": round(report["events_per_second"]),
        "seconds": round(seconds, 1),
    }


def end_to_end(quick: bool = False) -> dict[str, Any]:
    """A million events from Parquet, 1 % of them tested, against the bare learner on the same events and settings.

    Quick: a tenth of them, once.
    """
    num_events, runs = (100_000, 1) if quick else (1_000_000, 3)
    events = events_of("synthetic:drift", num_events)
    settings = make_settings({})
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.parquet"
        write_parquet(events, path)
        for _ in range(runs):
            report, _ = scall(str(path), "--eval-sample", "0.01", "--no-shuffle-ties")
            rates.append(report["learnt"] / report["wall_seconds"])
    bare = rate_of(settings, events, "uniform", runs)["events_per_s"]
    return {
        "events_per_s": round(median(rates)),
        "bare_learner_events_per_s": bare,
        "ratio": round(median(rates) / bare, 3),
    }


def write_parquet(events: EventBatch, path: Path) -> None:
    """Write events with their ids as text; users are named by their keys."""
    data = events.item_data.tobytes()
    spans = zip(events.item_start.tolist(), events.item_length.tolist(), strict=True)
    columns = {
        "user_id": [str(key) for key in events.user.tolist()],
        "item_id": [data[start : start + length].decode() for start, length in spans],
        "timestamp": events.timestamp_ms,
    }
    pq.write_table(pa.table(columns), path)


def start_up(quick: bool = False) -> dict[str, Any]:
    """Seconds from the command until the first event is learnt and checkpointed, and until the page is drawn."""
    times = []
    runs = 1 if quick else 5
    command = [sys.executable, "-m", "stream", "replay", "synthetic:stationary", "--limit", "1", "--quiet"]
    for _ in range(runs + 1):
        with tempfile.TemporaryDirectory() as out:
            begin = time.time()
            subprocess.run([*command, "--budget", "1MiB", "--out", out], check=True)
            (checkpoint,) = Path(out, "checkpoints").glob("*.scall")
            times.append((checkpoint.stat().st_mtime - begin, time.time() - begin))
    return {
        "first_event_learnt_s": round(median(learnt for learnt, _ in times[1:]), 2),
        "whole_replay_of_one_event_s": round(median(whole for _, whole in times[1:]), 2),
    }
