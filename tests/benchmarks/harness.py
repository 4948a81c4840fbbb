"""Runs benchmarks one after the other, each in a process of its own, and keeps at once what came of each."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from stream.adapters.units import seconds_text
from tests.benchmarks.entries import (
    ROOT,
    Entry,
    Figures,
    Machine,
    read_entries,
    this_commit,
    this_machine,
    versions_of,
    write_entries,
)
from tests.benchmarks.registry import Benchmark

ALWAYS = ("scall-stream", "numpy", "numba")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Everyone computes with one thread, so that no library's own choice decides."""
MEASURED, FAILED, SKIPPED = "measured", "failed", "skipped"


class FailureError(Exception):
    """A benchmark came to nothing; the text says why in a line."""


class Outcome(NamedTuple):
    """What became of a benchmark in a run."""

    name: str
    state: str
    seconds: float
    why: str | None = None


class Run:
    """One run of some benchmarks, whose entries go to a file; ``logs`` is a folder for what they print."""

    def __init__(self, path: Path, logs: Path, *, quick: bool, console: Console) -> None:
        self._path = path
        self._logs = logs
        self._quick = quick
        self._console = console
        self._machine: Machine = this_machine()
        self._commit = this_commit()

    def measure_all(self, benchmarks: Iterable[Benchmark], budget_s: float | None) -> list[Outcome]:
        """Measure one after the other, within so many seconds in all; None: however long it takes.

        What would not fit is skipped, and what takes longer than what is left is ended. A benchmark that fails has an
        entry without figures that says why; one that is skipped keeps the figures it had.
        """
        begin_s, outcomes = time.monotonic(), []
        for benchmark in benchmarks:
            left_s = None if budget_s is None else budget_s - (time.monotonic() - begin_s)
            outcome = self._measure(benchmark, left_s)
            self._tell(outcome)
            outcomes.append(outcome)
        return outcomes

    def _measure(self, benchmark: Benchmark, left_s: float | None) -> Outcome:
        takes_s = benchmark.quick_seconds if self._quick else benchmark.seconds
        if left_s is not None and takes_s is not None and takes_s > left_s:
            why = f"takes some {seconds_text(takes_s)}, and {seconds_text(max(0.0, left_s))} were left"
            if benchmark.name not in read_entries(self._path):
                self._keep(benchmark, None, f"{SKIPPED}: {why}", None)
            return Outcome(benchmark.name, SKIPPED, 0.0, why)
        begin_s = time.monotonic()
        figures, why = None, None
        with self._shown(benchmark.name):
            try:
                figures = self._figures(benchmark, left_s)
            except FailureError as failure:
                why = str(failure)
        seconds = time.monotonic() - begin_s
        self._keep(benchmark, figures, why, round(seconds, 1))
        return Outcome(benchmark.name, FAILED if figures is None else MEASURED, seconds, why)

    def _figures(self, benchmark: Benchmark, left_s: float | None) -> Figures:
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{benchmark.name}.log"
        with tempfile.TemporaryDirectory() as folder, log.open("w") as words:
            file = Path(folder) / "figures.json"
            command = [sys.executable, "-m", "tests.benchmarks.one", benchmark.measures, str(file)]
            command += ["--quick"] * self._quick
            # A session of its own, so that all it has started can be ended with it.
            process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | ONE_THREAD, stdout=words, stderr=words, start_new_session=True
            )
            try:
                status = process.wait(left_s)
            except subprocess.TimeoutExpired:
                raise FailureError(f"not done within the {seconds_text(left_s or 0)} that were left") from None
            finally:
                _end(process)
            if status:
                raise FailureError(_last_line(log) or f"ended with status {status}")
            return msgspec.json.decode(file.read_bytes(), type=Figures)

    def _keep(self, benchmark: Benchmark, figures: Figures | None, why: str | None, seconds: float | None) -> None:
        entry = Entry(
            figures=figures,
            why=why,
            goals=dict(benchmark.goals),
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=seconds,
            quick=self._quick,
            commit=self._commit,
            versions=versions_of((*ALWAYS, *benchmark.libraries)),
            machine=self._machine,
        )
        # Read again: another run may have written in the meantime.
        write_entries(self._path, read_entries(self._path) | {benchmark.name: entry})

    @contextmanager
    def _shown(self, name: str) -> Iterator[None]:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            progress.add_task(name, total=None)
            yield

    def _tell(self, outcome: Outcome) -> None:
        style = {MEASURED: "green", FAILED: "red", SKIPPED: "yellow"}[outcome.state]
        why = f"  {outcome.why}" if outcome.why else ""
        self._console.print(f"{outcome.name:<20} [{style}]{outcome.state:<9}[/] {outcome.seconds:6.1f} s", end="")
        self._console.print(why, markup=False, highlight=False)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all of its session that still live."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
