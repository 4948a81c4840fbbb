"""Faults to inject into production code: a process that dies at any step, and one that is asked to stop.

The doubles stand at the ports, so that the loop, the trainer and the stores under test are those of service.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Final, Literal, NamedTuple, NoReturn, TypeVar, cast

Port = TypeVar("Port")


class Crash(BaseException):
    """The death of the process. Nothing may outlive it, so it is no :class:`Exception`."""


class Death(NamedTuple):
    """When a process is to die: before or after the ``number``-th step (from 1) of a name."""

    step: str
    number: int = 1
    when: Literal["before", "after"] = "before"

    def __str__(self) -> str:
        """Return it as a person says it.

        >>> str(Death("disk.rename", 3, "after"))
        'after disk.rename 3'
        """
        return f"{self.when} {self.step} {self.number}"


def raise_crash(where: str) -> NoReturn:
    """Die within a test, which goes on."""
    raise Crash(where)


def kill_process(where: str) -> NoReturn:
    """Die for real, with all threads, at once."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise Crash(where)


_NEVER: Final = Death("", 0)


class Steps:
    """Counts the steps that watched ports take together, in any thread, and lets the process die at one of them.

    ``crash_at`` is the number of steps that are taken before, None for a process that lives on; ``death`` names the
    step instead. ``die`` does not return. ``watch`` is called with each step's name, to look or to dawdle.

    >>> steps = Steps(crash_at=1)
    >>> numbers = watched([3, 1], steps, "append", "sort")
    >>> numbers.append(2)
    >>> numbers.sort()
    Traceback (most recent call last):
    simulators.faults.Crash: at step 1, sort
    >>> steps.taken, numbers.copy()
    (['append'], [3, 1, 2])
    """

    def __init__(
        self,
        crash_at: int | None = None,
        death: Death | None = None,
        die: Callable[[str], NoReturn] = raise_crash,
        watch: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.taken: list[str] = []
        """Names of the steps taken, in their order."""
        self._crash_at = crash_at
        self._death = death or _NEVER
        self._die = die
        self._watch = watch
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    def take(self, name: str) -> int:
        """Take a step, or die instead; return how often one of this name was taken by now."""
        self._watch(name)
        with self._lock:
            if len(self.taken) == self._crash_at:
                self._die(f"at step {len(self.taken)}, {name}")
            number = self._counts[name] + 1
            self._die_if(Death(name, number, "before"))
            self._counts[name] = number
            self.taken.append(name)
            return number

    def finish(self, name: str, number: int) -> None:
        """Note that the ``number``-th step of a name is done, or die at that."""
        self._die_if(Death(name, number, "after"))

    def _die_if(self, moment: Death) -> None:
        if moment == self._death:
            self._die(str(moment))


def watched(port: Port, steps: Steps, *names: str, prefix: str = "") -> Port:
    """Return a port as it is, but for the calls of the methods named: each is a step, ``prefix`` before its name."""
    return cast("Port", _Watched(port, steps, names, prefix))


class _Watched:
    def __init__(self, port: Any, steps: Steps, names: tuple[str, ...], prefix: str) -> None:
        self._port = port
        self._steps = steps
        self._names = names
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        return self._as_a_step(self._prefix + name, found) if name in self._names else found

    def _as_a_step(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def take_and_call(*arguments: Any, **named: Any) -> Any:
            number = self._steps.take(name)
            result = method(*arguments, **named)
            self._steps.finish(name, number)
            return result

        return take_and_call


class StillHost:
    """A :class:`~stream.ports.Host` whose clock stands still, so that two runs of it can be compared to the last bit.

    It asks for an end once it has been asked ``stop_after`` times whether it does, None for never. ``budgets`` are
    asked for one after the other.
    """

    def __init__(self, stop_after: int | None = None, budgets: Sequence[int] = ()) -> None:
        self.num_asked = 0
        """How often it has been asked whether to stop."""
        self.budgets = list(budgets)
        """Budgets in bytes that it still has to ask for."""
        self.answers: list[str | None] = []
        """What became of those it has asked for: None where they were granted."""
        self._stop_after = stop_after

    def elapsed_s(self) -> float:
        """Return 0."""
        return 0.0

    def peak_rss_bytes(self) -> int:
        """Return 0."""
        return 0

    def stop_requested(self) -> bool:
        """Return whether it has been asked often enough."""
        self.num_asked += 1
        return self._stop_after is not None and self.num_asked > self._stop_after

    def budget_requested(self) -> int | None:
        """Return the next of the budgets."""
        return self.budgets.pop(0) if self.budgets else None

    def answer_budget(self, refusal: str | None) -> None:
        """Keep the answer."""
        self.answers.append(refusal)
