"""Progress on standard error while several runs go on."""

import time
from collections.abc import Callable
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from stream.adapters.units import bytes_text, plural, quality_text, seconds_text
from stream.core.stats import Report

_SECONDS_PER_REFRESH: Final = 0.1


class ComparisonProgress:
    """Shows how many runs are done: on a terminal a bar that vanishes at the end, elsewhere a line for each run.

    Use it in a ``with`` statement: an error then leaves the terminal as it was. ``quiet``: nothing at all.
    """

    def __init__(
        self,
        num_runs: int,
        *,
        quiet: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._num_runs = num_runs
        self._num_finished = 0
        self._quiet = quiet
        self._clock = clock
        self._next_refresh = clock()
        columns = (BarColumn(bar_width=24), TaskProgressColumn(), TextColumn("{task.description}", markup=False))
        remaining = TimeRemainingColumn(compact=True)
        self._bar = Progress(*columns, remaining, console=self._console, auto_refresh=False, get_time=clock)
        self._task = self._bar.add_task("reading the data", total=num_runs)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal:
            # Refreshed from the loop itself: a thread of its own would take time from the one that learns.
            self._live = Live(self._bar, console=self._console, auto_refresh=False, transient=True)
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, num_done: float) -> None:
        """Show how many runs are done, parts of runs included; at most ten times a second."""
        if self._live is None or self._clock() < self._next_refresh:
            return
        said = f"{self._num_finished} of {plural(self._num_runs, 'run')}"
        self._bar.update(self._task, completed=num_done, description=said)
        self._live.refresh()
        self._next_refresh = self._clock() + _SECONDS_PER_REFRESH

    def finish_run(self, report: Report) -> None:
        """Note that a run has come to its end."""
        name = f"{report.policy} under {bytes_text(report.budget_bytes)}, seed {report.seed}"
        self.finish(name, f"ndcg@{report.top_k} {quality_text(report.quality.ndcg)}", report.wall_seconds)

    def finish(self, name: str, figure: str, seconds: float) -> None:
        """Note that one of the runs has come to its end: its name, its figure and what time it took."""
        self._num_finished += 1
        if self._quiet or self._live is not None:
            return
        parts = [f"run {self._num_finished} of {self._num_runs}", name, figure, seconds_text(seconds)]
        # As it is: no wrapping, for the line is read by programs too, and no markup, for names are text.
        self._console.print("  ".join(parts), soft_wrap=True, markup=False)
