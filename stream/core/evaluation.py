"""Prequential evaluation: every tested event is ranked before it is learnt (Dawid 1984; Gama et al. 2013).

Each figure stands beside the same figure of a recommender that ranks by decayed popularity alone and saw the same
events. It has three half-lives to choose from, and what is reported is the one that has recalled most so far: chosen
with hindsight, so never too weak a rival.
"""

import base64
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN
from river.stats import Mean

from stream.core.ranking import NUM_RANKINGS
from stream.core.recommender import Ranked
from stream.core.stats import Quality

GROUPS: Final = ("all", "first", "under_1h", "over_1h")
"""Events by the time since the user's last event."""
_GROUP_OF_GAP: Final = np.array([1, 2, 2, 2, 2, 3, 3, 3])
"""Group of each bucket of :func:`stream.core.history.gap_bucket`."""
_BUFFERED: Final = 1024

Columns = dict[str, NDArray[np.float64]]


class Tally:
    """Running means of the metrics over some events, for every ranking; river keeps them."""

    def __init__(self) -> None:
        self.means = {metric: [Mean() for _ in range(NUM_RANKINGS)] for metric in ("recall", "ndcg", "reciprocal_rank")}
        self.first_sight = Mean()

    def update(self, metrics: Columns, first_sight: NDArray[np.bool_]) -> None:
        """Add events: ``metrics`` are float64[n, NUM_RANKINGS] each, n > 0."""
        for metric, means in self.means.items():
            for ranking, mean in enumerate(means):
                mean.update_many(metrics[metric][:, ranking])
        self.first_sight.update_many(first_sight)

    def quality(self, popularity: int) -> Quality:
        """Return the figures, beside those of the ranking ``popularity``."""
        if not self.first_sight.n:
            return Quality(0)
        recall, ndcg, mrr = ([mean.get() for mean in means] for means in self.means.values())
        return Quality(
            evaluated=int(self.first_sight.n),
            recall=recall[0],
            ndcg=ndcg[0],
            mrr=mrr[0],
            popularity_recall=recall[popularity],
            popularity_ndcg=ndcg[popularity],
            popularity_mrr=mrr[popularity],
            first_sight_share=self.first_sight.get(),
        )

    def state(self) -> list[list[float]]:
        """Return what :meth:`restore` needs."""
        return [[mean.n, mean.get()] for mean in self._all()]

    def restore(self, state: list[list[float]]) -> None:
        """Go on from ``state``."""
        for mean, (n, value) in zip(self._all(), state, strict=True):
            mean.n, mean._mean = n, value

    def _all(self) -> list[Any]:
        return [mean for means in self.means.values() for mean in means] + [self.first_sight]


