"""The one loop. Service, replay and environment are compositions of it with different ports.

poll -> sort -> test -> learn -> window closes -> observe -> policy -> resize -> checkpoint -> commit
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.budget_changes import BudgetChanges
from stream.core.event import Poll
from stream.core.intake import Batch, drop_known
from stream.core.reporting import report_run, report_window
from stream.core.sizes import SizeDecision
from stream.core.stats import Progress, Report, WindowReport
from stream.core.trainer import Trainer
from stream.identity import budget_in, require_same
from stream.ports import Checkpoint, Ports, Position, staging_of
from stream.saving import Pace, Saving

__all__ = ["Pace", "Pipeline", "Ports"]


_TOLD: Final = ("resize", "checkpoint")
"""Activities of which every single one is told to the reporter."""


class Pipeline:
    """Runs a trainer over a source until the stream ends or someone asks it to stop.

    ``settings`` is JSON-able and describes what the model depends on: a checkpoint made under other settings is
    refused. ``versions`` goes into the report. Call :meth:`resume` or :meth:`start_afresh` first.
    """

    def __init__(
        self,
        ports: Ports,
        trainer: Trainer,
        settings: dict[str, Any],
        versions: dict[str, str],
        pace: Pace = Pace(),  # noqa: B008 - it is immutable
    ) -> None:
        self._ports = ports
        self._trainer = trainer
        self._settings = settings
        self._versions = versions
        self._pace = pace
        self._position: Position = {}
        self._batch: Batch | None = None
        self._unfinished: Batch | None = None
        """The batch, while there is more to do with it."""
        self._next = 0
        """The batch's first event not learnt."""
        self._batch_s = 0.0
        """Time spent on the batch so far."""
        self._is_to_be_saved = False
        """The source asks for a save after this poll."""
        self._at_end = False
        self.reason: str = trainer.clock.rule.kind
        """Why the window that is full closes, or else the next one will."""
        self._dead: dict[tuple[int, int], str] = {}
        """Dead letters of a life before this one that stand ahead of the position."""
        self._mark: Position = {}
        self._windows: list[WindowReport] = []
        self._budget = BudgetChanges(trainer, ports.host, ports.reporter, saves=pace.saves)
        self._saving = Saving(ports, pace, trainer.account, self._budget, self._note_bytes)
        self._resumed = False
        self._started_s = ports.host.elapsed_s()
        self._wall_before_s = 0.0

    @property
    def windows(self) -> Sequence[WindowReport]:
        """The windows closed, oldest first; the newest of them, if the pace says how many."""
        return self._windows

    def run(self) -> Report:
        """Go on from where the stream stands; return the report of the whole run."""
        self._trainer.check_ledger()
        while (observation := self.advance()) is not None:
            self.close_window(self._ports.policy.decide(observation))
        return self.finish()

    def advance(self) -> NDArray[np.float32] | None:
        """Read, test and learn until the open window is full; return what the policy is to see.

        :meth:`close_window` comes next. None says that the stream has ended or that someone asks to stop.
        """
        host, account = self._ports.host, self._trainer.account
        while True:
            if self._unfinished is not None:
                if self._process(self._unfinished):
                    return self._trainer.observe()
                self._unfinished = None
                self._ports.reporter.spent("batch", self._batch_s)
                self._save_if_due()
            if self._at_end or host.stop_requested():
                return None
            self._budget.heed()
            with self._timed("read"):
                poll = self._ports.source.poll()
            if poll is not None:
                self._take(poll)
                continue
            self._at_end = True
            if account.window_counts().events:
                self.reason = "end of stream"
                return self._trainer.observe()

    def close_window(self, decision: SizeDecision) -> None:
        """Resize as decided, check, report and save: always in this order."""
        trainer = self._trainer
        self._budget.heed()
        with self._timed("resize"):
            trainer.resize(decision)
        trainer.check_ledger()
        self._append_window(self.reason)
        trainer.open_window()
        self._save(window=self._windows[-1].index)
        spent_s = trainer.account.window_seconds("checkpoint")
        self._windows[-1] = msgspec.structs.replace(self._windows[-1], checkpoint_seconds=spent_s)
        self._ports.reporter.window(self._windows[-1])

    def finish(self) -> Report:
        """Save what is not a window's end, and report."""
        if not self._at_end:
            # On resuming, the window goes on as if nothing had happened.
            self._save()
            self._append_window("interrupted")
        self._saving.acknowledge(wait=True)
        report = self._report(self._at_end)
        self._ports.reporter.finish(report)
        return report

    def _take(self, poll: Poll) -> None:
        """Sort a poll out; what is in it is processed next."""
        poll, num_known = drop_known(poll, self._position)
        self._trainer.account.count("duplicates", num_known)
        self._is_to_be_saved = poll.is_to_be_saved
        if poll.events.num_events or poll.rejections or poll.gaps:
            self._batch = self._unfinished = self._trainer.sort(poll, self._ports.source.origin, self._dead)
            self._next, self._batch_s = 0, 0.0
        else:
            self._show_progress()
            self._save_if_due()

    def _process(self, batch: Batch) -> bool:
        """Learn a batch from where it stands; return whether a window is full, or else it is done or asked to stop."""
        clock = self._trainer.clock
        while True:
            end, closes = clock.events_before_close(batch.events.timestamp_ms, self._next)
            self._next = at = self._learn(batch, self._next, end)
            if clock.remaining_growth == 0 or (closes and at == end):
                # By time the next event closes a window, else the last one does: where a poll ends is all one.
                by_next = clock.rule.kind == "time"
                self._settle(batch, batch.position_before(at) if by_next else batch.position_after(at))
                self.reason = clock.rule.kind
                return True
            if at == batch.events.num_events or self._ports.host.stop_requested():
                self._settle(batch, batch.position_before(at))
                return False

    def _save_if_due(self) -> None:
        """Save where time or the source asks for it, and see to the save under way."""
        if self._is_to_be_saved:
            self._save()
            self._saving.acknowledge(wait=True)
        elif self._saving.is_due(self._position):
            self._save()
        else:
            self._saving.acknowledge(wait=False)

    def _learn(self, batch: Batch, at: int, end: int) -> int:
        """Test and learn the events from ``at`` to ``end``; return the first one not learnt, if it stopped early."""
        trainer, host = self._trainer, self._ports.host
        tests = iter(batch.tested[batch.tested.searchsorted(at) : batch.tested.searchsorted(end)].tolist())
        next_test = next(tests, end)
        begin, is_waiting, begin_s = at, False, host.elapsed_s()
        while at < end and (is_waiting or not (trainer.clock.remaining_growth == 0 or host.stop_requested())):
            if at == next_test:
                with self._timed("eval"):
                    trainer.test(batch, at)
                next_test = next(tests, end)
            with self._timed("train"):
                at, resize_due, is_waiting = trainer.learn(batch, at, next_test)
            if resize_due:
                trainer.note_learnt(batch, begin, at)
                begin = at
                with self._timed("resize"):
                    trainer.resize_within_window()
                self._budget.heed()
                self._show_progress()
        trainer.note_learnt(batch, begin, at)
        self._batch_s += host.elapsed_s() - begin_s
        return at

    def _settle(self, batch: Batch, position: Position) -> None:
        """Move on to a position within a batch, and give up the dead letters before it."""
        account = self._trainer.account
        before, self._position = self._position, self._position | position

        def is_passed(partition: int, offset: int) -> bool:
            return before.get(partition, 0) <= offset < self._position.get(partition, 0)

        due = [rejection for rejection in batch.rejections if is_passed(rejection.partition, rejection.offset)]
        for rejection in due:
            account.reject(rejection)
            account.count("late", int(rejection.reason == "late event"))
        for gap in batch.gaps:
            account.count("lost", (gap.end - gap.begin) * is_passed(gap.partition, gap.begin))
        # What a life before this one has written stands there already.
        fresh = [
            rejection for rejection in due if self._dead.pop((rejection.partition, rejection.offset), None) is None
        ]
        if fresh:
            self._ports.dead_letters.write(fresh)
        self._show_progress()

    def _save(self, window: int | None = None) -> None:
        """Save everything of this instant; ``window`` is the index of a window that ends here."""
        if self._pace.saves:
            with self._timed("checkpoint"):
                self._saving.begin(self._take_checkpoint, self._position, window)
            self._saving.acknowledge(wait=False)

    def _take_checkpoint(self) -> Checkpoint:
        mark = self._ports.dead_letters.mark()
        # The next life has to find what is ahead as well.
        self._mark = self._mark if self._dead else mark
        return self.snapshot()

    def snapshot(self) -> Checkpoint:
        """Return everything of this instant, from which another loop can resume; the arrays are the live ones."""
        arrays, trainer_state = self._trainer.state(self._batch, self._position)
        meta = {
            "settings": self._settings,
            "position": _to_json(self._position),
            "dead_letters": _to_json(self._mark),
            "trainer": trainer_state,
            "policy": self._ports.policy.state(),
            "windows": [msgspec.to_builtins(window) for window in self._windows],
            "wall_seconds": self._wall_seconds(),
        }
        return Checkpoint(arrays, meta)

    def _note_bytes(self, index: int, num_bytes: int) -> None:
        """Note what the checkpoint at a window's end takes: one of the last two, if it is still there."""
        for i, window in enumerate(self._windows[-2:], max(0, len(self._windows) - 2)):
            if window.index == index:
                self._windows[i] = msgspec.structs.replace(window, checkpoint_bytes=num_bytes)

    def start_afresh(self) -> None:
        """Begin a model: no checkpoint of another one stays behind to be resumed."""
        self._ports.checkpoints.clear()
        self._dead = self._ports.dead_letters.rewind({})

    def resume(self) -> bool:
        """Take over the newest checkpoint, if there is one: model, position, windows, dead letters, policy.

        Raises:
            CheckpointError: it was made under other settings; names the first that differs.

        """
        checkpoint = self._ports.checkpoints.load()
        if checkpoint is None:
            return False
        meta = checkpoint.meta
        require_same(self._settings, meta["settings"])
        self._trainer.restore(dict(checkpoint.arrays), meta["trainer"])
        # A budget that was changed while the loop ran stands, unless the settings have been changed since.
        if (budget_bytes := budget_in(self._settings)) != budget_in(meta["settings"]):
            self._trainer.change_budget(budget_bytes)
        self._position = _from_json(meta["position"])
        self._saving.note_resumed(self._position)
        self._windows = msgspec.convert(meta["windows"], list[WindowReport])
        if self._windows and not self._windows[-1].checkpoint_bytes:
            # A checkpoint cannot hold its own size.
            self._windows[-1] = msgspec.structs.replace(self._windows[-1], checkpoint_bytes=checkpoint.num_bytes)
        self._wall_before_s = meta["wall_seconds"]
        self._ports.policy.restore(meta["policy"])
        self._mark = _from_json(meta["dead_letters"])
        dead = self._ports.dead_letters.rewind(self._mark)
        self._dead = {place: dead[place] for place in dead if place[1] >= self._position.get(place[0], 0)}
        self._ports.source.seek(self._position)
        self._resumed = True
        return True

    @contextmanager
    def _timed(self, activity: str) -> Iterator[None]:
        host = self._ports.host
        begin_s = host.elapsed_s()
        yield
        spent_s = host.elapsed_s() - begin_s
        self._trainer.account.spend(activity, spent_s)
        if activity in _TOLD:
            self._ports.reporter.spent(activity, spent_s)

    def _wall_seconds(self) -> float:
        return self._wall_before_s + self._ports.host.elapsed_s() - self._started_s

    def _show_progress(self) -> None:
        trainer = self._trainer
        hit_rate, ledger_bytes = trainer.evaluation.hit_rate(), trainer.ledger().total_bytes
        partitions = self._ports.source.partitions(self._position)
        self._ports.reporter.progress(Progress(trainer.account.counts(), hit_rate, ledger_bytes, partitions))

    def _append_window(self, reason: str) -> None:
        peak_rss_bytes, guard_trips = self._ports.host.peak_rss_bytes(), self._ports.policy.trips
        self._windows.append(report_window(self._trainer, reason, peak_rss_bytes, guard_trips))
        if self._pace.max_windows is not None:
            del self._windows[: -self._pace.max_windows]

    def _report(self, finished: bool) -> Report:
        ports = self._ports
        return report_run(
            self._trainer,
            data=ports.source.name,
            policy=ports.policy.name,
            guard_trips=ports.policy.trips,
            fixed=[*staging_of(ports.checkpoints), *ports.reporter.fixed_costs()],
            peak_rss_bytes=ports.host.peak_rss_bytes(),
            wall_seconds=self._wall_seconds(),
            seed=self._settings["seed"],
            finished=finished,
            resumed=self._resumed,
            settings=self._settings,
            versions=self._versions,
            windows=self._windows,
        )


def _to_json(position: Position) -> dict[str, int]:
    return {str(partition): offset for partition, offset in position.items()}


def _from_json(position: dict[str, int]) -> Position:
    return {int(partition): offset for partition, offset in position.items()}
