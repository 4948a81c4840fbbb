"""Several reporters as one."""

from collections.abc import Sequence

from stream.core.stats import LedgerLine, Progress, Report, WindowReport
from stream.ports import Reporter


class Together:
    """Several reporters (:class:`stream.ports.Reporter`) as one: each is told everything."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = reporters

    def progress(self, progress: Progress) -> None:
        """Tell each."""
        for reporter in self._reporters:
            reporter.progress(progress)

    def warn(self, text: str) -> None:
        """Tell each."""
        for reporter in self._reporters:
            reporter.warn(text)

    def window(self, report: WindowReport) -> None:
        """Tell each."""
        for reporter in self._reporters:
            reporter.window(report)

    def spent(self, activity: str, seconds: float) -> None:
        """Tell each."""
        for reporter in self._reporters:
            reporter.spent(activity, seconds)

    def saved(self, age_s: float, num_bytes: int) -> None:
        """Tell each."""
        for reporter in self._reporters:
            reporter.saved(age_s, num_bytes)

    def finish(self, report: Report) -> None:
        """Tell each."""
        for reporter in self._reporters:
            reporter.finish(report)

    def fixed_costs(self) -> list[LedgerLine]:
        """List those of all."""
        return [line for reporter in self._reporters for line in reporter.fixed_costs()]