class Prequential:
    """Collects the tests of single events into figures per window and in all, and watches the hits for drift.

    Drift is told by ADWIN (Bifet and Gavalda, SDM 2007) on the stream of hits in the first ``top_k``.
    """

    def __init__(self, top_k: int) -> None:
        self.top_k = top_k
        self.num_alarms = 0
        """How often the hit rate has changed significantly."""
        self._window = {group: Tally() for group in GROUPS}
        self._total = {group: Tally() for group in GROUPS}
        self._adwin = ADWIN()
        # Tests wait here until there are enough to be worth a call to numpy.
        self._rank = np.zeros((_BUFFERED, NUM_RANKINGS))
        self._group = np.zeros(_BUFFERED, np.int64)
        self._first_sight = np.zeros(_BUFFERED, np.bool_)
        self._num_waiting = 0

    @property
    def num_bytes(self) -> int:
        """Bytes of the buffer, a fixed cost."""
        return self._rank.nbytes + self._group.nbytes + self._first_sight.nbytes

    def add(self, tested: Ranked) -> None:
        """Note the test of one event."""
        at = self._num_waiting
        self._rank[at] = tested.rank
        self._group[at] = _GROUP_OF_GAP[tested.gap]
        self._first_sight[at] = tested.first_sight
        self._num_waiting += 1
        if self._num_waiting == _BUFFERED:
            self._flush()

    def hit_rate(self) -> float | None:
        """Return the recall over the tests so far (a few of the last may be missing), None before the first."""
        recall = self._total["all"].means["recall"][0]
        return recall.get() if recall.n else None

    def window(self) -> dict[str, Quality]:
        """Return the figures of the open window by group."""
        return self._quality(self._window)

    def total(self) -> dict[str, Quality]:
        """Return the figures since the start by group."""
        return self._quality(self._total)

    def close_window(self) -> None:
        """Start a new window."""
        self._flush()
        self._window = {group: Tally() for group in GROUPS}

    def _quality(self, tallies: dict[str, Tally]) -> dict[str, Quality]:
        self._flush()
        # In whole hits, so that the last bits of a mean decide no tie.
        num_hits = [round(mean.n * mean.get()) for mean in self._total["all"].means["recall"]]
        best = 1 + int(np.argmax(num_hits[1:]))
        return {group: tally.quality(best) for group, tally in tallies.items()}

    def _flush(self) -> None:
        n, self._num_waiting = self._num_waiting, 0
        if n == 0:
            return
        metrics = metrics_of(self._rank[:n], self.top_k)
        for number, group in enumerate(GROUPS):
            chosen = slice(None) if number == 0 else self._group[:n] == number
            first_sight = self._first_sight[:n][chosen]
            if len(first_sight):
                columns = {metric: column[chosen] for metric, column in metrics.items()}
                self._window[group].update(columns, first_sight)
                self._total[group].update(columns, first_sight)
        for hit in metrics["recall"][:, 0].tolist():
            self._adwin.update(hit)
            self.num_alarms += self._adwin.drift_detected

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` needs, fit for JSON."""
        # Tests that wait go on waiting: the last bits of a mean depend on which tests were added together.
        n = self._num_waiting
        waiting = np.column_stack((self._rank[:n], self._group[:n], self._first_sight[:n]))
        return {
            "window": {group: tally.state() for group, tally in self._window.items()},
            "total": {group: tally.state() for group, tally in self._total.items()},
            "waiting": base64.b64encode(waiting.tobytes()).decode(),
            "num_alarms": self.num_alarms,
            "adwin": base64.b64encode(self._adwin._helper.__getstate__()).decode(),
            "adwin_alarm": self._adwin.drift_detected,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        for group in GROUPS:
            self._window[group].restore(state["window"][group])
            self._total[group].restore(state["total"][group])
        waiting = np.frombuffer(base64.b64decode(state["waiting"])).reshape(-1, NUM_RANKINGS + 2)
        self._num_waiting = n = len(waiting)
        self._rank[:n] = waiting[:, :NUM_RANKINGS]
        self._group[:n], self._first_sight[:n] = waiting[:, NUM_RANKINGS:].T
        self.num_alarms = state["num_alarms"]
        self._adwin._helper.__setstate__(base64.b64decode(state["adwin"]))
        self._adwin._drift_detected = state["adwin_alarm"]


def metrics_of(rank: NDArray[np.float64], top_k: int) -> Columns:
    """Return recall, NDCG and reciprocal rank of single targets, float64 of the same shape as ``rank`` (0 is first).

    With one relevant item, recall in the first k is 1 or 0 and NDCG is 1 / log2(rank + 2).

    >>> metrics_of(np.array([0.0, 2.0, 20.0, np.inf]), 20)["ndcg"].tolist()
    [1.0, 0.5, 0.0, 0.0]
    """
    hit = rank < top_k
    ndcg = np.where(hit, 1.0 / np.log2(rank + 2.0), 0.0)
    return {"recall": hit.astype(np.float64), "ndcg": ndcg, "reciprocal_rank": 1.0 / (rank + 1.0)}
