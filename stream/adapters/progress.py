"""Progress on standard error while a run goes on, and its result in a few lines at the end."""

import io
import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from stream.adapters.units import (
    NOTHING,
    bytes_text,
    count_text,
    guard_text,
    plural,
    quality_text,
    ratio_text,
    seconds_text,
    share_text,
)
from stream.core.stats import LedgerLine, Progress, Report, WindowReport

_WINDOWS_SHOWN: Final = 6
_WINDOWS_PER_LINE: Final = 10
"""Where no one watches a terminal, one line for so many windows is enough."""
_SECONDS_PER_REFRESH: Final = 0.1
_SECONDS_PER_LINE: Final = 10.0
_SUMMARY_WIDTH: Final = 100


class ConsoleReporter:
    """Shows how far a run is, on standard error; a :class:`stream.ports.Reporter`.

    On a terminal: a bar with events, rate, memory, hit rate and the time left, under the newest windows; it
    all vanishes at the end. Elsewhere: a plain line for the first window and every tenth, and of a service one every
    ten seconds. ``quiet``: nothing but warnings.
    ``total`` is the number of records where known. Use it in a ``with`` statement: an error then leaves the
    terminal as it was.
    """

    def __init__(
        self,
        total: int | None,
        budget_bytes: int,
        *,
        quiet: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._console = console or Console(stderr=True, highlight=False)
        self._quiet = quiet
        self._budget = bytes_text(budget_bytes)
        self._clock = clock
        self._next_refresh = clock()
        self._windows: deque[WindowReport] = deque(maxlen=_WINDOWS_SHOWN)
        self._num_windows = 0
        self._bar = _bar(self._console, clock, known=total is not None)
        self._task = self._bar.add_task("", total=total, rate="", memory="", hits="", behind="", dead="")
        self._live: Live | None = None
        self._told: Progress | None = None

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal and self._live is None:
            # Refreshed from the loop itself: a thread of its own would take time from the one that learns.
            self._live = Live(self._picture(), console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the display away; the terminal is as before."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def progress(self, progress: Progress) -> None:
        """Show how far the run is, at most ten times a second; elsewhere than on a terminal only that of a service."""
        if self._quiet or self._clock() < self._next_refresh:
            return
        counts, hit_rate = progress.counts, progress.hit_rate
        speed = self._bar.tasks[0].speed
        shown: dict[str, Any] = {
            "description": f"{count_text(counts.learnt)} events",
            "rate": f"{count_text(speed)}/s" if speed else "",
            "memory": f"{bytes_text(progress.ledger_bytes)} of {self._budget}",
            "hits": "" if hit_rate is None else f"hits {share_text(hit_rate)}",
            "behind": "" if progress.lag is None else f"{count_text(progress.lag)} waiting",
            "dead": plural(counts.dead_letters, "dead letter") if counts.dead_letters else "",
        }
        self._bar.update(self._task, completed=counts.events, **shown)
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
        elif progress.lag is not None and not self._console.is_terminal and progress != self._told:
            self._told = progress
            self._print(", ".join(text for text in shown.values() if text))
        self._next_refresh = self._clock() + (_SECONDS_PER_REFRESH if self._live is not None else _SECONDS_PER_LINE)

    def warn(self, text: str) -> None:
        """Print a warning, also where all else is quiet."""
        self._print(f"scall: warning: {text}")

    def tell(self, text: str) -> None:
        """Print something worth knowing."""
        self._print(f"scall: {text}")

    def _print(self, line: str) -> None:
        # As it is: no wrapping, for the line is read by programs too, and no markup, for names are text.
        self._console.print(line, soft_wrap=True, markup=False)

    def window(self, report: WindowReport) -> None:
        """Show a closed window."""
        self._windows.append(report)
        self._num_windows += 1
        self._budget = bytes_text(report.budget_bytes)
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
        elif not self._quiet and not self._console.is_terminal and self._num_windows % _WINDOWS_PER_LINE == 1:
            self._print(_window_line(report))

    def spent(self, activity: str, seconds: float) -> None:
        """Do nothing: the windows tell how long things took."""

    def saved(self, age_s: float, num_bytes: int) -> None:
        """Do nothing."""

    def finish(self, report: Report) -> None:  # noqa: ARG002 - the summary goes to standard output
        """Take the display away."""
        self.close()

    def fixed_costs(self) -> list[LedgerLine]:
        """Return an empty list: a display keeps nothing worth telling."""
        return []

    def _picture(self) -> Group:
        lines = [Text(_window_line(window), style="dim", no_wrap=True, overflow="ellipsis") for window in self._windows]
        return Group(*lines, self._bar)


class LogLines(logging.Handler):
    """Shows what the parts of a service log (logger ``scall``) through a reporter; in a ``with`` statement."""

    def __init__(self, reporter: "ConsoleReporter", level: int) -> None:
        super().__init__(level)
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        """Show a line."""
        tell = self._reporter.warn if record.levelno >= logging.WARNING else self._reporter.tell
        tell(record.getMessage())

    def __enter__(self) -> Self:
        logger = logging.getLogger("scall")
        logger.addHandler(self)
        logger.setLevel(self.level)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("scall").removeHandler(self)


def _bar(console: Console, clock: Callable[[], float], *, known: bool) -> Bar:
    left = (BarColumn(bar_width=24), TaskProgressColumn()) if known else (SpinnerColumn(),)
    right = (TimeRemainingColumn(compact=True),) if known else ()
    figures = (
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[rate]}", markup=False),
        TextColumn("{task.fields[memory]}", markup=False),
        TextColumn("{task.fields[hits]}", markup=False),
        TextColumn("{task.fields[behind]}", markup=False),
        TextColumn("{task.fields[dead]}", markup=False),
    )
    return Bar(*left, *figures, *right, console=console, auto_refresh=False, get_time=clock)


def _window_line(window: WindowReport) -> str:
    """Return a closed window in one line."""
    quality = window.quality
    ratio = ratio_text(quality.recall, quality.popularity_recall)
    against = f"against {quality_text(quality.popularity_recall)}" + (f" ({ratio})" if ratio else "")
    medians = (f"{sizes.quantiles.get('p50', 0)}" for sizes in (window.user_sizes, window.item_sizes))
    parts = [
        f"window {window.index:>4}",
        f"recall@{window.top_k} {quality_text(quality.recall)} {against}",
        f"{count_text(window.num_users)} users {count_text(window.num_items)} items",
        f"median sizes {', '.join(medians)}",
        plural(window.counts.evictions, "eviction"),
    ]
    return "  ".join(parts)


def final_summary(report: Report, page: Path | None = None, go_on: str = "with --resume") -> str:
    """Return the result of a run in a few aligned lines for standard output, ``page`` among them if given.

    ``go_on`` says how a run that was interrupted goes on.
    """
    quality, counts, k = report.quality, report.counts, report.top_k
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")

    def add(name: str, *parts: str) -> None:
        table.add_row(Text(name), Text(", ".join(part for part in parts if part)))

    state = "" if report.finished else f"interrupted: go on {go_on}"
    add("data", report.data, f"policy {report.policy}", f"seed {report.seed}", state)
    rate = f"{count_text(report.events_per_second)} events/s" if report.events_per_second is not None else ""
    add("learnt", plural(counts.learnt, "event"), rate, f"{seconds_text(report.wall_seconds)} in all")
    add(f"recall@{k}", *_against(quality.recall, quality.popularity_recall))
    add(f"ndcg@{k}", *_against(quality.ndcg, quality.popularity_ndcg))
    add("memory", *_memory_parts(report))
    held = f"{plural(report.num_users, 'user')} and {plural(report.num_items, 'item')} held"
    add("entities", held, plural(counts.evictions, "eviction"))
    if counts.dead_letters or counts.late:
        reasons = "; ".join(f"{reason} {count}" for reason, count in sorted(report.dead_letter_reasons.items()))
        dead = plural(counts.dead_letters, "dead letter") + (f" ({reasons})" if reasons else "")
        add("set aside", dead, plural(counts.late, "late event"))
    if report.guard_trips:
        add("guard", guard_text(report.guard_trips))
    if page is not None:
        add("page", str(page))
    out = io.StringIO()
    Console(file=out, width=_SUMMARY_WIDTH, color_system=None, force_terminal=False).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _against(value: float | None, reference: float | None) -> tuple[str, str]:
    if value is None:
        return f"{NOTHING} (nothing was evaluated)", ""
    ratio = ratio_text(value, reference)
    return quality_text(value), f"popularity {quality_text(reference)}" + (f" ({ratio})" if ratio else "")


def _memory_parts(report: Report) -> tuple[str, str]:
    share = report.peak_bytes / report.budget_bytes if report.budget_bytes else 0.0
    peak = f"peak {bytes_text(report.peak_bytes)} of {bytes_text(report.budget_bytes)} ({share_text(share)})"
    return peak, plural(report.counts.violations, "violation")
