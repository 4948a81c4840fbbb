"""Faults to inject into production code: a process that dies at any step, and one that is asked to stop.

The doubles stand at the ports, so that the loop, the trainer and the stores under test are those of service.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

Port = TypeVar("Port")


class Crash(BaseException):
    """The death of the process. Nothing may outlive it, so it is no :class:`Exception`."""


class Steps:
    """Counts the steps that watched ports take together, and lets the process die at one of them.

    ``crash_at`` is the number of steps that are taken before, None for a process that lives on.

    >>> steps = Steps(crash_at=1)
    >>> numbers = watched([3, 1], steps, "append", "sort")
    >>> numbers.append(2)
    >>> numbers.sort()
    Traceback (most recent call last):
    simulators.faults.Crash: at step 1, sort
    >>> steps.taken, numbers.copy()
    (['append'], [3, 1, 2])
    """

    def __init__(self, crash_at: int | None = None) -> None:
        self.taken: list[str] = []
        """Names of the steps taken, in their order."""
        self._crash_at = crash_at

    def take(self, name: str) -> None:
        """Take a step, or die instead."""
        if len(self.taken) == self._crash_at:
            raise Crash(f"at step {len(self.taken)}, {name}")
        self.taken.append(name)


def watched(port: Port, steps: Steps, *names: str) -> Port:
    """Return a port as it is, but for the calls of the methods named: each takes a step first."""
    return cast("Port", _Watched(port, steps, names))


class _Watched:
    def __init__(self, port: Any, steps: Steps, names: tuple[str, ...]) -> None:
        self._port = port
        self._steps = steps
        self._names = names

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        return self._after_a_step(name, found) if name in self._names else found

    def _after_a_step(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def take_and_call(*arguments: Any, **named: Any) -> Any:
            self._steps.take(name)
            return method(*arguments, **named)

        return take_and_call


class StillHost:
    """A :class:`~stream.ports.Host` whose clock stands still, so that two runs of it can be compared to the last bit.

    It asks for an end once it has been asked ``stop_after`` times whether it does, None for never.
    """

    def __init__(self, stop_after: int | None = None) -> None:
        self.num_asked = 0
        """How often it has been asked whether to stop."""
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
