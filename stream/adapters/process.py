"""The running process as the operating system sees it: its memory, its clock, the signals sent to it."""

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final, Self

STARTED_S: Final = time.time()
"""When this process was started, seconds since the epoch: a moment before this module was."""

_STATUS: Final = Path("/proc/self/status")
_STATM: Final = Path("/proc/self/statm")


def peak_rss_bytes() -> int:
    """Return the most resident memory this process has had so far, in bytes."""
    try:
        # What getrusage tells on Linux begins with the size of the process that started this one.
        return 1024 * int(_STATUS.read_text().partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux and the BSDs count in KiB, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes() -> int:
    """Return the resident memory of this process now, in bytes; its peak where the system does not tell."""
    try:
        resident_pages = int(_STATM.read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return peak_rss_bytes()
    return resident_pages * os.sysconf("SC_PAGE_SIZE")


class ThisProcess:
    """The running process as a :class:`stream.ports.Host`; in a ``with`` statement, SIGINT and SIGTERM ask for an end.

    The first signal only asks, so that the loop can end in good order; a second SIGINT interrupts at once.
    """

    def __init__(self) -> None:
        self._stop_requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._request_stop)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request_stop(self, number: int, _: object) -> None:
        self._stop_requested = True
        signal.signal(number, self._before[signal.Signals(number)])

    def elapsed_s(self) -> float:
        """Seconds on the monotonic clock."""
        return time.perf_counter()

    def peak_rss_bytes(self) -> int:
        """Return the most resident memory so far."""
        return peak_rss_bytes()

    def stop_requested(self) -> bool:
        """Return whether a signal has asked for an end."""
        return self._stop_requested

    def budget_requested(self) -> int | None:
        """Return None: no signal can name a budget."""

    def answer_budget(self, refusal: str | None) -> None:
        """Do nothing: no request was made."""
