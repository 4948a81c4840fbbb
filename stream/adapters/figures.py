"""How a service stands, from all who know a part of it: trainer, policy, checkpoints, the process it runs in."""

import time
from bisect import bisect_left
from collections import deque
from typing import Final

from stream.adapters import process
from stream.core.reporting import report_status
from stream.core.stats import LedgerLine, PartitionStatus, WindowReport
from stream.core.status import CheckpointStatus, Durations, Status, Sums
from stream.core.trainer import Trainer
from stream.ports import Ports, staging_of

_RATE_S: Final = 5.0
"""What the rate of events is told over."""
_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ACTIVITIES: Final = ("batch", "resize", "checkpoint")


class Figures:
    """Makes a :class:`~stream.core.status.Status` whenever it is asked for one."""

    def __init__(self, ports: Ports, trainer: Trainer, seed: int, versions: dict[str, str]) -> None:
        self._ports = ports
        self._trainer = trainer
        self._seed = seed
        self._versions = versions
        self._newest: CheckpointStatus | None = None
        self._histograms = {activity: _Histogram() for activity in _ACTIVITIES}
        self._resumed = Sums()
        self._learnt: deque[tuple[float, int]] = deque()
        """When how many events had been learnt, over the last _RATE_S."""

    def begin(self, newest: CheckpointStatus | None) -> None:
        """Note that the service begins now, and the checkpoint from which it goes on, if there is one."""
        self._newest = newest
        account = self._trainer.account
        self._resumed = Sums(account.counts(), dict(account.reasons), dict(self._ports.policy.trips))

    def spent(self, activity: str, seconds: float) -> None:
        """Count how long something took."""
        self._histograms[activity].add(seconds)

    def saved(self, age_s: float, num_bytes: int) -> None:
        """Note the newest checkpoint, which holds the state of ``age_s`` seconds ago."""
        self._newest = CheckpointStatus(time.time() - age_s, num_bytes)

    def status(
        self, now_s: float, partitions: list[PartitionStatus], last: WindowReport | None, kept: list[LedgerLine]
    ) -> Status:
        """Return how the service stands, ``now_s`` on a clock that never goes backwards.

        ``last`` is the last window closed, ``kept`` the reporters' fixed costs.
        """
        return report_status(
            self._trainer,
            last,
            written_s=time.time(),
            started_s=process.STARTED_S,
            source=self._ports.source.name,
            policy=self._ports.policy.name,
            seed=self._seed,
            versions=self._versions,
            partitions=partitions,
            events_per_second=self._rate(now_s),
            fixed=[*self._trainer.fixed_costs(), *staging_of(self._ports.checkpoints), *kept],
            guard_trips=dict(self._ports.policy.trips),
            durations={activity: histogram.durations() for activity, histogram in self._histograms.items()},
            checkpoint=self._newest,
            resident_bytes=process.resident_bytes(),
            peak_resident_bytes=self._ports.host.peak_rss_bytes(),
            resumed=self._resumed,
        )

    def _rate(self, now_s: float) -> float:
        learnt = self._learnt
        learnt.append((now_s, self._trainer.recommender.num_learnt))
        while now_s - learnt[0][0] > _RATE_S:
            learnt.popleft()
        (begin_s, begin), (_, end) = learnt[0], learnt[-1]
        return (end - begin) / (now_s - begin_s) if now_s > begin_s else 0.0


class _Histogram:
    """How often something took how long."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS_S) + 1)
        self._total_s = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(_BOUNDS_S, seconds)] += 1
        self._total_s += seconds

    def durations(self) -> Durations:
        return Durations(_BOUNDS_S, tuple(self._counts), self._total_s)
