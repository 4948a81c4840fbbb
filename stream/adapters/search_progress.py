"""How a search for a policy goes on, on the terminal."""

import sys
from collections import deque
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_SHOWN: Final = 100
"""The mean reward shown is of so many steps."""


class SearchProgress:
    """A bar of the steps with the mean reward of late, and a line for each evaluation, on standard error."""

    def __init__(self, steps: int, *, quiet: bool) -> None:
        console = Console(file=sys.stderr, quiet=quiet)
        self._progress = Progress(
            TextColumn("step {task.completed} of {task.total}"),
            BarColumn(),
            TextColumn("reward {task.fields[reward]:+.4f}"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet,
        )
        self._steps = steps
        self._task = self._progress.add_task("", total=steps, reward=0.0)
        self._rewards: deque[float] = deque(maxlen=_SHOWN)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self._progress.console.print(text, highlight=False)

    def step(self, number: int, reward: float) -> None:
        """Note a step of training and its reward."""
        self._rewards.append(reward)
        # An episode that has begun goes on to its end.
        number = min(number, self._steps)
        self._progress.update(self._task, completed=number, reward=sum(self._rewards) / len(self._rewards))

    def score(self, score: Any) -> None:
        """Note an evaluation: anything with ``step``, ``reward`` and ``standard_error``."""
        error = "" if score.standard_error is None else f" +- {score.standard_error:.4f}"
        self.say(f"step {score.step}: {score.reward:+.4f}{error} held out")
